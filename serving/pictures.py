"""Reads pictures of the common formats as arrays, nothing clipped and nothing dropped.

Contract: ``grey`` gives a picture as it is, or refuses it. ``colours`` gives what a person sees:
ink drawn on nothing gets paper of the opposite brightness, a transparent part of a picture gets the
picture's most frequent colour, and values of more than 8 bits are scaled by their own range.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from serving.errors import ImageWarning, ServingError

# Pillow would try 40 more, of which some start programs, as EPS does Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_16_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_DEEP = (*_16_BITS, "I", "F")  # grey, of which convert("L") clips most
_LARGE = 1280  # pixels: a longer side is halved, and halved again
_MOST_PIXELS = 200_000_000
_FLAT = 0.2  # the spread of the brightness of what has one colour
_MOSTLY = 0.6  # of the pixels: a picture with holes, not ink on nothing
_WEIGHTS = np.array([0.299, 0.587, 0.114], "float32")
# What Pillow's readers raise for files that are cut or spoiled.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError, NotImplementedError),
)


def open_picture(path: str | Path) -> Image.Image:
    """Reads an image file, upright as its EXIF orientation says.

    Warns:
        ImageWarning: The file holds several images; the first is taken.

    Raises:
        ServingError: There is no such file, or it is not an image of one of the ``FORMATS``, or it
            has too many pixels.
    """
    try:
        data = Path(path).read_bytes()
        with warnings.catch_warnings():
            # Larger pictures than Pillow's bound, whose memory fit_digit keeps small.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image)
                frames = getattr(image, "n_frames", 1)
                if image.format != "MPO" and frames > 1:  # MPO: a photo and its previews
                    warnings.warn(
                        f"{path} holds {frames} images; the first is taken.",
                        ImageWarning,
                        stacklevel=2,
                    )
                image.load()
        return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise ServingError(f"There is no file {path}.") from None
    except _UNREADABLE as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, UnidentifiedImageError):  # its words name an object in memory
            reason = f"it has none of the formats {', '.join(FORMATS)}."
        raise ServingError(f"{path} is not a readable image: {' '.join(reason.split())}") from None


def grey(image: Image.Image) -> np.ndarray:
    """float32 [H, W] in [0, 1].

    Raises:
        ServingError: It has transparent pixels, or values whose range is not known.
    """
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise ServingError(
            "An image has transparent pixels; put it on black, or let fit_digit (--fit) do so."
        )
    if image.mode in _16_BITS:
        return np.asarray(image).astype("float32") / np.float32(65535)
    if image.mode in _DEEP:
        values = np.asarray(image)
        if image.mode == "F" and values.min() >= 0 and values.max() <= 1:
            return values.astype("float32")
        raise ServingError(
            f"An image has {'float' if image.mode == 'F' else '32-bit'} values from "
            f"{values.min():g} to {values.max():g}; scale them to [0, 1], or save 8 bits."
        )
    return np.asarray(_converted(image, "L"), "float32") / np.float32(255)


def colours(image: Image.Image) -> np.ndarray:
    """float32 [H, W, C] in [0, 1], C = 1 for grey and 3 for colour; halved where it is large.

    Raises:
        ServingError: It has no pixels, too many, or values that are no numbers.
    """
    _check_size(image)
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        deep = Image.fromarray(np.asarray(image).astype("float32"))
        return _stretched(np.asarray(_reduced(deep)))[..., None]
    if image.has_transparency_data:
        rgba = _reduced(_converted(image, "RGBA"))
        return _on_paper(np.asarray(rgba, "float32") / 255)
    if image.mode in ("1", "L"):
        return np.asarray(_reduced(_converted(image, "L")), "float32")[..., None] / 255
    return np.asarray(_reduced(_converted(image, "RGB")), "float32") / 255


def _check_size(image: Image.Image) -> None:
    """Raises ``ServingError`` for too many pixels, which a small file may announce."""
    pixels = image.width * image.height
    if not 0 < pixels <= _MOST_PIXELS:
        raise ServingError(
            f"The picture has {pixels:,} pixels; make it smaller than {_MOST_PIXELS:,}."
        )


def brightness(values: np.ndarray) -> np.ndarray:
    """[..., C] to [...], weighted as the eye does."""
    return values[..., 0] if values.shape[-1] == 1 else values @ _WEIGHTS


def _converted(image: Image.Image, mode: str) -> Image.Image:
    try:
        return image.convert(mode)
    except ValueError:
        raise ServingError(
            f"The picture has colours of the kind {image.mode}; save it in RGB."
        ) from None


def _reduced(image: Image.Image) -> Image.Image:
    factor = max(image.size) // _LARGE
    return image.reduce(factor) if factor > 1 else image


def _stretched(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ServingError("The picture holds values that are no numbers.")
    low, high = np.percentile(values, (0.02, 99.98))  # a dead pixel is not the range
    if high == low:
        low, high = values.min(), values.max()
    return np.clip((values - low) / (high - low or 1), 0, 1).astype("float32")


def _on_paper(rgba: np.ndarray) -> np.ndarray:
    seen = rgba[..., 3] > 0.5
    if not seen.any():
        return np.ones((*seen.shape, 3), "float32")
    values = brightness(rgba[seen][:, :3])
    is_flat = np.ptp(np.percentile(values, (5, 95))) < _FLAT
    if is_flat or seen.mean() < _MOSTLY:  # ink on nothing
        paper = np.full(3, 1.0 if np.median(values) < 0.5 else 0.0, "float32")
    else:
        paper = np.median(rgba[seen][:, :3], axis=0)
    cover = rgba[..., 3:]
    return rgba[..., :3] * cover + paper * (1 - cover)
