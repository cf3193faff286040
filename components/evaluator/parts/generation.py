"""Generated images against real ones, for diffusion and GAN alike: the primary figures.

As many images as there are real test images, drawn from consecutive seeds; no image is picked. The
floor, real train images in the same number, stands beside every figure.
"""

from __future__ import annotations

import numpy as np

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part
from components.evaluator.metrics.frechet import frechet_replicates, moment_replicates
from components.evaluator.metrics.inception_score import (
    histogram_replicates,
    missing_modes,
    score_replicates,
    total_variation,
)
from components.evaluator.metrics.kid import kid_replicates
from components.evaluator.parts import plots
from components.evaluator.references import GenerationScores, Judged, References
from components.evaluator.results import Picture, Table
from components.evaluator.saved_model import LoadedModel

METRICS = (
    "frechet_distance",
    "fd_over_floor",
    "fd_infinity",
    "kid",
    "inception_score",
    "class_tv",
    "missing_modes",
)
_GRID = 64  # images of the sample grid: 8 x 8


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Fréchet distances, KID, Inception Score and classes, with the sample grid."""
    return (Part("generation", METRICS, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """The generated images beside the test images, and as many real train images."""
    sample = references.sample(model, stage)
    scores, floor = references.score(sample.judged), references.floor
    values, floors = _values(scores, floor), _values(floor, floor)
    replicates = _replicates(sample.judged, references)
    if not draw:
        return Measured(values, replicates=replicates)
    floors["inception_score"] = references.test_inception_score[0]
    count = len(sample.images)
    grid = Picture(
        "figures/samples.png",
        "Generated images",
        f"The first {min(_GRID, count)} of {count:,} images, seed {references.config.seed}; "
        "none was picked.",
        plots.sample_grid(sample.images[:_GRID]),
    )
    histogram = Picture(
        "figures/class_histogram.png",
        "Classes",
        "Shares of the classes among generated and real images, both labelled by the judge.",
        plots.class_histogram(scores.histogram, references.test_histogram, "generated images"),
    )
    table = _table(scores, references)
    return Measured(values, floors, [grid, histogram], [table], replicates=replicates)


def _values(scores: GenerationScores, floor: GenerationScores) -> dict[str, float]:
    return {
        "frechet_distance": scores.frechet_distance,
        "fd_over_floor": scores.frechet_distance / max(floor.frechet_distance, 1e-12),
        "fd_infinity": scores.fd_infinity,
        "kid": scores.kid,
        "inception_score": scores.inception_score,
        "class_tv": scores.class_tv,
        "missing_modes": float(scores.missing_modes),
    }


def _replicates(judged: Judged, references: References) -> dict[str, np.ndarray]:
    """Both sides are resampled; the floor stays, being the same for candidate and champion."""
    config = references.config
    count, seed = config.distance_replicates, config.seed
    distances = frechet_replicates(
        moment_replicates(judged.features, count, seed), references.test_moments
    )
    generated = histogram_replicates(judged.probabilities, config.bootstrap_replicates, seed)
    pairs = list(zip(generated, references.test_histograms, strict=True))
    return {
        "frechet_distance": distances,
        "fd_over_floor": distances / max(references.floor.frechet_distance, 1e-12),
        "kid": kid_replicates(
            references.paired(judged.features), references.paired_test, count, seed
        ),
        "inception_score": score_replicates(
            judged.probabilities, config.inception_splits, count, seed
        ),
        "class_tv": np.array([total_variation(*pair) for pair in pairs]),
        "missing_modes": np.array([missing_modes(*pair) for pair in pairs], float),
    }


def _table(scores: GenerationScores, references: References) -> Table:
    test_score, test_deviation = references.test_inception_score
    floor, classes = references.floor, len(scores.histogram)

    def row(name: str, s: GenerationScores) -> list[str | float]:
        score = f"{s.inception_score:.3f} ± {s.inception_deviation:.3f}"
        times = s.frechet_distance / max(floor.frechet_distance, 1e-12)
        covered = f"{classes - s.missing_modes} of {classes}"
        return [name, s.frechet_distance, times, s.fd_infinity, s.kid, score, s.class_tv, covered]

    real = [0.0, 0.0, "reference", 0.0, f"{test_score:.3f} ± {test_deviation:.3f}", 0.0]
    return Table(
        f"Generation: {references.samples:,} images each, against "
        f"{len(references.data.test_images):,} test images; KID on the first "
        f"{min(references.config.pair_images, references.samples):,}",
        ("images", "FD", "FD / floor", "FD at infinity", "KID")
        + ("Inception Score", "class TV", "classes"),
        (
            row("generated", scores),
            row("real, train split", floor),
            ["real, test", *real, "reference"],
        ),
    )
