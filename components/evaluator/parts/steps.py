"""The quality of generated images by the number of steps; no metric, so no gate.

Fewer images than for the metrics, so the Fréchet distance of each row is higher than theirs: a
distance of fewer images is. Compare with the floor of as many real train images. Half the work of
the metrics' images.
"""

from collections.abc import Sequence

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part
from components.evaluator.metrics.frechet import frechet_distance_of
from components.evaluator.metrics.inception_score import inception_score
from components.evaluator.parts import plots
from components.evaluator.references import Judged, References
from components.evaluator.results import Plot, Table
from components.evaluator.saved_model import LoadedModel


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """A table and a plot of two metrics over the number of network calls per image."""
    return (Part("steps", "samples", (), measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Fréchet distance and Inception Score at each of ``config.step_counts``."""
    if not draw:
        return Measured()
    config, count = references.config, min(references.config.step_images, references.samples)

    def judged(steps: int) -> Judged:
        if steps == config.generate_steps:
            whole = references.sample(model, stage).judged  # consecutive seeds, so its beginning
            return Judged(whole.features[:count], whole.probabilities[:count])
        images = model.generate(count, config.seed, f"{stage}, {steps} steps", steps=steps)
        return references.judge(images)

    def scores(found: Judged) -> tuple[float, float]:
        distance = frechet_distance_of(found.features, references.test.features)
        return distance, inception_score(found.probabilities, config.inception_splits)[0]

    real = references.train
    floor, best = scores(Judged(real.features[:count], real.probabilities[:count]))
    unit = max(floor, 1e-12)
    found = {steps: scores(judged(steps)) for steps in config.step_counts}
    table = Table(
        f"Quality by the number of steps: {count:,} images each, against "
        f"{len(references.data.test_images):,} test images",
        ("steps", "FD", "FD / floor", "Inception Score"),
        (
            *((f"{steps}", fd, fd / unit, score) for steps, (fd, score) in found.items()),
            ("real, train split", floor, 1.0, best),
        ),
    )
    distances, inceptions = zip(*found.values(), strict=True)
    generated, reals, size = "generated images", "real train images", len(found)
    panels: dict[str, dict[str, Sequence[float]]] = {
        "Fréchet distance / floor": {
            generated: [distance / unit for distance in distances],
            reals: [1.0] * size,
        },
        "Inception Score": {generated: inceptions, reals: [best] * size},
    }
    plot = Plot(
        "figures/steps.png",
        "Quality by the number of steps",
        f"Each step is one call of the network; {count:,} images for each number. The metrics of "
        f"this report are those of {config.generate_steps} steps.",
        plots.lines(config.step_counts, panels, "steps"),
        is_chart=True,
    )
    return Measured(plots=[plot], tables=[table])
