"""Arrays as they lie in files, turned into uint8 images [N, 28, 28] and labels [N].

Contract: what is clear is converted, and a line says so; anything else is an ``InputError`` of one
sentence. Shapes are checked by themselves first, so that a reader need not take memory for an array
that is refused.
"""

import dataclasses
import numbers
from collections.abc import Callable, Sequence

import numpy as np

from components.idx_example_gen import spool
from core.config import InputError
from core.images import HEIGHT, PIXELS, WIDTH

Say = Callable[[str], None]
Convert = Callable[[np.ndarray], np.ndarray]

_BRIGHTEST = 255
LONGEST_NAME = 100  # characters of a class's name
_QMNIST_COLUMNS = 8  # of its label files: the class, and seven that say who wrote the digit


@dataclasses.dataclass(frozen=True)
class Raw:
    """One split as a reader finds it; ``labels`` is None where the files hold none."""

    images: np.ndarray  # uint8 [N, 28, 28]
    labels: np.ndarray | None  # [N]: integers, or texts that name the class
    where: str  # where the images are from, for sentences
    labels_where: str = ""


def check_image_shape(shape: Sequence[int], where: str) -> None:
    """Raises ``InputError`` unless an array of this shape can be images of 28x28 pixels."""
    words = "x".join(map(str, shape))
    if len(shape) == 1:
        raise InputError(
            f"{where} holds an array of 1 dimensions, not images; are the images and the labels "
            "file swapped?"
        )
    if shape[0] == 0:
        raise InputError(f"{where} holds no images: its header announces 0; write some to it.")
    if tuple(shape[1:]) in _SHAPES:
        return
    if len(shape) == 4 and shape[-1] in (3, 4) and tuple(shape[1:3]) == (HEIGHT, WIDTH):
        return  # grey in three channels, perhaps
    if len(shape) == 3 and tuple(shape[:2]) == (HEIGHT, WIDTH):
        raise InputError(
            f"{where} holds an array of {words}, its images last; save "
            "numpy.moveaxis(array, -1, 0)."
        )
    if len(shape) == 3 or (len(shape) == 4 and shape[-1] in (1, 3, 4)):
        raise InputError(
            f"{where} holds images of {shape[1]}x{shape[2]} pixels; resize them to "
            f"{HEIGHT}x{WIDTH}."
        )
    raise InputError(
        f"{where} holds an array of {len(shape)} dimensions ({words}), not images; images have 3, "
        f"Nx{HEIGHT}x{WIDTH}: reshape it."
    )


_SHAPES = {
    (HEIGHT, WIDTH): "",
    (HEIGHT, WIDTH, 1): "one channel",
    (1, HEIGHT, WIDTH): "one channel",
    (PIXELS,): f"rows of {PIXELS} pixels",
}


def to_images(array: np.ndarray, where: str, say: Say) -> np.ndarray:
    """Images uint8 [N, 28, 28] of ``array``.

    Args:
        array: Integers, truth values or floats, in one of the shapes of images.
        where: Names the array in sentences.
        say: Takes a line per conversion.

    Raises:
        InputError: The shape, the type or the range is not that of grey images.
    """
    check_image_shape(array.shape, where)
    if array.ndim == 4 and array.shape[-1] in (3, 4):
        array = _one_channel(array, where, say)
    elif words := _SHAPES[tuple(array.shape[1:])]:
        say(f"{where}: {words} read as {HEIGHT}x{WIDTH} images.")
    convert = _to_bytes(array, where, say)
    if convert is None and array.flags.c_contiguous:
        return array.reshape(-1, HEIGHT, WIDTH)
    changed = spool.converted(array, where, convert or np.asarray)
    return changed.reshape(-1, HEIGHT, WIDTH)


def to_labels(array: np.ndarray, where: str, say: Say) -> np.ndarray:
    """Labels [N] of ``array``: integers, or texts where the classes go by names.

    Raises:
        InputError: The array is not one label per image, or a label is no whole number.
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.size == 0:
        raise InputError(f"{where} holds no labels: its header announces 0; write some to it.")
    if array.ndim == 3:
        raise InputError(
            f"{where} holds an array of 3 dimensions, not labels; are the images and the labels "
            "file swapped?"
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and _is_one_hot(array):
        say(f"{where}: one-hot labels of {array.shape[1]} classes read as numbers.")
        array = array.argmax(axis=1)
    elif array.ndim == 2 and array.shape[1] == _QMNIST_COLUMNS and array.dtype.kind in "iu":
        say(f"{where}: of QMNIST's {_QMNIST_COLUMNS} columns, the first is read as the label.")
        array = array[:, 0]
    if array.ndim != 1:
        words = "x".join(map(str, array.shape))
        raise InputError(
            f"{where} holds an array of {array.ndim} dimensions ({words}), not labels; labels "
            "have 1: save the column of the class alone."
        )
    if array.dtype.kind in "OSU":
        return _texts(array, where)
    if array.dtype.kind not in "iufb":
        raise InputError(f"{where} holds labels of type {array.dtype}; save numbers or texts.")
    if array.dtype.kind == "f":
        if not np.array_equal(array, np.rint(array)):
            raise InputError(f"{where} holds labels that are not whole numbers; save the classes.")
        say(f"{where}: labels of type {array.dtype} read as whole numbers.")
    return array.astype(np.int64)


def _texts(array: np.ndarray, where: str) -> np.ndarray:
    """Labels that are texts; as numbers where every one is a number."""
    if not all(isinstance(v, (str, bytes, numbers.Number)) for v in array):
        raise InputError(f"{where} holds labels that are no single numbers or texts; save those.")
    texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in array]
    if all(text.strip().isascii() and text.strip().isdecimal() for text in texts):
        return np.array([min(int(text), 2**31) for text in texts], np.int64)
    longest = max(map(len, texts))
    if longest > LONGEST_NAME:  # an array of texts takes as much memory for each as for the longest
        raise InputError(
            f"{where} holds a label of {longest} characters; the name of a class may have "
            f"{LONGEST_NAME}."
        )
    return np.array(texts, np.str_)


def _is_one_hot(array: np.ndarray) -> bool:
    if array.shape[1] < 2 or array.dtype.kind not in "iufb":
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _one_channel(array: np.ndarray, where: str, say: Say) -> np.ndarray:
    """The channel of images [N, H, W, 3 or 4] whose colours are all grey and opaque."""
    opaque = array[:1, :1, :1, 3:]
    for block in spool.blocks(array):
        if not (block[..., :3] == block[..., :1]).all():
            raise InputError(f"{where} holds images in colour; make them grey.")
        if not (block[..., 3:] == opaque).all():
            raise InputError(
                f"{where} holds images that are partly transparent; draw them on black."
            )
    say(f"{where}: {array.shape[-1]} channels of grey read as one.")
    return array[..., 0]


def _to_bytes(array: np.ndarray, where: str, say: Say) -> Convert | None:
    """What makes pixels of the rows of ``array``, uint8 from 0 to 255; None if they are that."""
    if array.dtype == np.uint8:
        return None
    kind = str(array.dtype.newbyteorder("="))
    if array.dtype.kind == "b":
        say(f"{where}: truth values read as 0 and {_BRIGHTEST}.")
        return lambda block: block.astype(np.uint8) * np.uint8(_BRIGHTEST)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{where} holds elements of type {kind}; save the images as uint8.")
    found = [_Range.of(block) for block in spool.blocks(array)]
    low, high = min(one.low for one in found), max(one.high for one in found)
    if array.dtype.kind == "f":
        if not all(one.is_finite for one in found):
            raise InputError(f"{where} holds pixels that are no numbers (NaN or infinite).")
        if low >= 0 and high <= 1 and high > 0.5:
            say(f"{where}: pixels of type {kind} from 0 to 1 read as 0 to {_BRIGHTEST}.")
            return lambda block: np.rint(block * np.float32(_BRIGHTEST)).astype(np.uint8)
        if not all(one.is_whole for one in found):
            raise InputError(
                f"{where} holds pixels of type {kind} from {low:g} to {high:g}; scale them to 0 to "
                f"{_BRIGHTEST} and save them as uint8: "
                f"numpy.rint((x - {low:g}) / {high - low:g} * {_BRIGHTEST}).astype('uint8')."
            )
    if low < 0 or high > _BRIGHTEST:
        raise InputError(
            f"{where} holds pixels of type {kind} from {low:g} to {high:g}; scale them to 0 to "
            f"{_BRIGHTEST} and save them as uint8."
        )
    say(f"{where}: pixels of type {kind}, {low:g} to {high:g}, read as uint8.")
    return lambda block: block.astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class _Range:
    """What the numbers of a block are."""

    low: float
    high: float
    is_finite: bool
    is_whole: bool

    @classmethod
    def of(cls, block: np.ndarray) -> "_Range":
        is_float = block.dtype.kind == "f"
        is_finite = not is_float or bool(np.isfinite(block).all())
        is_whole = not is_float or np.array_equal(block, np.rint(block))
        return cls(float(block.min()), float(block.max()), is_finite, is_whole)
