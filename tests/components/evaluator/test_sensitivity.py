"""Each metric moves under the corruption it is meant for: a real judge on real digits."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from components.evaluator.config import EvaluatorConfig
from components.evaluator.metrics.reconstruction import pca_reconstruction
from components.evaluator.parts import generation, neighbours
from components.evaluator.references import EvalData, References
from components.evaluator.saved_model import LoadedModel, load_model
from components.idx_example_gen.data import read_data
from core.digits import Digits

TRAIN, HELD_OUT, PAIRS = 20_000, 5_000, 4_000


@pytest.fixture(scope="module")
def judge_uri(mnist_dir, tmp_path_factory) -> str:
    """The project's own judge after one pass over 20,000 digits."""
    from trainer_modules.common.export import write_saved_model
    from trainer_modules.judge.config import JudgeConfig
    from trainer_modules.judge.signatures import signatures
    from trainer_modules.judge.train import train

    pair = read_data(str(mnist_dir)).splits["train"]
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
def rows(judge_uri, mnist_dir) -> dict[str, dict[str, float]]:
    """Metrics of the test images under each corruption, 4,000 by 4,000 pairs."""
    splits = read_data(str(mnist_dir)).splits
    train, test = splits["train"], splits["test"]
    images, tested = (
        (pair.images.reshape(-1, 28, 28, 1) / np.float32(255)) for pair in (train, test)
    )
    data = EvalData(
        # Real images that are neither corrupted nor in a training.
        test_images=images[-len(tested) :],
        test_labels=train.labels[-len(tested) :],
        train_images=images[:TRAIN],
        num_classes=10,
        train_labels=train.labels[:TRAIN],
        held_out_images=images[TRAIN : TRAIN + HELD_OUT],
    )
    few = {"bootstrap_replicates": 2, "distance_replicates": 2, "memorisation_images": 1000}
    config = EvaluatorConfig(pair_images=PAIRS, **few)
    references = References(
        data, load_model("judge", Path(judge_uri) / "Format-Serving", 500), config
    )
    found = {}
    for name, corrupted in corruptions(tested, test.labels, references):
        sample = dataclasses.replace(config, samples=len(corrupted))
        references.config = sample
        model = Corrupted("gan", name, corrupted, 500)
        measured = [
            *generation.measure(model, references, "", False).rows,
            *neighbours.measure_diversity(model, references, "", False).rows,
            *neighbours.measure_memorisation(model, references, "", False).rows,
        ]
        found[name] = {row.metric: row.value for row in measured}
    return found


class Corrupted(LoadedModel):
    """A set of images in place of a generator."""

    def inputs(self, name):
        return {}

    def generate(self, count, seed, stage="", **settings):
        return np.asarray(self.handle, np.float32)


def corruptions(test: np.ndarray, labels: np.ndarray, references: References):
    """Name and images of every corruption; the first is "none"."""
    rng = np.random.default_rng(1)
    yield "none", test
    for sigma in (0.05, 0.1, 0.2, 0.3, 0.5):
        noise = rng.standard_normal(test.shape, dtype=np.float32)
        yield f"noise {sigma:g}", np.clip(test + np.float32(sigma) * noise, 0, 1)
    for sigma in (0.5, 0.75, 1.0):
        yield f"blur {sigma:g} px", gaussian_filter(test, (0, sigma, sigma, 0))
    yield "binarised", test > 0.5
    for classes in ((1,), (5,), (1, 5)):
        words = " and ".join(map(str, classes))
        yield f"without class {words}", test[~np.isin(labels, classes)]
    few = test[rng.choice(len(test), len(test) // 10, replace=False)]
    yield "a tenth, ten times each", np.tile(few, (10, 1, 1, 1))
    for size in (16, 32, 64, 128):
        yield f"PCA, {size} dimensions", pca_reconstruction(test, references.pixels, size)
    train = references.data.train_images
    yield "train images, copied", train[rng.choice(len(train), len(test), replace=False)]


def _column(rows, figure, *names):
    return [rows[name][figure] for name in names]


@pytest.mark.extended
@pytest.mark.parametrize(
    "names",
    [
        ("none", "noise 0.05", "noise 0.1", "noise 0.2", "noise 0.3", "noise 0.5"),
        ("none", "blur 0.5 px", "blur 0.75 px", "blur 1 px"),
        ("none", *(f"PCA, {size} dimensions" for size in (128, 64, 32, 16))),
        ("none", "without class 5", "without class 1 and 5"),
        ("none", "without class 1", "without class 1 and 5"),
        ("none", "a tenth, ten times each", "PCA, 16 dimensions"),
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
    assert rows["without class 1 and 5"]["class_tv"] > 0.15 > 0.05 > rows["none"]["class_tv"]
    assert rows["without class 1 and 5"]["recall"] < rows["none"]["recall"] - 0.08


@pytest.mark.extended
def test_few_images_repeated_lose_coverage_and_recall(rows):
    repeated, real = rows["a tenth, ten times each"], rows["none"]
    assert repeated["coverage"] < real["coverage"] - 0.2
    assert repeated["recall"] < real["recall"] - 0.2


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
        assert rows[name]["precision"] > rows["none"]["precision"] - 0.05


@pytest.mark.extended
def test_precision_sees_strokes_that_no_real_digit_has(rows):
    assert rows["binarised"]["precision"] < rows["none"]["precision"] - 0.05


@pytest.mark.extended
def test_only_the_figure_of_memorisation_convicts_copies(rows):
    copies, real = rows["train images, copied"], rows["none"]
    assert copies["memorised_share"] > 0.99
    assert real["memorised_share"] < 0.05
    assert copies["frechet_distance"] < real["frechet_distance"]  # a copier beats real test images
    assert copies["recall"] > real["recall"] - 0.05
