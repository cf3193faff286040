"""Measures which corruptions of real digits each metric of generated images detects.

    python -m benchmarks.corruptions --judge outputs/quick/pipeline/judge/model/10

Contract: 10,000 corrupted test images take the place of generated ones; the reference is the train
file without its last 5,000 images, which are the held-out ones. A metric that does not react to the
corruption it is meant for is not evidence. Three minutes on two cores.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from benchmarks import use_onednn
from benchmarks.command import mistakes_exit
from components.evaluator.metrics import inception_score as scores
from components.evaluator.metrics.frechet import Moments, frechet_distance, moments
from components.evaluator.metrics.kid import kid
from components.evaluator.metrics.memorisation import copying
from components.evaluator.metrics.neighbours import k_nearest
from components.evaluator.metrics.precision_recall import manifolds
from components.evaluator.saved_model import load_model
from components.idx_example_gen.idx import read_idx_pair
from core.artifacts import SAVED_MODEL_DIR
from core.images import IMAGE_SHAPE

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT, PAIRS, COPIES, SEED = 5000, 5000, 1000, 1
# images [N, 28, 28, 1] in [0, 1] -> features [N, D] and probabilities [N, K]
Judge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Digits:
    """Images [N, 28, 28, 1] float32 in [0, 1]; labels [M] of the test images."""

    train: np.ndarray
    held_out: np.ndarray
    test: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Row:
    """Metrics of one set of images."""

    name: str
    frechet_distance: float
    inception_score: float
    kid: float
    class_tv: float
    precision: float
    recall: float
    coverage: float
    memorised_share: float


class Yardstick:
    """The references of every corrupted set, computed once."""

    def __init__(self, digits: Digits, judge: Judge, pairs: int = PAIRS):
        """Metrics over all pairs use ``pairs`` images of each set."""
        self._judge, self._train, self._count = judge, digits.train, pairs
        features, probabilities = judge(digits.train)
        self._moments: Moments = moments(features)
        self._histogram = scores.class_histogram(probabilities)
        self._scale = np.sqrt(np.mean(np.square(features, dtype=np.float64)))
        part = np.random.default_rng([SEED, 1]).permutation(len(features))[:pairs]
        self._pairs = features[part] / self._scale
        self._held_classes = judge(digits.held_out)[1].argmax(axis=1)
        self._held_distances = k_nearest(digits.held_out, digits.train, 1)[0][:, 0]

    def measure(self, name: str, images: np.ndarray) -> Row:
        """The metrics of ``images``; those over all pairs on a random part."""
        features, probabilities = self._judge(images)
        order = np.random.default_rng([SEED, 2]).permutation(len(images))
        part = features[order[: self._count]] / self._scale
        few = order[:COPIES]
        distances, _ = k_nearest(images[few], self._train, 1)
        classes = probabilities[few].argmax(axis=1)
        found = manifolds(part, self._pairs)
        histogram = scores.class_histogram(probabilities)
        return Row(
            name=name,
            frechet_distance=frechet_distance(*moments(features), *self._moments),
            inception_score=scores.inception_score(probabilities[order])[0],
            kid=kid(part, self._pairs),
            class_tv=scores.total_variation(histogram, self._histogram),
            precision=float(found.precise.mean()),
            recall=float(found.recalled.mean()),
            coverage=float(found.covered.mean()),
            memorised_share=copying(
                distances[:, 0], classes, self._held_distances, self._held_classes
            ).share,
        )


def corrupted(digits: Digits) -> Iterator[tuple[str, np.ndarray]]:
    """Yields name and images of every corruption; the first is "none"."""
    test, labels = digits.test, digits.labels
    rng = np.random.default_rng([SEED, 3])
    yield "none", test
    for sigma in (0.05, 0.1, 0.2, 0.3, 0.5):
        noise = rng.standard_normal(test.shape, dtype=np.float32)
        yield f"noise {sigma:g}", np.clip(test + np.float32(sigma) * noise, 0, 1)
    for sigma in (0.5, 0.75, 1.0):
        yield f"blur {sigma:g} px", gaussian_filter(test, (0, sigma, sigma, 0))
    yield "binarised", (test > 0.5).astype(np.float32)
    yield "shifted by 1 px", np.roll(test, 1, axis=2)
    for classes in ((1,), (5,), (1, 5)):
        words = " and ".join(map(str, classes))
        yield f"without class {words}", test[~np.isin(labels, classes)]
    few = test[rng.choice(len(test), len(test) // 10, replace=False)]
    yield "a tenth, ten times each", np.tile(few, (10, 1, 1, 1))
    mean, values, vectors = _principal(digits.train)
    for size in (16, 32, 64, 128):
        basis = vectors[:, -size:]
        flat = (test.reshape(len(test), -1) - mean) @ basis @ basis.T + mean
        yield f"PCA, {size} dimensions", _images(flat)
    noise = rng.standard_normal((len(test), len(mean)), dtype=np.float32)
    yield "Gaussian of the pixels", _images(mean + noise * np.sqrt(values) @ vectors.T)
    yield (
        "train images, copied",
        digits.train[rng.choice(len(digits.train), len(test), replace=False)],
    )


def _principal(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [784], variances [784] in ascending order and axes [784, 784] of the pixels."""
    flat = images.reshape(len(images), -1)
    mean = flat.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((flat - mean).T))
    return mean, np.maximum(values, 0).astype(np.float32), vectors.astype(np.float32)


def _images(flat: np.ndarray) -> np.ndarray:
    return np.clip(flat, 0, 1).astype(np.float32).reshape(-1, *IMAGE_SHAPE)


def read(data_dir: str, train_count: int | None = None) -> Digits:
    """The four IDX files of ``data_dir``; ``train_count`` cuts the train file.

    Raises:
        InputError: A file is missing or damaged.
    """
    train, test = read_idx_pair(data_dir, "train"), read_idx_pair(data_dir, "test")
    images = _scaled(train.images[:train_count])
    return Digits(
        train=images[:-HELD_OUT],
        held_out=images[-HELD_OUT:],
        test=_scaled(test.images),
        labels=test.labels.astype(np.int64),
    )


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return (pixels.reshape(-1, *IMAGE_SHAPE) / np.float32(255)).astype(np.float32)


def judge_of(path: Path) -> Judge:
    """The judge in the Model artifact ``path``."""
    model = load_model("judge", path / SAVED_MODEL_DIR, 500)

    def judge(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = model.run("serving_default", image=images)
        return outputs["features"], outputs["probabilities"]

    return judge


def table(rows: list[Row]) -> Table:
    """One line per corruption."""
    drawn = Table(title=f"Corrupted test images against real train images, pairs on {PAIRS:,}")
    columns = ("FD", "/ none", "IS", "KID", "class TV", "precision", "recall", "coverage")
    for column in ("corruption", *columns, "too close"):
        drawn.add_column(column, justify="left" if column == "corruption" else "right")
    for row in rows:
        drawn.add_row(
            row.name,
            f"{row.frechet_distance:.3g}",
            f"{row.frechet_distance / rows[0].frechet_distance:.1f}",
            f"{row.inception_score:.2f}",
            f"{row.kid:.4f}",
            f"{row.class_tv:.3f}",
            *(f"{share:.3f}" for share in (row.precision, row.recall, row.coverage)),
            f"{100 * row.memorised_share:.1f} %",
        )
    return drawn


@mistakes_exit("corruptions")
def main(arguments: list[str] | None = None) -> int:
    """Measures every corruption and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--judge", required=True, help="directory of the judge's Model artifact")
    parser.add_argument(
        "--data", default=str(ROOT / "data" / "mnist"), help="directory of IDX files"
    )
    options = parser.parse_args(arguments)
    use_onednn()
    judge = judge_of(Path(options.judge))
    digits = read(options.data)
    yardstick = Yardstick(digits, judge)
    rows = []
    for name, images in corrupted(digits):
        rows.append(yardstick.measure(name, images))
        print(f"{len(rows)}. {name}", file=sys.stderr)
    Console(width=120).print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
