"""Errors between images and their reconstructions, and PCA as the linear reference.

Images are [N, 28, 28, 1] (or [N, 28, 28]) in [0, 1]; the data range is 1. SSIM after Wang et al.
2004, eq. 13, with their Gaussian window (sigma 1.5). All of 10,000 images take about a second.
"""

import dataclasses
import zlib

import numpy as np
from scipy.ndimage import gaussian_filter1d

_CHUNK = 1000  # images per step: keeps the working memory of SSIM below 100 MB
_BCE_CLIP = 1e-7  # as Keras: a wrong pixel of exactly 0 or 1 must not cost infinity


def squared_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean squared error over the pixels of every image: [N]."""
    difference = _flat(a) - _flat(b)
    return np.mean(np.square(difference, dtype=np.float64), axis=1)


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of every image in dB: [N]; 100 where two images are equal.

    The mean of these is not the PSNR of the mean error, which is a few tenths of a dB lower.
    """
    return -10.0 * np.log10(np.maximum(squared_error(a, b), 1e-10))


def cross_entropy(target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of every image, mean over its pixels, in nats: [N]."""
    t = _flat(target).astype(np.float64)
    p = np.clip(_flat(prediction).astype(np.float64), _BCE_CLIP, 1.0 - _BCE_CLIP)
    return -np.mean(t * np.log(p) + (1.0 - t) * np.log1p(-p), axis=1)


def entropy_floor(target: np.ndarray) -> np.ndarray:
    """The least ``cross_entropy`` that any prediction of ``target`` can reach: [N].

    It is 0 only for images of pure black and white; grey pixels have an entropy of their own.
    """
    return cross_entropy(target, target)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity of every pair of images: [N], 1 for equal images.

    Mean over the whole map, borders by reflection, population covariance: what scikit-image gives
    with gaussian_weights=True, use_sample_covariance=False, data_range=1 and full=True.
    """
    height, width = a.shape[1:3]
    # A separable filter on images this small is two products with a band matrix.
    rows, columns = _window(height), _window(width)

    def blur(x):
        return rows @ x @ columns.T

    c1, c2 = 0.01**2, 0.03**2
    scores = []
    for start in range(0, len(a), _CHUNK):
        x = a[start : start + _CHUNK].reshape(-1, height, width).astype(np.float64)
        y = b[start : start + _CHUNK].reshape(-1, height, width).astype(np.float64)
        mean_x, mean_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        cov = blur(x * y) - mean_x * mean_y
        score = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
        score /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
        scores.append(score.mean(axis=(1, 2)))
    return np.concatenate(scores)


@dataclasses.dataclass(frozen=True)
class Errors:
    """How far every image of one set is from its original: [N] each."""

    mse: np.ndarray
    psnr: np.ndarray  # dB
    ssim: np.ndarray


def errors(originals: np.ndarray, images: np.ndarray) -> Errors:
    """All three errors of ``images`` [N, 28, 28, 1]."""
    return Errors(
        squared_error(originals, images), psnr(originals, images), ssim(originals, images)
    )


def compression_ratio(pixels: int, code_size: int) -> float:
    """Bytes of an image, one per pixel, over those of its code, four per number (float32)."""
    return pixels / (4 * code_size)


def lossless_ratio(images: np.ndarray) -> float:
    """The same of zlib at level 9 (RFC 1950), one image at a time, which loses nothing."""
    stored = np.rint(255 * _flat(images)).astype(np.uint8)
    return stored.size / sum(len(zlib.compress(image.tobytes(), 9)) for image in stored)


@dataclasses.dataclass(frozen=True)
class PixelStatistics:
    """Mean and covariance of the pixels of the train split, by eigenvalue, as PCA has them."""

    mean: np.ndarray  # [D]
    values: np.ndarray  # [D] eigenvalues of the covariance, largest first, clipped at 0
    vectors: np.ndarray  # [D, D] eigenvectors in columns, same order


def pixel_statistics(images: np.ndarray) -> PixelStatistics:
    """Fits mean and covariance to ``images`` [N, ...]."""
    x = _flat(images)
    mean = x.mean(axis=0, dtype=np.float64)
    cov = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), _CHUNK):
        # Products of a thousand images in the images' own precision, their sum in float64: four
        # times as fast as float64 throughout, and the same to seven digits.
        centred = x[start : start + _CHUNK] - mean.astype(x.dtype)
        cov += centred.T @ centred
    values, vectors = np.linalg.eigh(cov / max(len(x) - 1, 1))
    return PixelStatistics(mean, np.clip(values[::-1], 0.0, None), vectors[:, ::-1])


def pca_code(images: np.ndarray, statistics: PixelStatistics, size: int) -> np.ndarray:
    """Coordinates [N, size] of ``images`` along the leading components."""
    basis = statistics.vectors[:, :size].astype(images.dtype)
    return (_flat(images) - statistics.mean.astype(images.dtype)) @ basis


def pca_reconstruction(images: np.ndarray, statistics: PixelStatistics, size: int) -> np.ndarray:
    """``images`` through ``size`` leading components and back, clipped to [0, 1]; same shape."""
    basis = statistics.vectors[:, :size].astype(images.dtype)
    x = pca_code(images, statistics, size) @ basis.T + statistics.mean.astype(images.dtype)
    return np.clip(x, 0.0, 1.0).reshape(images.shape)


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def _window(size: int) -> np.ndarray:
    """[size, size] matrix that applies the Gaussian window of SSIM (11 taps) along one axis."""
    return gaussian_filter1d(np.eye(size), sigma=1.5, axis=0, mode="reflect", truncate=3.5)
