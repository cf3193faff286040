"""Two variants of each model trained for real on a few digits, under a judge of the same digits."""

import pytest

from benchmarks import ablation
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.gan.config import GanConfig

TINY = (
    *("diffusion.channels=4", "diffusion.global_width=8", "diffusion.epochs=1"),
    *("diffusion.batch_size=32", "diffusion.sample_steps=8"),
    *("gan.channels=4", "gan.epochs=1", "gan.batch_size=32"),
    *("judge.channels=4", "judge.epochs=1", "data.max_images=1000"),
)


@pytest.mark.extended
def test_variants_are_trained_and_stand_in_the_table(small_mnist_dir, tmp_path):
    folder = tmp_path / "out"
    arguments = ["--data", str(small_mnist_dir), "--samples", "40", "--output", str(folder)]
    arguments += [part for setting in TINY for part in ("--set", setting)]
    names = ["diffusion", "diffusion, narrow channels", "gan", "gan, no penalty"]
    assert ablation.main([*arguments, "--variants", *names]) == 0
    lines = (folder / "table.md").read_text().splitlines()[4:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == [names[0]] * 3 + names[1:]
    default = f"eta {DiffusionConfig().eta:g}"
    assert [row[1] for row in rows] == ["eta 0", "eta 1", "eta 3", default, "", ""]
    assert int(rows[3][2].replace(",", "")) > int(rows[0][2].replace(",", ""))  # 24 channels, not 4
    assert all(float(row[5]) > 0 and 1 <= float(row[6]) <= 10 for row in rows)
    pictures = {path.stem: path.read_bytes() for path in folder.glob("*.png")}
    assert set(pictures) == {f"{row[0]} {row[1]}".strip() for row in rows}
    assert len(set(pictures.values())) == len(rows)  # each drew its own images


def test_every_variant_is_a_configuration_and_differs_from_the_default():
    for model, kind in (("diffusion", DiffusionConfig), ("gan", GanConfig)):
        variants = [one for one in ablation.VARIANTS.values() if one.model == model]
        configs = [kind(**one.settings) for one in variants]
        assert len(set(configs)) == len(configs) and configs[0] == kind()


def test_more_samples_than_held_out_images_are_one_sentence(small_mnist_dir, tmp_path, capsys):
    folder = tmp_path / "out"
    arguments = ["--data", str(small_mnist_dir), "--samples", "5000", "--output", str(folder)]
    assert ablation.main(arguments) == 2
    assert "--samples must be at most" in capsys.readouterr().err
    assert not folder.exists()
