"""Gaussian filter and non-local means: by their definitions, and settings chosen by the error."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from components.evaluator.metrics import denoising, filters
from components.evaluator.metrics.reconstruction import squared_error


def _noisy(count=3, side=10, seed=0):
    return np.random.default_rng(seed).random((count, side, side, 1))


def _by_definition(image: np.ndarray, strength: float, patch: int, reach: int) -> np.ndarray:
    """Non-local means of one image [H, W], pixel by pixel."""
    half, (height, width) = patch // 2, image.shape
    padded = np.pad(image, half, mode="reflect")
    places = np.arange(-half, half + 1) ** 2
    kernel = np.exp(-(places[:, None] + places) / (2 * ((patch - 1) / 4) ** 2))
    kernel /= kernel.sum()
    result = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            own, total, weights = padded[y : y + patch, x : x + patch], 0.0, 0.0
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    other = padded[v : v + patch, u : u + patch]
                    w = np.exp(-np.sum(kernel * (own - other) ** 2) / strength**2)
                    total, weights = total + w * image[v, u], weights + w
            result[y, x] = total / weights
    return result


@pytest.mark.parametrize(("strength", "patch", "reach"), [(0.3, 5, 3), (1.0, 3, 2), (0.5, 7, 20)])
def test_non_local_means_is_its_definition(strength, patch, reach):
    images = _noisy()
    found = filters.non_local_means(images, strength, patch, reach)
    for image, clean in zip(images[..., 0], found[..., 0], strict=True):
        expected = _by_definition(image, strength, patch, reach)
        assert clean == pytest.approx(expected, abs=1e-12)


def test_non_local_means_does_not_depend_on_the_batch_and_keeps_the_type():
    images = _noisy(70).astype(np.float32)
    found = filters.non_local_means(images, 0.4)
    assert (found.shape, found.dtype) == (images.shape, np.float32)
    assert found[66:68] == pytest.approx(filters.non_local_means(images[66:68], 0.4), abs=1e-6)


def test_non_local_means_ranges_from_the_image_itself_to_the_mean():
    images = _noisy(side=8)
    assert filters.non_local_means(images, 1e-3) == pytest.approx(images, abs=1e-9)
    blurred = filters.non_local_means(images, 1e6, reach=8)
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    assert blurred == pytest.approx(np.broadcast_to(mean, images.shape), abs=1e-9)


def test_gaussian_filter_is_that_of_scipy():
    images = _noisy(side=28)
    for image, found in zip(images, filters.gaussian(images, 1.3), strict=True):
        assert found == pytest.approx(gaussian_filter(image[..., 0], 1.3)[..., None], abs=1e-12)


def test_chosen_filters_have_the_least_error_and_follow_the_noise(data):
    clean = data.train_images[:50]
    widths = []
    for sigma in (0.1, 0.6):
        noisy = denoising.add_noise(clean, sigma, seed=1)
        chosen = filters.choose_filters(clean, noisy, sigma)
        widths.append(chosen.width)
        best = squared_error(clean, filters.gaussian(noisy, chosen.width)).mean()
        for other in (chosen.width - 0.1, chosen.width + 0.1):
            assert squared_error(clean, filters.gaussian(noisy, other)).mean() > best
        least = squared_error(clean, filters.non_local_means(noisy, chosen.strength)).mean()
        assert least < squared_error(clean, noisy).mean()
    assert widths[0] < widths[1]
