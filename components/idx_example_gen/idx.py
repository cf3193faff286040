"""Reads and writes IDX files, the format of MNIST: gzip or plain, detected by their content.

Contract: images are uint8 [N, 28, 28], labels uint8 [N]. Any fault of a file is an ``InputError``
of one sentence that names the file and the fix. All 70,000 images of MNIST take about 0.4 s, so
``count_images`` reads them whole for a check before a pipeline starts.
Format: http://yann.lecun.com/exdb/mnist (two zero bytes, element type, number of dimensions, the
dimensions as big-endian int32, the elements).
"""

import dataclasses
import gzip
import hashlib
import io
import math
import posixpath
import struct
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from components.idx_example_gen import storage
from core.config import InputError
from core.foreign import is_plain, shown
from core.images import HEIGHT, WIDTH

FILE_PREFIX = {"train": "train", "test": "t10k"}
LABEL_NAMES_FILE = "labels.txt"

_UNSIGNED_BYTE = 0x08
_ELEMENT_TYPES = {
    0x08: "uint8",
    0x09: "int8",
    0x0B: "int16",
    0x0C: "int32",
    0x0D: "float32",
    0x0E: "float64",
}
_GZIP_MAGIC = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True)
class IdxPair:
    """The content of a split's two files: images [N, 28, 28] uint8 and labels [N] uint8."""

    images: np.ndarray
    labels: np.ndarray
    # SHA-256 of the bytes that were read, by path.
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read_images(path: str) -> np.ndarray:
    """Reads an IDX file of 28x28 grey images into uint8 [N, 28, 28].

    Raises:
        InputError: The file is missing, empty, damaged, cut short, too long, or not such images.
    """
    return _read_array(path, "images")[0]


def read_labels(path: str) -> np.ndarray:
    """Reads an IDX file of labels into uint8 [N]; raises ``InputError`` as ``read_images``."""
    return _read_array(path, "labels")[0]


def read_idx_pair(data_dir: str, split: str) -> IdxPair:
    """Reads the images and labels of ``split`` ("train" or "test") and checks them together.

    Raises:
        InputError: Besides what the readers raise: counts differ, or there is only one class.
    """
    image_path, label_path = find_files(data_dir, split)
    images, images_digest = _read_array(image_path, "images")
    labels, labels_digest = _read_array(label_path, "labels")
    _check_counts(image_path, len(images), label_path, len(labels))
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"Every label in {label_path} is {labels[0]}; at least two classes are needed: "
            "write the true labels of the images."
        )
    names = read_label_names(data_dir)
    if names is not None and int(labels.max()) >= len(names):
        raise InputError(
            f"{label_path} holds label {labels.max()} but {LABEL_NAMES_FILE} next to it names only "
            f"{len(names)} classes; give one name per line, in the order of the labels."
        )
    return IdxPair(images, labels, {image_path: images_digest, label_path: labels_digest})


def find_files(data_dir: str, split: str) -> tuple[str, str]:
    """Returns the paths of the images and the labels file of ``split``.

    Raises:
        InputError: The directory or a file is missing, or a file exists both plain and as gzip.
    """
    if not storage.is_dir(data_dir):
        raise InputError(
            f"The data directory {data_dir} does not exist; name one that holds MNIST-style IDX "
            "files with --data."
        )
    prefix = FILE_PREFIX[split]
    return (
        _find(data_dir, f"{prefix}-images-idx3-ubyte"),
        _find(data_dir, f"{prefix}-labels-idx1-ubyte"),
    )


def count_images(data_dir: str) -> dict[str, int]:
    """Number of images by split; reads all four files to their ends, and the label names.

    Raises:
        InputError: As ``read_idx_pair`` of either split.
    """
    return {split: len(read_idx_pair(data_dir, split).labels) for split in FILE_PREFIX}


def read_label_names(data_dir: str) -> tuple[str, ...] | None:
    """Reads the optional ``labels.txt``: one class name per line, in the order of the labels.

    Raises:
        InputError: The file is empty, holds a blank line or a control character, or is not UTF-8
            text.
    """
    path = storage.join(data_dir, LABEL_NAMES_FILE)
    if not storage.exists(path):
        return None
    with storage.open_file(path) as file:
        try:
            # Some editors of Windows begin a file with a mark that is not seen.
            names = tuple(line.strip() for line in file.read().decode("utf-8-sig").splitlines())
        except UnicodeDecodeError:
            raise InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    if len(names) < 2 or not all(names):
        raise InputError(f"{path} must hold one class name per line, at least two, none blank.")
    for number, name in enumerate(names, 1):
        if not is_plain(name):
            raise InputError(
                f"{path}, line {number}: {shown(name)} holds a character that is not seen; write "
                "the name without it."
            )
    return names


def digest(data_dir: str, *more_files: str, read: Mapping[str, str] = MappingProxyType({})) -> str:
    """SHA-256 over the IDX files, the label names and ``more_files`` of a data directory.

    Files in ``read``, which is as ``IdxPair.files``, count as they were read and not as they are.

    Raises:
        InputError: As ``find_files``, or a file cannot be read.
    """
    total = hashlib.sha256()
    paths = [path for split in FILE_PREFIX for path in find_files(data_dir, split)]
    optional = [storage.join(data_dir, name) for name in (LABEL_NAMES_FILE, *more_files)]
    for path in paths + [path for path in optional if storage.exists(path)]:
        one = read.get(path) or hashlib.sha256(storage.read_bytes(path)).hexdigest()
        total.update(f"{posixpath.basename(path)} {one}\n".encode())
    return total.hexdigest()


def check_unchanged(planned: str, found: str, data_dir: str) -> None:
    """Raises ``InputError`` if the digest of what was read is not the one in the node's settings.

    The cache would give the result to every later run with the planned content. An empty plan, of
    data that could not be read then, agrees with everything.
    """
    if planned and planned != found:
        raise InputError(
            f"The files in {data_dir} changed after the run began; run it again when nothing "
            "writes there."
        )


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


def _read_array(path: str, kind: str) -> tuple[np.ndarray, str]:
    """The array, and the SHA-256 of the bytes that it was read from."""
    content = storage.read_bytes(path)
    with _payload(content) as file:
        try:
            shape = _read_header(file, path, kind)
            expected = math.prod(shape)
            # One byte more than announced detects a file that is too long; reading a gzip stream
            # to its end checks its CRC.
            payload = file.read(expected + 1)
        except EOFError:
            raise InputError(
                f"{path} is cut short: its gzip stream has no end; copy or download it again."
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path} is a damaged gzip file ({error}); copy or download it again."
            ) from None
    if len(payload) < expected:
        raise InputError(
            f"{path} is cut short: its header announces {shape[0]} {kind} ({expected} bytes) but "
            f"only {len(payload)} bytes follow; copy or download it again."
        )
    if len(payload) > expected:
        raise InputError(
            f"{path} holds more than the {shape[0]} {kind} ({expected} bytes) that its header "
            "announces; correct the header or copy the file again."
        )
    digest_of_file = hashlib.sha256(content).hexdigest()
    return np.frombuffer(payload, np.uint8).reshape(shape), digest_of_file


def _read_header(file: BinaryIO, path: str, kind: str) -> tuple[int, ...]:
    """Returns the shape that the header announces, after checking that it suits ``kind``."""
    magic = file.read(4)
    if not magic:
        raise InputError(f"{path} is empty; copy or download it again.")
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _ELEMENT_TYPES:
        raise InputError(
            f"{path} is not an IDX file: it starts with the bytes {magic.hex(' ')}; "
            f"{kind} start with 00 00 08 {3 if kind == 'images' else 1:02d}."
        )
    if magic[2] != _UNSIGNED_BYTE:
        raise InputError(
            f"{path} holds elements of type {_ELEMENT_TYPES[magic[2]]}; save the {kind} as uint8."
        )
    dimensions = 3 if kind == "images" else 1
    if magic[3] != dimensions:
        hint = (
            "are the images and the labels file swapped?"
            if {magic[3], dimensions} == {1, 3}
            else f"{kind} have {dimensions}."
        )
        raise InputError(f"{path} holds an array of {magic[3]} dimensions, not {kind}; {hint}")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise InputError(f"{path} is cut short within its header; copy or download it again.")
    shape = struct.unpack(f">{dimensions}I", sizes)
    if kind == "images" and shape[1:] != (HEIGHT, WIDTH):
        raise InputError(
            f"{path} holds images of {shape[1]}x{shape[2]} pixels; resize them to {HEIGHT}x{WIDTH}."
        )
    if shape[0] == 0:
        raise InputError(f"{path} holds no {kind}: its header announces 0; write some to it.")
    return shape


def _check_counts(image_path: str, images: int, label_path: str, labels: int) -> None:
    if images != labels:
        raise InputError(
            f"{image_path} holds {images} images but {label_path} holds {labels} labels; "
            "the two must agree, so replace the one that is wrong."
        )


def _find(data_dir: str, name: str) -> str:
    candidates = (storage.join(data_dir, name), storage.join(data_dir, name + ".gz"))
    paths = [path for path in candidates if storage.exists(path)]
    if not paths:
        raise InputError(
            f"{data_dir} holds neither {name} nor {name}.gz; put the file there or name another "
            "directory with --data."
        )
    if len(paths) == 2:
        raise InputError(f"{data_dir} holds both {name} and {name}.gz; remove one of them.")
    return paths[0]


def _payload(content: bytes) -> BinaryIO | gzip.GzipFile:
    """The bytes of a file to read from, decompressed where they are gzip."""
    raw = io.BytesIO(content)
    return gzip.GzipFile(fileobj=raw, mode="rb") if content.startswith(_GZIP_MAGIC) else raw
