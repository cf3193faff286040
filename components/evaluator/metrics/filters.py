"""Two denoisers that need no training: a Gaussian filter and non-local means.

Non-local means after Buades, Coll & Morel 2005 (CVPR), eq. 1 to 3: what scikit-image gives with
fast_mode=False, up to its approximate exponential. A whole batch goes through one shift at a time:
1,000 images take 0.6 s. Both get noise clipped to [0, 1], as a stored image has; the mean that
clipping gives to noise on black remains in their output.
"""

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter1d

from components.evaluator.metrics.reconstruction import squared_error

_CHUNK = 64  # images per step: their arrays stay in the processor's cache
_WIDTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4)  # pixels, tried on train images
_STRENGTHS = (0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5)  # multiples of the noise, tried on train images


@dataclasses.dataclass(frozen=True)
class Filters:
    """Settings of both filters, as ``choose_filters`` finds them."""

    width: float  # standard deviation of the Gaussian in pixels
    strength: float  # h of non-local means, in [0, 1] pixel units


def choose_filters(clean: np.ndarray, noisy: np.ndarray, sigma: float) -> Filters:
    """The settings of least squared error on pairs of train images [N, H, W, 1].

    Args:
        clean: Images.
        noisy: The same with noise.
        sigma: Standard deviation of that noise.
    """

    def error(images: np.ndarray) -> float:
        return float(squared_error(clean, images).mean())

    strengths = [sigma * multiple for multiple in _STRENGTHS]
    return Filters(
        width=min(_WIDTHS, key=lambda width: error(gaussian(noisy, width))),
        strength=min(strengths, key=lambda h: error(non_local_means(noisy, h))),
    )


def gaussian(images: np.ndarray, width: float) -> np.ndarray:
    """Blurs images [N, H, W, 1] with a Gaussian of standard deviation ``width``, in pixels."""
    # A separable filter on images this small is two products with a band matrix.
    rows, columns = (
        gaussian_filter1d(np.eye(n), width, axis=0).astype(images.dtype) for n in images.shape[1:3]
    )
    return (rows @ images[..., 0] @ columns.T)[..., None]


def non_local_means(
    images: np.ndarray, strength: float, patch: int = 5, reach: int = 7
) -> np.ndarray:
    """Replaces every pixel by the mean of those whose surroundings look alike.

    Args:
        images: [N, H, W, 1] noisy images.
        strength: h: two patches at a mean squared distance of h^2 get weight 1/e.
        patch: Side of the patches, odd; weighted by a Gaussian of sigma (patch - 1) / 4.
        reach: How many rows and columns away a pixel may be.

    Returns:
        [N, H, W, 1] of the same type.
    """
    chunks = (images[i : i + _CHUNK, :, :, 0] for i in range(0, len(images), _CHUNK))
    return np.concatenate([_non_local_means(x, strength, patch, reach) for x in chunks])[..., None]


def _non_local_means(x: np.ndarray, strength: float, patch: int, reach: int) -> np.ndarray:
    """The same for one chunk [N, H, W]; images lie along the last axis, so slices are runs."""
    half = patch // 2
    x = np.ascontiguousarray(np.moveaxis(x, 0, -1))  # [H, W, N]
    padded = np.pad(x, ((half, half), (half, half), (0, 0)), mode="reflect")
    height, width, _ = x.shape
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / ((patch - 1) / 4)) ** 2)
    taps = (taps / taps.sum()).astype(x.dtype)
    total, weights = x.copy(), np.ones_like(x)  # the pixel itself has weight 1
    for dy in range(min(reach, height - 1) + 1):
        for dx in range(-min(reach, width - 1), min(reach, width - 1) + 1):
            if (dy, dx) <= (0, 0):
                continue  # every pair once: the other half of the shifts is the same pairs
            rows, left = height - dy, max(0, -dx)
            columns = width - abs(dx)
            here = np.s_[:rows, left : left + columns]
            there = np.s_[dy:, left + dx : left + dx + columns]
            a = padded[: rows + 2 * half, left : left + columns + 2 * half]
            b = padded[dy:, left + dx : left + dx + columns + 2 * half]
            squared = np.square(a - b)
            along = sum(t * squared[i : i + rows] for i, t in enumerate(taps))
            distance = sum(t * along[:, i : i + columns] for i, t in enumerate(taps))
            w = np.exp(distance / -(strength**2))
            total[here] += w * x[there]
            weights[here] += w
            total[there] += w * x[here]
            weights[there] += w
    return np.moveaxis(total / weights, -1, 0)
