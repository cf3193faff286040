"""Accuracy of a GAN's own discriminator on held-out reals and fresh fakes."""

import numpy as np

from components.evaluator.catalogue import DISCRIMINATOR
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row
from components.evaluator.metrics.bootstrap import resamples
from components.evaluator.metrics.discriminator import verdicts
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Plot, Table
from components.evaluator.saved_model import LoadedModel


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Shares that the discriminator judges right."""
    return (Part("discriminator", "discriminator", DISCRIMINATOR, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Accuracy of the discriminator on the test images and on as many fresh fakes."""
    reals = references.data.test_images
    # Other seeds than those of the samples: these fakes are used for nothing else.
    fakes = model.generate(len(reals), references.config.seed + 1)
    real_scores = model.run("discriminate", stage, image=reals)["score"]
    fake_scores = model.run("discriminate", f"{stage}, fakes", image=fakes)["score"]
    found = verdicts(real_scores, fake_scores)
    config, count = references.config, references.config.distance_replicates
    drawn = zip(
        resamples(len(real_scores), count, config.seed),
        resamples(len(fake_scores), count, config.seed + 1),
        strict=True,
    )
    resampled = [verdicts(real_scores[a], fake_scores[b]) for a, b in drawn]

    def row(metric: str, share: str) -> Row:
        replicates = np.array([getattr(each, share) for each in resampled])
        return Row(metric, getattr(found, share), 0.5, replicates)

    rows = [
        row("discriminator_accuracy", "balanced"),
        row("discriminator_accuracy_real", "real"),
        row("discriminator_accuracy_fake", "fake"),
        row("discriminator_pairwise", "pairwise"),
    ]
    if not draw:
        return Measured(rows)
    picture = Plot(
        "figures/discriminator.png",
        "Scores of the discriminator",
        "On test images, which it has never seen, and on fresh fakes. The more the two overlap, "
        "the less it separates them; this does not prove good fakes, as a dead discriminator "
        "overlaps too.",
        plots.score_histogram(real_scores, fake_scores),
        is_chart=True,
    )
    table = Table(
        f"Discriminator on {len(reals):,} held-out reals and as many fakes",
        ("images", "share judged right (%)", "mean score"),
        (
            ["real test images", round(100 * found.real, 2), round(float(real_scores.mean()), 4)],
            ["generated images", round(100 * found.fake, 2), round(float(fake_scores.mean()), 4)],
            ["random pair in the right order", round(100 * found.pairwise, 2), "does not apply"],
        ),
    )
    return Measured(rows, [picture], [table])
