"""NumPy's files: .npz as Keras and MedMNIST ship it, .npz or .npy for each array as KMNIST does.

Contract: arrays go by the words of their names, or by those of the file where an array has none
(``arr_0``). Pickled objects are never loaded, and the size in an array's header is compared with
the file before memory is taken.
"""

import functools
import io
import lzma
import math
import posixpath
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import IO, BinaryIO

import numpy as np

from components.idx_example_gen import names, spool, storage
from components.idx_example_gen.arrays import Raw, Say, check_image_shape, to_images, to_labels
from core.config import InputError

_ENDINGS = (".npz", ".npy")
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_NAMES_SHOWN = 10
# What NumPy and zipfile raise for a file that is damaged or made to harm: RuntimeError for one with
# a password or of an unknown method, and like MemoryError for a header that is nested too deep.
_DAMAGED = (
    *(ValueError, TypeError, RuntimeError, MemoryError, OSError, EOFError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_LAST_CODE_POINT = 0x10FFFF
_WHY_SHOWN = 120  # characters
_Array = tuple[str, Callable[[], np.ndarray]]


def find(paths: Sequence[str], splits: Sequence[str], data_dir: str) -> list[str] | None:
    """The NumPy files among ``paths``; None if there is none."""
    del splits, data_dir  # what they hold is known when they are read
    return [path for path in paths if names.ending(path) in _ENDINGS] or None


def read(files: storage.Files, say: Say) -> dict[str, Raw]:
    """Images and labels by split; train where no name tells a split.

    Raises:
        InputError: A file is damaged, or two arrays could be the same thing.
    """
    found: dict[tuple[str, str], _Array] = {}
    seen = []
    for path in files.paths:
        content, where = files.open(path), files.where(path)
        for name, load in _arrays(content, where):
            kind = names.kind_of(name) or names.kind_of(posixpath.basename(path))
            split = names.split_of(name) or names.split_of(path) or "train"
            place = f"{name} in {where}" if name else where
            seen.append(name or path)
            if not kind:
                continue
            if (split, kind) in found:
                raise InputError(
                    f"{found[split, kind][0]} and {place} could both be the {split} {kind}; put "
                    "the files of one data set into a directory of their own."
                )
            found[split, kind] = (place, load)
    result = {}
    for split in ("train", "test"):
        if (split, "images") not in found:
            continue
        place, load = found[split, "images"]
        images = to_images(load(), place, say)
        if (split, "labels") not in found:
            result[split] = Raw(images, None, place)
            continue
        labels_place, load_labels = found[split, "labels"]
        labels = to_labels(load_labels(), labels_place, say)
        result[split] = Raw(images, labels, place, labels_place)
    if "train" not in result:
        raise InputError(
            f"The NumPy files in {files.data_dir} hold {', '.join(seen[:_NAMES_SHOWN])}; name the "
            "arrays x_train, y_train, x_test and y_test, as numpy.savez_compressed(path, "
            "x_train=...) does."
        )
    if any(split == "validation" for split, _ in found):
        say("The validation arrays are left out; a part of the train images is held out instead.")
    return result


def _arrays(content: BinaryIO, where: str) -> list[_Array]:
    """Name of each array in a file, and a function that loads it."""
    size = content.seek(0, io.SEEK_END)
    content.seek(0)
    is_bare = content.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
    content.seek(0)
    if is_bare:
        return [("", functools.partial(_load, content, size, where))]
    try:
        archive = zipfile.ZipFile(content)
    except (zipfile.BadZipFile, NotImplementedError):  # of a version that is unknown
        raise InputError(
            f"{where} is not a file of numpy.savez, or cut short; copy or download it again."
        ) from None
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    return [
        (name, functools.partial(_unpack, archive, member, f"{name} in {where}"))
        for name, member in members.items()
    ]


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> np.ndarray:
    try:
        with archive.open(member) as file:
            return _load(file, member.file_size, where)
    except _DAMAGED as error:
        raise _damaged(error, where) from None


def _load(file: IO[bytes], size: int, where: str) -> np.ndarray:
    try:
        version = np.lib.format.read_magic(file)
        read_header = _HEADERS.get(version)
        if read_header is None:
            raise ValueError(f"its version is {version}")
        shape, is_fortran, element = read_header(file)
        if element.hasobject:
            raise InputError(
                f"{where} holds Python objects, which are not loaded; save it as plain numbers."
            )
        expected = math.prod(shape) * element.itemsize
        if min(shape, default=0) < 0 or expected > size:
            raise ValueError(f"its header announces {expected} bytes, the file has {size}")
        if len(shape) > 2:
            check_image_shape(shape, where)
        spool.check_room(expected, where)
        payload = spool.Spool(where).add_all(spool.pieces(file, expected)).array()
        follow = len(payload) + len(file.read(1))  # to its end, which checks the CRC
        if follow != expected:
            raise ValueError(f"its header announces {expected} bytes but {follow} follow")
        if element.kind == "U" and _last_code_point(payload, element) > _LAST_CODE_POINT:
            raise ValueError("its texts are not Unicode")
        return payload.view(element).reshape(shape, order="F" if is_fortran else "C")
    except _DAMAGED as error:
        raise _damaged(error, where) from None


def _damaged(error: Exception, where: str) -> InputError:
    if isinstance(error, InputError):
        return error
    why = str(error)[:_WHY_SHOWN] or type(error).__name__
    return InputError(f"{where} is damaged ({why}); copy or download it again.")


def _last_code_point(payload: np.ndarray, element: np.dtype) -> int:
    codes = payload.view(f"{element.byteorder}u4".replace("|", ""))
    return int(codes.max(initial=0))
