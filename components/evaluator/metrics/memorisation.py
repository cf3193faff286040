"""Whether a generator copies its training images, or leaves them: distances to the nearest one.

The reference is held-out real images from the same source as the training images: a copier's images
lie closer to the train images than those do, and images of no class lie farther. Classes are
compared separately, as a 1 has closer neighbours than any other digit. The rank test is the
data-copying test of Meehan et al. 2020 (arXiv 2004.05675) with classes as its cells, combined after
van Elteren 1960. Smooth images lie close to everything, so a low distance alone does not prove
copying: look at the pairs.
"""

import dataclasses

import numpy as np
from scipy.stats import norm, rankdata

PERCENTILE = 1  # of the held-out distances; below it an image counts as too close


@dataclasses.dataclass(frozen=True)
class Copying:
    """Verdict on N generated images."""

    compared: np.ndarray  # [N] bool: whether there is a held-out image of the same class
    close: np.ndarray  # [N] bool: closer than the percentile of the held-out images of its class
    far: np.ndarray  # [N] bool: farther than 99 % of the held-out images of its class
    ratio: np.ndarray  # [N] distance over the percentile of ``close``; infinite where not compared
    z: float  # of the rank test; below 0 where generated images lie closer than held-out ones
    p_value: float  # one-sided; small where they lie closer than chance allows

    @property
    def share(self) -> float:
        """Share of the compared images that are too close; NaN where none could be compared."""
        return self._share_of(self.close)

    @property
    def far_share(self) -> float:
        """Share of the compared images that are too far; NaN where none could be compared."""
        return self._share_of(self.far)

    def _share_of(self, verdicts: np.ndarray) -> float:
        return float(verdicts[self.compared].mean()) if self.compared.any() else float("nan")


def copying(
    generated: np.ndarray,
    generated_classes: np.ndarray,
    held_out: np.ndarray,
    held_out_classes: np.ndarray,
) -> Copying:
    """Compares distances to the nearest train image, [N] of generated and [M] of held-out images.

    The rank test sums, over the classes, the Mann-Whitney statistic U of generated below held-out
    over (n + m + 1); its variance is that of the normal approximation with ties.
    """
    compared = np.zeros(len(generated), bool)
    limit, outer = np.zeros(len(generated)), np.zeros(len(generated))
    excess = variance = 0.0
    for k in np.unique(held_out_classes):
        inside = generated_classes == k
        x, y = generated[inside], held_out[held_out_classes == k]
        if not len(x):
            continue
        compared[inside], limit[inside] = True, np.percentile(y, PERCENTILE)
        outer[inside] = np.percentile(y, 100 - PERCENTILE)
        u, var = _mann_whitney(x, y)
        weight = 1.0 / (len(x) + len(y) + 1)
        excess += weight * (u - len(x) * len(y) / 2)
        variance += weight**2 * var
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(compared, generated / limit, np.inf)
    z = excess / np.sqrt(variance) if variance > 0 else 0.0
    close, far = compared & (generated < limit), compared & (generated > outer)
    return Copying(
        compared,
        close,
        far,
        np.nan_to_num(ratio, nan=1.0, posinf=np.inf),
        float(z),
        float(norm.cdf(z)),
    )


def _mann_whitney(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """U of ``x`` [n], the pairs with x > y plus half those with x = y, and its null variance."""
    n, m = len(x), len(y)
    both = np.concatenate([x, y])
    u = rankdata(both)[:n].sum() - n * (n + 1) / 2
    _, ties = np.unique(both, return_counts=True)
    total = n + m
    lost = (ties.astype(float) ** 3 - ties).sum() / (total * (total - 1))
    return float(u), n * m / 12 * (total + 1 - lost)
