"""Noisy digits and the best linear denoiser, which any other denoiser has to beat.

The noisy input is x + sigma n, clipped to [0, 1] as a stored image is. The reference is the linear
estimator of least mean squared error (Kay 1993, "Estimation Theory", section 12.3) of the clean
image from that clipped input, which is what the models get too. It follows from the moments of the
train images and of a clipped normal variable: no noise is sampled and nothing is tuned.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr

_CHUNK = 1000  # train images per step
_GREYS = np.arange(256) / 255  # all values of a pixel in an IDX file


def add_noise(images: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Adds Gaussian noise of standard deviation ``sigma`` and clips to [0, 1]; float32, same shape.

    Equal ``images``, ``sigma`` and ``seed`` give equal noise.
    """
    rng = np.random.default_rng([seed, round(1e6 * sigma)])
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    return np.clip(images + np.float32(sigma) * noise, 0.0, 1.0)


def linear_optimum(noisy: np.ndarray, train: np.ndarray, sigma: float) -> np.ndarray:
    """The best linear estimate m + A (y - E y) of the clean images, clipped to [0, 1].

    A = Cov(x, y) Cov(y)^-1 for train images x and y = clip(x + sigma n). The noise of two pixels is
    independent, so with g(x) = E[y | x] and v(x) = Var[y | x] of a single pixel,
    Cov(y) = Cov(g(x)) + diag(E v(x)) and Cov(x, y) = Cov(x, g(x)).

    Args:
        noisy: Noisy test images y [N, ...] in [0, 1].
        train: Clean train images x [M, ...] of the same shape, of 256 grey levels in [0, 1].
        sigma: Standard deviation of the noise before clipping, above 0.
    """
    x = train.reshape(len(train), -1)
    means, variances = (table.astype(x.dtype) for table in clipped_moments(_GREYS, sigma))
    mean_x = x.mean(axis=0, dtype=np.float64)
    mean_y, noise = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for part in _parts(x):
        grey = _greys(part)
        mean_y += means[grey].sum(axis=0) / len(x)
        noise += variances[grey].sum(axis=0) / len(x)
    cov_y, cov_xy = np.diag(noise), np.zeros((x.shape[1], x.shape[1]))
    for part in _parts(x):
        y = means[_greys(part)] - mean_y.astype(x.dtype)
        cov_y += y.T @ y / len(x)
        cov_xy += (part - mean_x.astype(x.dtype)).T @ y / len(x)
    estimator = np.linalg.solve(cov_y, cov_xy.T)  # A transposed
    estimate = (noisy.reshape(len(noisy), -1) - mean_y) @ estimator + mean_x
    return np.clip(estimate, 0.0, 1.0).reshape(noisy.shape).astype(noisy.dtype)


def clipped_moments(x: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of clip(x + sigma n, 0, 1) for standard normal n, elementwise in x."""
    low, high = -x / sigma, (1 - x) / sigma  # between these values of n nothing is clipped
    inside, white = ndtr(high) - ndtr(low), ndtr(-high)
    at_low, at_high = (np.exp(-(n**2) / 2) / np.sqrt(2 * np.pi) for n in (low, high))
    first = at_low - at_high  # integral of n over the density inside
    second = inside + low * at_low - high * at_high  # and of its square
    mean = x * inside + sigma * first + white
    square = x**2 * inside + 2 * x * sigma * first + sigma**2 * second + white
    return mean, square - mean**2


def _parts(x: np.ndarray) -> Iterator[np.ndarray]:
    return (x[start : start + _CHUNK] for start in range(0, len(x), _CHUNK))


def _greys(x: np.ndarray) -> np.ndarray:
    """Indices of the grey levels of ``x`` in ``_GREYS``."""
    return np.rint(x * (len(_GREYS) - 1)).astype(np.intp)
