"""Errors, PSNR, SSIM, entropy floor, PCA, noise and the linear optimum."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from components.evaluator.metrics import denoising, reconstruction

SIDE = 12  # pixels of the images that PCA is tried on: 28 would take seconds for nothing


def _images(count=6, seed=0, side=28):
    return np.random.default_rng(seed).random((count, side, side, 1), dtype=np.float32)


def test_squared_error_and_psnr_of_a_known_difference():
    x = np.full((3, 28, 28, 1), 0.5, np.float32)
    assert reconstruction.squared_error(x, x + 0.1) == pytest.approx([0.01] * 3, rel=1e-5)
    assert reconstruction.psnr(x, x + 0.1) == pytest.approx([20.0] * 3, abs=1e-4)
    assert reconstruction.psnr(x, x + 1.0) == pytest.approx([0.0] * 3, abs=1e-6)
    assert reconstruction.psnr(x, x).tolist() == [100.0] * 3


def test_cross_entropy_of_an_ignorant_guess_is_log_two():
    x = _images()
    assert reconstruction.cross_entropy(x, np.full_like(x, 0.5)) == pytest.approx(
        [math.log(2)] * 6, rel=1e-6
    )


def test_entropy_floor_is_that_of_the_pixels_and_no_prediction_goes_below():
    grey = np.full((1, 28, 28, 1), 0.25)
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert reconstruction.entropy_floor(grey) == pytest.approx([expected], rel=1e-9)
    assert reconstruction.entropy_floor(np.round(_images())) == pytest.approx([0] * 6, abs=1e-5)
    x = _images()
    near = np.clip(x + 0.01 * np.random.default_rng(1).standard_normal(x.shape), 0, 1)
    assert np.all(reconstruction.cross_entropy(x, near) > reconstruction.entropy_floor(x))


def test_a_wrong_black_pixel_costs_a_finite_amount():
    white, black = np.ones((1, 28, 28, 1)), np.zeros((1, 28, 28, 1))
    assert reconstruction.cross_entropy(white, black) == pytest.approx([-math.log(1e-7)])


def test_ssim_is_one_for_equal_images_symmetric_and_falls_with_noise():
    x, y = _images(), _images(seed=1)
    assert reconstruction.ssim(x, x) == pytest.approx([1.0] * 6, abs=1e-12)
    assert reconstruction.ssim(x, y) == pytest.approx(reconstruction.ssim(y, x))
    little, much = (denoising.add_noise(x, sigma, 0) for sigma in (0.05, 0.4))
    assert np.all(reconstruction.ssim(x, little) > reconstruction.ssim(x, much))


def test_ssim_of_flat_images_is_the_luminance_term():
    a, b = (np.full((1, 28, 28, 1), v) for v in (0.2, 0.6))
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert reconstruction.ssim(a, b) == pytest.approx([expected], rel=1e-9)


def test_ssim_agrees_with_the_definition_by_image_filters():
    x, y = _images(2)[..., 0].astype(float), _images(2, seed=1)[..., 0].astype(float)
    expected = []
    for a, b in zip(x, y, strict=True):

        def blur(z):
            return gaussian_filter(z, 1.5, mode="reflect", truncate=3.5)

        ma, mb = blur(a), blur(b)
        va, vb, c = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
        top = (2 * ma * mb + 1e-4) * (2 * c + 9e-4)
        expected.append(np.mean(top / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))))
    assert reconstruction.ssim(x[..., None], y[..., None]) == pytest.approx(expected, rel=1e-10)


def test_pca_error_is_the_sum_of_the_components_left_out():
    rng = np.random.default_rng(0)
    x = 0.5 + 0.02 * rng.standard_normal(
        (400, SIDE, SIDE, 1)
    )  # far from 0 and 1: nothing is clipped
    found = reconstruction.pixel_statistics(x)
    error = reconstruction.squared_error(x, reconstruction.pca_reconstruction(x, found, 40)).mean()
    expected = found.values[40:].sum() / SIDE**2 * (399 / 400)
    assert error == pytest.approx(expected, rel=1e-6)
    assert np.all(np.diff(found.values) <= 0)


def test_pca_with_all_components_gives_the_image_back():
    x = _images(50, side=SIDE)
    found = reconstruction.pixel_statistics(x)
    assert reconstruction.pca_reconstruction(x, found, SIDE**2) == pytest.approx(x, abs=1e-5)


def test_compression_counts_a_byte_per_pixel_and_four_per_number_of_the_code():
    assert reconstruction.compression_ratio(784, 32) == pytest.approx(784 / 128)
    assert reconstruction.compression_ratio(784, 196) == 1.0


def test_lossless_compression_is_large_for_blank_images_and_none_for_noise():
    assert reconstruction.lossless_ratio(np.zeros((4, 28, 28, 1), np.float32)) > 40
    assert reconstruction.lossless_ratio(_images(4)) < 1.0  # zlib adds a few bytes


def test_noise_has_its_deviation_is_clipped_and_repeats():
    x = np.full((200, 28, 28, 1), 0.5, np.float32)
    noisy = denoising.add_noise(x, 0.4, seed=7)
    assert noisy.min() == 0.0 and noisy.max() == 1.0
    assert np.std(noisy - x) == pytest.approx(denoising.clipped_moments(0.5, 0.4)[1] ** 0.5, 0.01)
    assert np.std(denoising.add_noise(x, 0.05, seed=7) - x) == pytest.approx(0.05, rel=0.01)
    assert np.array_equal(noisy, denoising.add_noise(x, 0.4, seed=7))
    assert not np.array_equal(noisy, denoising.add_noise(x, 0.4, seed=8))


def test_moments_of_a_clipped_normal_variable_are_those_of_its_integral():
    x, sigma = np.array([0.0, 0.2, 0.5, 0.9, 1.0]), 0.4
    n = np.linspace(-9, 9, 200_001)
    y = np.clip(x[:, None] + sigma * n, 0, 1)
    density = np.exp(-(n**2) / 2) / math.sqrt(2 * math.pi)
    mean, square = (np.trapezoid(z * density, n, axis=1) for z in (y, y * y))
    found = denoising.clipped_moments(x, sigma)
    assert found[0] == pytest.approx(mean, abs=1e-9)
    assert found[1] == pytest.approx(square - mean**2, abs=1e-9)


def _grey_images(count, seed=0):
    """Images of 256 grey levels."""
    return (np.rint(255 * _images(count, seed, side=SIDE)) / 255).astype(np.float32)


def test_linear_optimum_with_little_noise_is_the_image_and_with_much_noise_the_mean():
    x = _grey_images(400)
    near = denoising.linear_optimum(x, x, 1e-4)
    assert near == pytest.approx(x, abs=1e-3)
    far = denoising.linear_optimum(denoising.add_noise(x, 1e4, seed=1), x, 1e4)
    assert far == pytest.approx(np.broadcast_to(x.mean(axis=0), x.shape), abs=1e-3)


def test_linear_optimum_is_better_on_clipped_noise_than_one_derived_for_unclipped_noise():
    """On strokes on black, where clipping takes half of the noise away."""
    rng = np.random.default_rng(0)
    blurred = gaussian_filter(rng.standard_normal((3000, SIDE, SIDE)), (0, 2, 2))
    x = (np.rint(255 * np.clip(4 * blurred, 0, 1)) / 255).astype(np.float32)[..., None]
    train, clean, sigma = x[:2500], x[2500:], 0.4
    noisy = denoising.add_noise(clean, sigma, seed=1)
    found = denoising.linear_optimum(noisy, train, sigma)
    pixels = reconstruction.pixel_statistics(train)
    gain = pixels.values / (pixels.values + sigma**2)
    centred = noisy.reshape(len(noisy), -1) - pixels.mean
    wiener = np.clip(centred @ (pixels.vectors * gain) @ pixels.vectors.T + pixels.mean, 0, 1)
    error, other = (
        reconstruction.psnr(clean, images.reshape(clean.shape)).mean() for images in (found, wiener)
    )
    assert error > other + 0.5
