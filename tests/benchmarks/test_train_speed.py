"""Every model timed for real on a few digits, and what the table makes of known times."""

import pytest

from benchmarks import train_speed
from benchmarks.splits import read_splits
from benchmarks.train_speed import Loop, Speed

TINY = [
    *("data.max_images=1000", "diffusion.global_width=8"),
    *(f"{model}.{key}" for model in train_speed.MODELS for key in ("channels=4", "batch_size=16")),
]


def arguments(data, *more: str) -> list[str]:
    settings = [part for setting in TINY for part in ("--set", setting)]
    return ["--data", str(data), "--seconds", "0.1", *settings, *more]


@pytest.mark.extended
def test_every_model_is_timed_and_stands_in_the_table(
    small_mnist_dir, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(train_speed, "_TURNS", 2)
    path = tmp_path / "speed.md"
    assert train_speed.main(arguments(small_mnist_dir, "--markdown", str(path))) == 0
    caption, _, titles, _, *lines = path.read_text().splitlines()
    assert "float32 product" in caption and "tensorflow" in caption
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [(line[0], line[1].split(",")[0]) for line in cells] == [
        ("judge", "train step"),
        ("autoencoder", "train step"),
        ("diffusion", "train step"),
        ("diffusion", "generate"),
        ("gan", "train step"),
        ("gan", "generate"),
    ]
    assert titles.count("|") == lines[0].count("|")
    for line in cells:
        assert float(line[4]) > 0 and float(line[6].rstrip("%")) <= 100
        if line[1] == "train step":
            assert 0.2 < float(line[7]) < 5
        else:
            assert line[7] == ""
    assert "GFLOP / s" in capsys.readouterr().out


def test_slow_data_shows_as_a_ratio_below_one(small_mnist_dir):
    train = read_splits(str(small_mnist_dir), 1000).train
    starved = Loop(16, 1000, real=lambda steps: 0.004, fixed=lambda steps: 0.001)
    found = train_speed.train_speed("judge", starved, train, seconds=1.0)
    assert found.ratio == pytest.approx(0.25)
    assert found.images_per_second == pytest.approx(16 / 0.004)


def test_operations_and_their_share_of_the_matrix_product():
    speed = Speed("judge", "train step", 128, flops=3_000_000, images_per_second=5000.0, ratio=0.98)
    assert speed.gflops == pytest.approx(15.0)
    titles, line = train_speed.rows([speed], peak=60.0)
    found = dict(zip(titles, line, strict=True))
    assert found["share of product"] == "25%" and found["MFLOP / image"] == "3.0"
    assert found["data / fixed"] == "0.98"


def test_too_few_images_are_one_sentence(small_mnist_dir, capsys):
    more = ("--models", "judge", "--set", "judge.batch_size=64")
    assert train_speed.main(arguments(small_mnist_dir, *more)) == 2
    assert "41 batches of 64" in capsys.readouterr().err
