"""What a GAN's own discriminator says of held-out reals and of fresh fakes.

50 % does not mean good fakes by itself: a dead discriminator and a collapsed pair give it too. So
it is a figure to read beside the Fréchet distance, and no gate. A relativistic loss compares pairs
(Jolicoeur-Martineau 2018), hence also the pairwise figure, which needs no cut-off.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from components.evaluator.metrics.anomaly import auroc


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """Shares in [0, 1]; NaN where a score is not finite."""

    real: float  # held-out reals with a score above 1/2
    fake: float  # fakes with a score of at most 1/2
    balanced: float  # mean of the two, so that unequal numbers do not matter
    pairwise: float  # P(score of a real > score of a fake), ties count half


def verdicts(real_scores: np.ndarray, fake_scores: np.ndarray) -> Verdicts:
    """Judges by scores [N] and [M], each the probability that an image is real."""
    pairwise = auroc(fake_scores, real_scores)
    if np.isnan(pairwise):
        return Verdicts(pairwise, pairwise, pairwise, pairwise)
    real = float(np.mean(real_scores > 0.5))
    fake = float(np.mean(fake_scores <= 0.5))
    return Verdicts(real, fake, 0.5 * (real + fake), pairwise)
