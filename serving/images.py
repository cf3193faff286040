"""Converts digits between files, PIL and arrays.

Contract: an array of images is float32 [B, 28, 28, 1] in [0, 1], white ink on black, as in MNIST.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from core.images import HEIGHT, IMAGE_SHAPE, WIDTH
from serving.errors import ServingError

_BOX = 20  # MNIST's digits fill a box of 20 x 20, centred by mass
_INK = 0.2  # above it a pixel counts as ink


def as_images(given) -> np.ndarray:
    """Any common form of images as an array [B, 28, 28, 1].

    Args:
        given: A PIL image or several, uint8 in 0..255, or floats in [0, 1]; arrays [28, 28],
            [B, 28, 28] or [B, 28, 28, 1].

    Raises:
        ServingError: Another shape or range.
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
        given = np.stack([np.asarray(image.convert("L")) for image in given])
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


def to_pil(images: np.ndarray) -> list[Image.Image]:
    """Grey 8-bit images of an array [B, 28, 28, 1] in [0, 1]."""
    grey = np.rint(np.clip(images, 0, 1) * 255).astype("uint8")
    return [Image.fromarray(image) for image in grey[..., 0]]


def read_image(path: str | Path, fit: bool = False) -> Image.Image:
    """Reads an image file.

    Raises:
        ServingError: There is no such file, or it is not an image.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise ServingError(f"There is no file {path}.") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise ServingError(f"{path} is not a readable image: {reason}") from None
    return fit_digit(image) if fit else image


def fit_digit(image: Image.Image) -> Image.Image:
    """Converts a drawn or photographed digit to MNIST's form: white on black, scaled and centred.

    The ink is cut out, scaled to a box of 20 x 20 and placed on 28 x 28 with its centre of mass in
    the middle. A mostly light image is treated as dark ink on paper.

    Raises:
        ServingError: There is no ink.
    """
    if image.mode in ("RGBA", "LA", "PA"):
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    grey = np.asarray(image.convert("L"), "float32") / 255
    if np.median(grey) > 0.5:
        grey = 1 - grey
    grey = np.clip((grey - np.median(grey)) / max(1e-3, 1 - np.median(grey)), 0, 1)
    rows, columns = np.flatnonzero((grey > _INK).any(1)), np.flatnonzero((grey > _INK).any(0))
    if not len(rows):
        raise ServingError("The image holds no ink: nothing in it stands out from the background.")
    cut = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _BOX / max(cut.shape)
    size = [max(1, round(side * scale)) for side in cut.shape]
    small = Image.fromarray(np.rint(cut * 255).astype("uint8")).resize(
        (size[1], size[0]), Image.Resampling.LANCZOS
    )
    ink = np.asarray(small, "float32")
    mass = max(ink.sum(), 1e-6)
    centre_y = (ink.sum(1) * np.arange(size[0])).sum() / mass
    centre_x = (ink.sum(0) * np.arange(size[1])).sum() / mass
    top = int(np.clip(round((HEIGHT - 1) / 2 - centre_y), 0, HEIGHT - size[0]))
    left = int(np.clip(round((WIDTH - 1) / 2 - centre_x), 0, WIDTH - size[1]))
    canvas = Image.new("L", (WIDTH, HEIGHT))
    canvas.paste(small, (left, top))
    return canvas


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
