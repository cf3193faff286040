"""Kernel Inception Distance: the squared maximum mean discrepancy of two sets of features.

Bińkowski et al. 2018 (arXiv 1801.01401), section 3.1: the unbiased estimate of MMD^2 under the
cubic kernel k(x, y) = (x . y / D + 1)^3; Gretton et al. 2012, eq. 3. It is not biased by the number
of images, so it may be negative. Pure NumPy in float64; kernels are made in blocks of 500 rows, so
5,000 images a side with 100 replicates take 40 MB and two seconds.
"""

import numpy as np

from components.evaluator.metrics.bootstrap import resample_counts

_BLOCK = 500  # rows of the kernel at a time


def kid(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased MMD^2 between features [N >= 2, D] and [M >= 2, D]."""
    return float(_weighted(x, y, np.ones((len(x), 1)), np.ones((len(y), 1)))[0])


def kid_replicates(x: np.ndarray, y: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Bootstrap replicates [B] of ``kid``, both sets resampled.

    An image sampled twice is not paired with itself, so the replicates stay all but unbiased.
    """
    a = resample_counts(len(x), replicates, seed).T.astype(np.float64)
    b = resample_counts(len(y), replicates, seed + 1).T.astype(np.float64)
    return _weighted(x, y, a, b)


def _weighted(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """MMD^2 [B] under each column of the weights ``a`` [N, B] and ``b`` [M, B]."""
    x, y, n, m = x.astype(np.float64), y.astype(np.float64), len(x), len(y)
    own_x = _sums(x, x, a, a, same=True) / (n * (n - 1))
    own_y = _sums(y, y, b, b, same=True) / (m * (m - 1))
    return own_x + own_y - 2.0 * _sums(x, y, a, b, same=False) / (n * m)


def _sums(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, same: bool) -> np.ndarray:
    """Sum over pairs of a_i b_j k(x_i, y_j) per column, without i = j where ``same``: [B]."""
    total = np.zeros(a.shape[1])
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(x)))
        kernel = (x[rows] @ y.T / x.shape[1] + 1.0) ** 3
        if same:
            inside = np.arange(rows.start, rows.stop)
            kernel[inside - start, inside] = 0.0
        total += np.einsum("ib,ib->b", a[rows], kernel @ b)
    return total
