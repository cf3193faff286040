"""Folders of PNG files by class: ``train/7/a.png``, or ``7/a.png`` where nothing is split.

Contract: the folder around an image is its class. An image's size is taken from its header before
it is decoded. 70,000 images take about 10 s.
"""

import io
import posixpath
from collections.abc import Sequence

import numpy as np

from components.idx_example_gen import names, spool, storage
from components.idx_example_gen.arrays import Raw, Say, to_labels
from core.config import InputError
from core.images import HEIGHT, WIDTH

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp")
_FORMATS = ("PNG", "JPEG", "BMP")  # of Pillow's others some are programs, such as EPS
_GREY = ("L", "1")


def find(paths: Sequence[str], splits: Sequence[str], data_dir: str) -> list[str] | None:
    """The images among ``paths`` that lie in folders; None if there is none."""
    del splits, data_dir
    return [path for path in paths if names.ending(path) in _ENDINGS and "/" in path] or None


def read(files: storage.Files, say: Say) -> dict[str, Raw]:
    """Images and labels by split; train where no folder names a split.

    Raises:
        InputError: An image is damaged, in colour, or not of 28x28 pixels.
    """
    parts: dict[str, list[str]] = {}
    for path in files.paths:
        split = names.split_of(posixpath.dirname(posixpath.dirname(path))) or "train"
        parts.setdefault(split, []).append(path)
    if parts.pop("validation", None):
        say("The validation images are left out; a part of the train images is held out instead.")
    result = {}
    converted: dict[str, int] = {}
    for split, paths in parts.items():
        where = files.where(f"{split}/" if split in paths[0] else "")
        found = (decode(files.read(p), files.where(p), converted).tobytes() for p in paths)
        images = spool.Spool(where).add_all(found).array().reshape(-1, HEIGHT, WIDTH)
        classes = np.array([posixpath.basename(posixpath.dirname(path)) for path in paths])
        result[split] = Raw(images, to_labels(classes, where, say), where, where)
    for mode, count in converted.items():
        say(f"{count:,} images of Pillow's mode {mode} read as grey.")
    return result


def decode(content: bytes, where: str, converted: dict[str, int]) -> np.ndarray:
    """One image as uint8 [28, 28]; counts those that are not plainly grey in ``converted``.

    Raises:
        InputError: As ``read``.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        if image.size != (WIDTH, HEIGHT):
            raise InputError(
                f"{where} is an image of {image.size[1]}x{image.size[0]} pixels; resize all to "
                f"{HEIGHT}x{WIDTH}, for instance with: mogrify -colorspace gray -resize "
                f"'{WIDTH}x{HEIGHT}!' FILES"
            )
        if image.mode in _GREY:
            return np.asarray(image.convert("L"))
        converted[image.mode] = converted.get(image.mode, 0) + 1
        if image.mode.startswith("I") or image.mode == "F":
            raise InputError(f"{where} has more than 8 bits a pixel; save it as 8-bit grey.")
        pixels = np.asarray(image.convert("RGBA"))
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,  # by its header
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where} is not an image that can be read, or cut short.") from None
    if not (pixels[..., :3] == pixels[..., :1]).all():
        raise InputError(
            f"{where} is in colour; make all grey, for instance with: mogrify -colorspace gray "
            "FILES"
        )
    if not (pixels[..., 3] == 255).all():
        raise InputError(
            f"{where} is partly transparent; draw all on black, for instance with: mogrify "
            "-background black -flatten FILES"
        )
    return pixels[..., 0]
