"""Pictures: valid PNG files of a bounded size, the same bytes for the same input."""

import io

import numpy as np
import pytest
from PIL import Image

from components.evaluator.parts import plots

RNG = np.random.default_rng(0)
HISTOGRAM = np.full(10, 0.1)


def _digits(data, count):
    return data.test_images[:count]


PICTURES = {
    "grid": lambda d: plots.sample_grid(d[:64]),
    "grid of few": lambda d: plots.sample_grid(d[:3]),
    "rows": lambda d: plots.image_rows([d[:10]] * 9, ["original"] + ["noise 0.2", "denoised"] * 4),
    "rows of unequal length": lambda d: plots.image_rows([d[:10], d[:2], d[:0]], ["a", "b", "c"]),
    "map": lambda d: plots.scatter_map(RNG.normal(size=(5000, 2)), np.arange(5000) % 10, 10),
    "map of 26 classes": lambda d: plots.scatter_map(
        RNG.normal(size=(5000, 2)), np.arange(5000) % 26, 26
    ),
    "curve over the code": lambda d: plots.size_curve(
        [8, 16, 32, 64], [0.036, 0.025, 0.015, 0.008], (32, 0.006)
    ),
    "classes": lambda d: plots.class_histogram(HISTOGRAM, HISTOGRAM[::-1], "generated"),
    "scores": lambda d: plots.score_histogram(RNG.random(1000), RNG.random(500)),
    "scores of a dead discriminator": lambda d: plots.score_histogram(
        np.full(100, 0.5), np.full(100, 0.5)
    ),
    "lines": lambda d: plots.lines(
        [0.2, 0.4],
        {
            y: {"model": [20, 18], "linear": [19, 17], "noisy": [16, 11]}
            for y in ("PSNR (dB)", "SSIM")
        },
        "noise",
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_png_files_below_250_kb(name, data):
    png = PICTURES[name](_digits(data, 64))
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    assert len(png) < 250_000
    assert image.width >= 150
    assert len(np.unique(np.asarray(image.convert("L")))) > 2  # something was drawn


def test_same_input_gives_the_same_bytes(data):
    assert plots.sample_grid(_digits(data, 64)) == plots.sample_grid(_digits(data, 64))


def test_grid_shows_the_images_in_order():
    images = np.zeros((4, 28, 28, 1))
    images[1] = 1.0  # second of the first row
    pixels = np.asarray(Image.open(io.BytesIO(plots.sample_grid(images, 2))).convert("L"))
    half = np.array(pixels.shape) // 2
    assert pixels[half[0] // 2, half[1] // 2] < 10
    assert pixels[half[0] // 2, half[1] + half[1] // 2] > 245
    assert pixels[half[0] + half[0] // 2, half[1] // 2] < 10


def test_colours_of_classes_are_all_different():
    for count in (2, 10, 26):
        assert len(set(plots.class_colours(count))) == count
