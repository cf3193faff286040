"""Each figure moves under the corruption it is meant for: a real judge on real digits."""

import pytest

from benchmarks import corruptions


@pytest.fixture(scope="module")
def judge_uri(mnist_dir, tmp_path_factory) -> str:
    """The project's own judge after one pass over 20,000 digits."""
    from components.idx_example_gen.idx import read_idx_pair
    from core.digits import Digits
    from trainer_modules.common.export import write_saved_model
    from trainer_modules.judge.config import JudgeConfig
    from trainer_modules.judge.signatures import signatures
    from trainer_modules.judge.train import train

    pair = read_idx_pair(str(mnist_dir), "train")
    images = (pair.images.reshape(-1, 28, 28, 1) / 255).astype("float32")

    def part(start: int, stop: int) -> Digits:
        labels = pair.labels[start:stop].astype("int64")
        return Digits(images[start:stop], labels, 0.13, 0.31, 10)

    trained = train(JudgeConfig(epochs=1, channels=16), part(0, 20_000), part(20_000, 21_000))
    [model] = trained.served().values()
    folder = tmp_path_factory.mktemp("judge")
    write_saved_model(str(folder / "Format-Serving"), [model], signatures(model))
    return str(folder)


@pytest.fixture(scope="module")
def rows(judge_uri, mnist_dir):
    """The rows of the benchmark by name, with a train file of 20,000, 4,000 by 4,000 pairs."""
    from pathlib import Path

    digits = corruptions.read(str(mnist_dir), train_count=20_000)
    yardstick = corruptions.Yardstick(digits, corruptions.judge_of(Path(judge_uri)), 4000)
    return {name: yardstick.measure(name, images) for name, images in corruptions.corrupted(digits)}


def _column(rows, figure, *names):
    return [getattr(rows[name], figure) for name in names]


@pytest.mark.extended
@pytest.mark.parametrize(
    "names",
    [
        ("none", "noise 0.05", "noise 0.1", "noise 0.2", "noise 0.3", "noise 0.5"),
        ("none", "blur 0.5 px", "blur 0.75 px", "blur 1 px"),
        ("none", *(f"PCA, {size} dimensions" for size in (128, 64, 32, 16))),
        ("none", "without class 5", "without class 1 and 5"),
        ("none", "without class 1", "without class 1 and 5"),
        ("none", "a tenth, ten times each", "Gaussian of the pixels"),
    ],
)
def test_the_worse_the_images_the_larger_the_distances(rows, names):
    for figure in ("frechet_distance", "kid"):
        found = _column(rows, figure, *names)
        if figure == "kid" and "a tenth, ten times each" in names:
            continue  # without bias in the number of images KID hardly sees that they repeat
        assert found == sorted(found) and len(set(found)) == len(found), figure


@pytest.mark.extended
def test_the_inception_score_sees_lost_classes_and_noise(rows):
    lost = _column(rows, "inception_score", "without class 1 and 5", "without class 5", "none")
    assert lost == sorted(lost)
    assert lost[0] < 0.85 * lost[-1]
    noise = _column(rows, "inception_score", "noise 0.5", "noise 0.3", "noise 0.2", "none")
    assert noise == sorted(noise)


@pytest.mark.extended
def test_lost_classes_show_in_the_histogram_and_in_recall(rows):
    assert rows["without class 1 and 5"].class_tv > 0.15 > 0.05 > rows["none"].class_tv
    assert rows["without class 1 and 5"].recall < rows["none"].recall - 0.08


@pytest.mark.extended
def test_few_images_repeated_lose_coverage_and_recall(rows):
    repeated, real = rows["a tenth, ten times each"], rows["none"]
    assert repeated.coverage < real.coverage - 0.2
    assert repeated.recall < real.recall - 0.2


@pytest.mark.extended
def test_noise_and_blur_cost_recall_and_coverage_while_precision_misses_what_is_mild(rows):
    for names in (
        ("noise 0.5", "noise 0.3", "noise 0.2", "noise 0.1", "none"),
        ("blur 1 px", "blur 0.75 px", "none"),
    ):
        recall = _column(rows, "recall", *names)
        assert recall == sorted(recall)
        assert recall[0] < recall[-1] - 0.5
        coverage = _column(rows, "coverage", names[0], names[-1])
        assert coverage[0] < coverage[1] - 0.4
    # A trap of these features: what makes digits vague draws them to the middle of the others.
    for name in ("noise 0.1", "blur 0.75 px"):
        assert rows[name].precision > rows["none"].precision - 0.05


@pytest.mark.extended
def test_precision_sees_strokes_that_no_real_digit_has(rows):
    assert rows["binarised"].precision < rows["none"].precision - 0.05


@pytest.mark.extended
def test_only_the_figure_of_memorisation_convicts_copies(rows):
    copies, real = rows["train images, copied"], rows["none"]
    assert copies.memorised_share > 0.99
    assert real.memorised_share < 0.05
    assert copies.frechet_distance < real.frechet_distance  # a copier beats real test images
    assert copies.recall > real.recall - 0.05


@pytest.mark.extended
def test_the_table_has_a_line_per_corruption(rows, capsys):
    from rich.console import Console

    Console(width=120).print(corruptions.table(list(rows.values())))
    printed = capsys.readouterr().out
    assert all(name[:12] in printed for name in rows)


def test_a_judge_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert corruptions.main(["--judge", str(tmp_path)]) == 2
    assert "There is no SavedModel of judge" in capsys.readouterr().err
