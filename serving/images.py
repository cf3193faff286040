"""Converts digits between files, PIL and arrays.

Contract: an array of images is float32 [B, 28, 28, 1] in [0, 1], white ink on black, as in MNIST.
"""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from core.images import HEIGHT, IMAGE_SHAPE, WIDTH
from serving.errors import ImageWarning, ServingError
from serving.fitting import fit_digit
from serving.pictures import grey, open_picture

_LIGHT = 0.5  # a mean above it: MNIST's lightest digit has 0.40
_BLACK = 0.2  # a maximum below it: every digit of MNIST has a pixel above 0.99


def as_images(given) -> np.ndarray:
    """Any common form of images as an array [B, 28, 28, 1].

    Args:
        given: A PIL image or several, uint8 in 0..255, or floats in [0, 1]; arrays [28, 28],
            [B, 28, 28] or [B, 28, 28, 1].

    Warns:
        ImageWarning: A PIL image is mostly light, or nearly black, as no digit of MNIST is.

    Raises:
        ServingError: Another shape or range, or transparency.
    """
    if isinstance(given, Image.Image):
        given = [given]
    if isinstance(given, Sequence) and given and isinstance(given[0], Image.Image):
        for image in given:
            if image.size != (WIDTH, HEIGHT):
                raise ServingError(
                    f"An image is {image.width} x {image.height} pixels; make it 28 x 28, or let "
                    "fit_digit (--fit) do so."
                )
        given = np.stack([grey(image) for image in given])
        _warn_of_odd(given)
    array = np.asarray(given)
    if array.dtype == np.uint8:
        array = array / np.float32(255)
    if array.ndim == 2:
        array = array[None]
    if array.ndim == 3:
        array = array[..., None]
    if array.shape[1:] != IMAGE_SHAPE:
        raise ServingError(f"Images have the shape {list(np.shape(given))}; make it [B, 28, 28].")
    array = array.astype("float32")
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ServingError("Images have values outside [0, 1]; scale them, or give uint8.")
    return array


def _warn_of_odd(images: np.ndarray) -> None:
    for image in images:
        if image.mean() > _LIGHT:
            warnings.warn(
                "An image is mostly light, but MNIST's digits are light ink on black; invert it, "
                "or let fit_digit (--fit) do so.",
                ImageWarning,
                stacklevel=3,
            )
        elif image.max() < _BLACK:
            warnings.warn(
                f"An image is nearly black: its lightest pixel has {image.max():.2g} of white.",
                ImageWarning,
                stacklevel=3,
            )


def to_pil(images: np.ndarray) -> list[Image.Image]:
    """Grey 8-bit images of an array [B, 28, 28, 1] in [0, 1]."""
    grey = np.rint(np.clip(images, 0, 1) * 255).astype("uint8")
    return [Image.fromarray(image) for image in grey[..., 0]]


def read_image(path: str | Path, fit: bool = False) -> Image.Image:
    """Reads an image file, and turns it into MNIST's form if ``fit``.

    Warns:
        ImageWarning: It may not be what is meant.

    Raises:
        ServingError: There is no such file, it is not an image, or shows no single digit.
    """
    image = open_picture(path)
    return fit_digit(image) if fit else image


def grid(images: np.ndarray, columns: int | None = None, margin: int = 2) -> Image.Image:
    """All images in rows, on grey, ``margin`` pixels apart."""
    count = len(images)
    columns = columns or max(1, math.ceil(math.sqrt(count)))
    rows = max(1, math.ceil(count / columns))
    step = WIDTH + margin
    canvas = Image.new("L", (columns * step + margin, rows * step + margin), 96)
    for i, image in enumerate(to_pil(images)):
        canvas.paste(image, (margin + i % columns * step, margin + i // columns * step))
    return canvas


def encode_png(images: np.ndarray) -> list[bytes]:
    """PNG files of an array [B, 28, 28, 1] in [0, 1]."""
    files = []
    for image in to_pil(images):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files
