"""Noisy digits and the linear optimum that any denoiser has to beat.

The noisy input is x + sigma n, clipped to [0, 1] as a stored picture would be. The yardstick is the
linear estimator of least mean squared error (Kay 1993, "Estimation Theory", section 12.5), from
the mean and covariance of the train split: it needs no training at all.
"""

from __future__ import annotations

import numpy as np

from components.evaluator.reconstruction import PixelStatistics


def add_noise(images: np.ndarray, sigma: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Adds Gaussian noise of deviation ``sigma`` in [0, 1] pixel units.

    Returns:
        The noisy images clipped to [0, 1], and the same before clipping; float32, same shape.
        Equal ``images``, ``sigma`` and ``seed`` give equal noise.
    """
    rng = np.random.default_rng([seed, round(1e6 * sigma)])
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    unclipped = images + np.float32(sigma) * noise
    return np.clip(unclipped, 0.0, 1.0), unclipped


def linear_optimum(unclipped: np.ndarray, statistics: PixelStatistics, sigma: float) -> np.ndarray:
    """LMMSE estimate m + C (C + sigma^2 I)^-1 (y - m) of the clean images, clipped to [0, 1].

    It is given the noise before clipping, for which it is derived: a slightly generous yardstick.

    Args:
        unclipped: Noisy images y [N, ...] that were not clipped.
        statistics: Mean m and covariance C of clean train images.
        sigma: Deviation of the noise.
    """
    v, gain = statistics.vectors, statistics.values / (statistics.values + sigma**2)
    estimator = ((v * gain) @ v.T).astype(unclipped.dtype)
    mean = statistics.mean.astype(unclipped.dtype)
    x = (unclipped.reshape(len(unclipped), -1) - mean) @ estimator + mean
    return np.clip(x, 0.0, 1.0).reshape(unclipped.shape)
