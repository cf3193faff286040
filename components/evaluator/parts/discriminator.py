"""What a GAN's own discriminator says of held-out reals and of fresh fakes."""

from __future__ import annotations

import numpy as np

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part
from components.evaluator.metrics.bootstrap import resamples
from components.evaluator.metrics.discriminator import Verdicts, verdicts
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Picture, Table
from components.evaluator.saved_model import LoadedModel

_METRICS = (
    "discriminator_accuracy",
    "discriminator_accuracy_real",
    "discriminator_accuracy_fake",
    "discriminator_pairwise",
)


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Shares that the discriminator judges right."""
    return (Part("discriminator", _METRICS, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Accuracy of the discriminator on the test images and on as many fresh fakes."""
    reals = references.data.test_images
    # Other seeds than those of the samples: these fakes have been used for nothing else.
    fakes = model.generate(len(reals), references.config.seed + 1)
    real_scores = model.run("discriminate", stage, image=reals)["score"]
    fake_scores = model.run("discriminate", f"{stage}, fakes", image=fakes)["score"]
    found = verdicts(real_scores, fake_scores)
    values = _values(found)
    config = references.config
    count = config.distance_replicates
    drawn = zip(
        resamples(len(real_scores), count, config.seed),
        resamples(len(fake_scores), count, config.seed + 1),
        strict=True,
    )
    resampled = [_values(verdicts(real_scores[a], fake_scores[b])) for a, b in drawn]
    replicates = {name: np.array([each[name] for each in resampled]) for name in _METRICS}
    if not draw:
        return Measured(values, replicates=replicates)
    picture = Picture(
        "figures/discriminator.png",
        "Scores of the discriminator",
        "On test images, which it has never seen, and on fresh fakes. The more the two overlap, "
        "the less it can tell them apart; that is no proof of good fakes, as a dead discriminator "
        "overlaps too.",
        plots.score_histogram(real_scores, fake_scores),
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
    floors = dict.fromkeys(values, 0.5)
    return Measured(values, floors, [picture], [table], replicates=replicates)


def _values(found: Verdicts) -> dict[str, float]:
    shares = (found.balanced, found.real, found.fake, found.pairwise)
    return dict(zip(_METRICS, shares, strict=True))
