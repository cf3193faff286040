"""Accuracy of a GAN's own discriminator on held-out reals and on fresh fakes.

50 % alone does not mean good fakes: a dead discriminator and a collapsed pair have it too, so this
metric complements the Fréchet distance and is not a gate. A relativistic loss compares pairs
(Jolicoeur-Martineau 2018), hence also the pairwise metric, which needs no cut-off.
"""

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
    """Computes the shares from scores [N] and [M], each the probability that an image is real."""
    pairwise = auroc(fake_scores, real_scores)
    if np.isnan(pairwise):
        return Verdicts(pairwise, pairwise, pairwise, pairwise)
    real = float(np.mean(real_scores > 0.5))
    fake = float(np.mean(fake_scores <= 0.5))
    return Verdicts(real, fake, 0.5 * (real + fake), pairwise)
