"""Files and arrays larger than the memory: of those above 256 MB, it holds one block at a time.

Contract: ``Spool`` takes bytes piece by piece and gives them back as a file or as an array. What is
large lies in a temporary file without a name, which nobody else can cut or change, and the array is
a map of it. ``blocks`` goes over an array of either kind. A temporary directory in memory (tmpfs)
saves nothing; TMPDIR names another.
"""

import gzip
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from mmap import MADV_DONTNEED
from typing import IO, BinaryIO

import numpy as np

from core.config import InputError

IN_MEMORY = 1 << 28  # bytes
BLOCK = 1 << 24  # bytes
_LEFT_FREE = 1 << 30  # bytes of the disk, which other programs need as well


class Spool:
    """Bytes one after the other; ``where`` names them in sentences."""

    def __init__(self, where: str):
        self._where, self._size = where, 0
        self._parts: list[bytes] = []
        self._file: BinaryIO | None = None

    def add(self, content: bytes) -> None:
        """Takes more; raises ``InputError`` if there is no room for it."""
        self._size += len(content)
        if self._file is None and self._size <= IN_MEMORY:
            check_memory(self._size, self._where)
            self._parts.append(content)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its map
            self._parts, early = [], self._parts
            self._file.writelines(early)
        check_disk(len(content), self._where)
        self._file.write(content)

    def add_all(self, pieces: Iterable[bytes]) -> "Spool":
        """Takes all of ``pieces``; returns itself."""
        for piece in pieces:
            self.add(piece)
        return self

    def file(self) -> BinaryIO:
        """All of it as a file to read, from its start."""
        if self._file is None:
            return io.BytesIO(b"".join(self._parts))
        self._file.seek(0)
        return self._file

    def array(self) -> np.ndarray:
        """All of it as uint8 [size], which cannot be written."""
        if self._file is None:
            return np.frombuffer(b"".join(self._parts), np.uint8)
        self._file.flush()
        return np.memmap(self._file, np.uint8, "r")


def pieces(file: IO[bytes] | gzip.GzipFile, count: int | None = None) -> Iterator[bytes]:
    """The rest of ``file`` in blocks; ``count`` bytes of it at most."""
    while piece := file.read(BLOCK if count is None else min(BLOCK, count)):
        count = None if count is None else count - len(piece)
        yield piece


def blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of ``array`` in blocks; of a map, the pages of those before are given back."""
    row = max(1, array[:1].nbytes)
    step = max(1, BLOCK // row)
    mapped = getattr(array, "_mmap", None)
    for start in range(0, len(array), step):
        yield array[start : start + step]
        if mapped is not None:
            mapped.madvise(MADV_DONTNEED)


def converted(
    array: np.ndarray, where: str, convert: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """``convert`` of the rows of ``array``, block by block: uint8 [bytes]."""
    return Spool(where).add_all(convert(block).tobytes() for block in blocks(array)).array()


def taken(array: np.ndarray, rows: np.ndarray, where: str) -> np.ndarray:
    """``array[rows]`` of uint8, for numbers of rows [M] in their order."""
    step = max(1, BLOCK // max(1, array[:1].nbytes))
    parts = (array[rows[i : i + step]].tobytes() for i in range(0, len(rows), step))
    return Spool(where).add_all(parts).array().reshape(len(rows), *array.shape[1:])


def check_room(count: int, where: str) -> None:
    """Raises ``InputError`` if a spool of ``count`` bytes has no room."""
    (check_memory if count <= IN_MEMORY else check_disk)(count, where)


def check_memory(count: int, where: str) -> None:
    """Raises ``InputError`` if ``count`` bytes are more than the memory of this machine."""
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if count > have:
        raise InputError(
            f"{where} takes {count / 1e9:.1f} GB of memory, of {have / 1e9:.1f} GB in this "
            "machine; use fewer images."
        )


def check_disk(count: int, where: str) -> None:
    """Raises ``InputError`` if ``count`` bytes more would fill the disk of temporary files."""
    folder = tempfile.gettempdir()
    have = shutil.disk_usage(folder).free - _LEFT_FREE
    if count > have:
        raise InputError(
            f"{where} takes {count / 1e9:.1f} GB more of temporary files, of "
            f"{max(have, 0) / 1e9:.1f} GB in {folder}; use fewer images, or name a folder on a "
            "larger disk in TMPDIR."
        )
