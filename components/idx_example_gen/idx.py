"""Reads and writes IDX files, the format of MNIST: gzip or plain, detected by their content.

Contract: any fault of a file is an ``InputError`` of one sentence that names the file and the fix.
No more memory is taken than the file itself bears out, whatever its header announces, and no more
than a block of a large file.
Format: http://yann.lecun.com/exdb/mnist (two zero bytes, element type, number of dimensions, the
dimensions as big-endian int32, the elements, big-endian too).
"""

import dataclasses
import gzip
import io
import math
import posixpath
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np

from components.idx_example_gen import names, spool, storage
from components.idx_example_gen.arrays import (
    Raw,
    Say,
    check_image_shape,
    to_images,
    to_labels,
)
from core.config import InputError
from core.images import HEIGHT, WIDTH

ROLES = ("images", "labels")
FILE_PREFIX = {"train": "train", "test": "t10k"}  # MNIST's own names
_STEM = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}
# By code: the type of the elements.
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_UNSIGNED_BYTE = 0x08
_MOST_DIMENSIONS = 4
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_UNPACKED = 1032  # bytes that one byte of a deflate stream can become
_ENDING = re.compile(r"(\.(idx\d?([-_]?(ubyte|int))?|ubyte|bin|dat|raw))?")
_MARK = re.compile(r"idx\d?|ubyte|int")


@dataclasses.dataclass(frozen=True)
class _Set:
    """The files of one data set, by split and role; more than one where a copy lies there too."""

    folder: str
    name: str
    files: dict[tuple[str, str], list[str]]

    def missing(self, splits: Iterable[str]) -> list[tuple[str, str]]:
        return [(s, role) for s in splits for role in ROLES if not self.files.get((s, role))]


def find(paths: Sequence[str], splits: Sequence[str], data_dir: str) -> list[str] | None:
    """The IDX files among ``paths`` that hold ``splits``; None if there is no IDX file.

    They are named as MNIST's, EMNIST's or QMNIST's are, as 7-Zip or a browser names them, or lie in
    folders as Kaggle's or torchvision's do, in any letter case.

    Raises:
        InputError: A file is missing, or there are several data sets.
    """
    found = _sets(paths)
    if not found:
        return None
    whole = [one for one in found if not one.missing(splits)]
    top = [one for one in whole if not one.folder and not one.name]
    if len(whole) > 1 and not top:
        titles = [
            "/".join(filter(None, (one.folder, one.name))) or "MNIST's names" for one in whole
        ]
        raise InputError(
            f"{data_dir} holds {len(whole)} data sets ({', '.join(titles)}); put the four files of "
            "one into a directory of their own, or name its folder with --data."
        )
    if not whole:
        best = min(found, key=lambda one: len(one.missing(splits)))
        split, role = best.missing(splits)[0]
        name = f"{FILE_PREFIX[split]}-{_STEM[role]}"
        there = ", ".join(path for group in best.files.values() for path in group)
        raise InputError(
            f"{data_dir} holds neither {name} nor {name}.gz, only {there}; put the file there or "
            "name another directory with --data."
        )
    files = (top or whole)[0].files
    return [path for s in splits for role in ROLES for path in sorted(files[s, role])]


def read(files: storage.Files, say: Say) -> dict[str, Raw]:
    """Images and labels by split, of the files that ``find`` chose."""
    splits: dict[str, dict[str, list[str]]] = {}
    for path in files.paths:
        split, role = _part(path) or ("", "")
        splits.setdefault(split, {}).setdefault(role, []).append(path)
    result = {}
    for split, roles in splits.items():
        images, where = _read_one(files, roles["images"], "images")
        labels, labels_where = _read_one(files, roles["labels"], "labels")
        result[split] = Raw(
            to_images(images, where, say), to_labels(labels, labels_where, say), where, labels_where
        )
    return result


def parse(content: BinaryIO, where: str, kind: str) -> np.ndarray:
    """The array in an IDX file, as it lies there; a map of a file where it is large.

    Args:
        content: The file, plain or gzip.
        where: Its path, for sentences.
        kind: "images" or "labels": what it must hold.

    Raises:
        InputError: The file is empty, damaged, cut short, too long, or not such an array.
    """
    size = content.seek(0, io.SEEK_END)
    content.seek(0)
    is_packed = content.read(2) == _GZIP_MAGIC
    content.seek(0)
    file = gzip.GzipFile(fileobj=content, mode="rb") if is_packed else content
    try:
        element, shape = _read_header(file, where, kind)
        expected = math.prod(shape) * element.itemsize
        limit = size * (_MOST_UNPACKED if is_packed else 1)
        # A header alone must not take memory.
        if expected > limit:
            raise _cut_short(where, shape[0], kind, expected, f"at most {limit}")
        spool.check_room(expected, where)
        payload = spool.Spool(where).add_all(spool.pieces(file, expected)).array()
        # One byte more than announced detects a file that is too long; reading a gzip stream to
        # its end checks its CRC.
        is_longer = bool(file.read(1))
    except EOFError:
        raise InputError(
            f"{where} is cut short: its gzip stream has no end; copy or download it again."
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{where} is a damaged gzip file ({error}); copy or download it again."
        ) from None
    if len(payload) < expected:
        raise _cut_short(where, shape[0], kind, expected, f"only {len(payload)}")
    if is_longer:
        raise InputError(
            f"{where} holds more than the {shape[0]} {kind} ({expected} bytes) that its header "
            "announces; correct the header or copy the file again."
        )
    return payload.view(element).reshape(shape)


def write_idx(path: str, array: np.ndarray) -> None:
    """Writes a uint8 ``array`` as IDX; gzip (without a time stamp) where ``path`` ends in .gz."""
    if array.dtype != np.uint8:
        raise InputError(f"Only uint8 arrays are written to {path}, not {array.dtype}.")
    header = struct.pack(
        f">BBBB{array.ndim}I", 0, 0, _UNSIGNED_BYTE, array.ndim, *(int(n) for n in array.shape)
    )
    payload = header + np.ascontiguousarray(array).tobytes()
    with open(path, "wb") as file:
        file.write(gzip.compress(payload, 6, mtime=0) if path.endswith(".gz") else payload)


def _sets(paths: Sequence[str]) -> list[_Set]:
    """The IDX files among ``paths``, grouped by folder and by what else their names say."""
    found: dict[tuple[str, str], _Set] = {}
    for path in paths:
        part = _part(path)
        if part is None:
            continue
        folder, base = posixpath.split(path)
        above, own = posixpath.split(folder)
        if _part(own) == part:  # a folder around each file, named as the file
            folder = above
        rest = [word for word in names.other_words(base).split() if not _MARK.fullmatch(word)]
        name = " ".join(w for w in rest if w not in ("gz", "bin", "dat", "raw"))
        one = found.setdefault((folder, name), _Set(folder, name, {}))
        one.files.setdefault(part, []).append(path)
    return list(found.values())


def _part(path: str) -> tuple[str, str] | None:
    """Split and role of an IDX file by its name; None if it is not named as one."""
    base = posixpath.basename(path)
    if not _ENDING.fullmatch(names.ending(base)):
        return None
    split, role = names.split_of(base), names.kind_of(base)
    return (split, role) if split in names.SPLITS and role else None


def _read_one(files: storage.Files, copies: Sequence[str], kind: str) -> tuple[np.ndarray, str]:
    """The array of a file, and its path.

    Raises:
        InputError: Besides what ``parse`` raises: a copy of the file, such as its plain form next
            to its gzip one, holds something else.
    """
    wheres = [files.where(path) for path in copies]
    first, *others = (parse(files.open(p), w, kind) for p, w in zip(copies, wheres, strict=True))
    for other, where in zip(others, wheres[1:], strict=True):
        pairs = zip(spool.blocks(first), spool.blocks(other), strict=False)
        if first.shape != other.shape or not all(np.array_equal(a, b) for a, b in pairs):
            raise InputError(
                f"{wheres[0]} and {where} hold different {kind}; remove the one that is wrong."
            )
    return first, wheres[0]


def _read_header(
    file: BinaryIO | gzip.GzipFile, where: str, kind: str
) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape that the header announces, after checking that they suit ``kind``."""
    magic = file.read(4)
    if not magic:
        raise InputError(f"{where} is empty; copy or download it again.")
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise InputError(
            f"{where} is not an IDX file: it starts with the bytes {magic.hex(' ')}; "
            f"{kind} start with 00 00 08 {3 if kind == 'images' else 1:02d}."
        )
    count = magic[3]
    if not 1 <= count <= _MOST_DIMENSIONS:
        raise InputError(f"{where} holds an array of {count} dimensions, not {kind}.")
    sizes = file.read(4 * count)
    if len(sizes) < 4 * count:
        raise InputError(f"{where} is cut short within its header; copy or download it again.")
    shape = struct.unpack(f">{count}I", sizes)
    swapped = struct.unpack(f"<{count}I", sizes)
    if kind == "images" and swapped[1:3] == (HEIGHT, WIDTH) != shape[1:3]:
        raise InputError(
            f"The header of {where} holds its sizes little-endian; write them big-endian, as "
            "struct.pack('>4I', 2051, n, 28, 28) does."
        )
    if kind == "images":
        check_image_shape(shape, where)
    return np.dtype(_TYPES[magic[2]]), shape


def _cut_short(where: str, count: int, kind: str, expected: int, follow: str) -> InputError:
    return InputError(
        f"{where} is cut short: its header announces {count} {kind} ({expected} bytes) but "
        f"{follow} bytes follow; copy or download it again."
    )
