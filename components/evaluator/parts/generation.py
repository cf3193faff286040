"""Generated images against real ones, for diffusion and GAN alike: the primary metrics.

As many images as there are real test images, generated from consecutive seeds, none selected. The
floor of every metric is that of as many real train images.
"""

import numpy as np

from components.evaluator.catalogue import GENERATION
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row
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
from components.evaluator.results import Plot, Table
from components.evaluator.saved_model import LoadedModel

_GRID = 64  # images of the sample grid: 8 x 8


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Fréchet distances, KID, Inception Score and classes, with the sample grid."""
    return (Part("generation", "samples", GENERATION, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Compares the generated images, and as many real train images, with the test images."""
    sample = references.sample(model, stage)
    scores = references.score(sample.judged)
    rows = _rows(scores, sample.judged, references)
    if not draw:
        return Measured(rows)
    count = len(sample.images)
    grid = Plot(
        "figures/samples.png",
        "Generated images",
        f"The first {min(_GRID, count)} of {count:,} images, seed {references.config.seed}; "
        "none was selected.",
        plots.sample_grid(sample.images[:_GRID]),
    )
    histogram = Plot(
        "figures/class_histogram.png",
        "Classes",
        "Shares of the classes among generated and real images, both labelled by the judge.",
        plots.class_histogram(
            scores.histogram,
            references.test_histogram,
            "generated images",
            references.data.names,
        ),
        is_chart=True,
    )
    table = _table(scores, references)
    return Measured(rows, [grid, histogram], [table])


def _rows(scores: GenerationScores, judged: Judged, references: References) -> list[Row]:
    """Both sides are resampled; the floor stays, being the same for candidate and champion."""
    config, floor = references.config, references.floor
    count, seed = config.distance_replicates, config.seed
    distances = frechet_replicates(
        moment_replicates(judged.features, count, seed), references.test_moments
    )
    unit = max(floor.frechet_distance, 1e-12)
    kids = kid_replicates(references.paired(judged.features), references.paired_test, count, seed)
    inception = score_replicates(judged.probabilities, config.inception_splits, count, seed)
    generated = histogram_replicates(judged.probabilities, config.bootstrap_replicates, seed)
    pairs = list(zip(generated, references.test_histograms, strict=True))
    variations = np.array([total_variation(*pair) for pair in pairs])
    lost = np.array([missing_modes(*pair) for pair in pairs], float)
    return [
        Row("frechet_distance", scores.frechet_distance, floor.frechet_distance, distances),
        Row(
            "fd_over_floor",
            scores.frechet_distance / unit,
            floor.frechet_distance / unit,
            distances / unit,
        ),
        Row("fd_infinity", scores.fd_infinity, floor.fd_infinity),
        Row("kid", scores.kid, floor.kid, kids),
        Row(
            "inception_score",
            scores.inception_score,
            references.test_inception_score[0],
            inception,
        ),
        Row("class_tv", scores.class_tv, floor.class_tv, variations),
        Row("missing_modes", float(scores.missing_modes), float(floor.missing_modes), lost),
    ]


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
