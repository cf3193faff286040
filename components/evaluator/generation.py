"""Generated images against real ones, for diffusion and GAN alike: the primary figures.

As many images as there are real test images, drawn from consecutive seeds; no image is picked. The
floor, real train images in the same number, stands beside every figure.
"""

from __future__ import annotations

from collections.abc import Mapping

from components.evaluator import figures
from components.evaluator.data import GenerationScores, References
from components.evaluator.models import LoadedModel
from components.evaluator.parts import Measured, Part
from components.evaluator.results import Picture, Table

METRICS = (
    "frechet_distance",
    "fd_over_floor",
    "inception_score",
    "class_tv",
    "missing_modes",
)
_GRID = 64  # images of the sample grid: 8 x 8


def generation_part(settings: Mapping[str, int]) -> Part:
    """Draws and judges images; ``settings`` are further inputs of the signature ``generate``."""

    def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
        count, seed = references.samples, references.config.seed
        images = model.generate(count, seed, stage, **settings)
        scores = references.score(references.judge(images, f"{stage}, judged"))
        floor = references.floor
        values = {
            "frechet_distance": scores.frechet_distance,
            "fd_over_floor": scores.frechet_distance / max(floor.frechet_distance, 1e-12),
            "inception_score": scores.inception_score,
            "class_tv": scores.class_tv,
            "missing_modes": float(scores.missing_modes),
        }
        if not draw:
            return Measured(values)
        floors = {
            "frechet_distance": floor.frechet_distance,
            "fd_over_floor": 1.0,
            "inception_score": references.test_inception_score[0],
            "class_tv": floor.class_tv,
            "missing_modes": float(floor.missing_modes),
        }
        grid = Picture(
            "figures/samples.png",
            "Generated images",
            f"The first {min(_GRID, count)} of {count:,} images, seed {seed}; none was picked.",
            figures.sample_grid(images[:_GRID]),
        )
        histogram = Picture(
            "figures/class_histogram.png",
            "Classes",
            "Shares of the classes among generated and real images, both labelled by the judge.",
            figures.class_histogram(
                scores.histogram, references.test_histogram, "generated images"
            ),
        )
        return Measured(values, floors, [grid, histogram], [_table(scores, references)])

    return Part("generation", METRICS, measure)


def _table(scores: GenerationScores, references: References) -> Table:
    test_score, test_deviation = references.test_inception_score
    floor = references.floor
    classes = len(scores.histogram)

    def row(name: str, s: GenerationScores) -> list[str | float]:
        score = f"{s.inception_score:.3f} ± {s.inception_deviation:.3f}"
        times = s.frechet_distance / max(floor.frechet_distance, 1e-12)
        covered = f"{classes - s.missing_modes} of {classes}"
        return [name, s.frechet_distance, times, score, s.class_tv, covered]

    return Table(
        f"Generation: {references.samples:,} images each, against "
        f"{len(references.data.test_images):,} test images",
        ("images", "FD", "FD / floor", "Inception Score", "class TV", "classes"),
        (
            row("generated", scores),
            row("real, train split (floor)", floor),
            ["real, test", 0.0, 0.0, f"{test_score:.3f} ± {test_deviation:.3f}", 0.0, "reference"],
        ),
    )
