"""Bootstrap intervals: how far a metric would move with other images of the same kind.

Efron & Tibshirani 1993, chapter 13. Contract: resampled indices depend on the seed, the count and
the number of replicates alone, so two models measured on the same images are resampled alike, and
the replicates of their difference are paired. Pure NumPy.
"""

from collections.abc import Callable, Iterator

import numpy as np

LEVEL = 0.95


def resamples(count: int, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Yields ``replicates`` arrays of ``count`` indices, sampled with replacement."""
    rng = np.random.default_rng([seed, count, replicates])
    for _ in range(replicates):
        yield rng.integers(count, size=count)


def resample_counts(count: int, replicates: int, seed: int) -> np.ndarray:
    """How often every image is in each of ``resamples``: [replicates, count] float32.

    A statistic of weighted images, as a count of classes, is then one product of matrices.
    """
    counts = np.empty((replicates, count), np.float32)
    for row, part in zip(counts, resamples(count, replicates, seed), strict=True):
        row[:] = np.bincount(part, minlength=count)
    return counts


def mean_replicates(values: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Replicates [B] of the mean of ``values`` [N]."""
    return bootstrap(lambda part: values[part].mean(), len(values), replicates, seed)


def bootstrap(
    statistic: Callable[[np.ndarray], float], count: int, replicates: int, seed: int
) -> np.ndarray:
    """Replicates [B] of ``statistic``, which is given indices [N] of the resampled images."""
    return np.array([statistic(part) for part in resamples(count, replicates, seed)], float)


def interval(value: float, replicates: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Interval around ``value`` with the spread of ``replicates`` [B].

    The replicates are centred first: a statistic that is biased in small samples, as a Fréchet
    distance is, is biased once more by resampling, which repeats images.
    """
    tail = (1 - level) / 2
    low, high = np.quantile(replicates - replicates.mean(), [tail, 1 - tail])
    return float(value + low), float(value + high)
