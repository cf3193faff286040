"""Files of a data directory, which is on a disk or, on a cluster, in a bucket (gs:// or s3://).

Local paths are read by Python itself, so that checks before a run need not import TensorFlow.
"""

import dataclasses
import hashlib
import io
import os
import posixpath
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

from components.idx_example_gen import s3, spool
from core.config import InputError

T = TypeVar("T")

_DEEPEST = 4  # folders below the data directory that are looked into
_RECENT = 2  # seconds, the coarsest resolution of a file system's times
_KNOWN: dict[str, tuple[tuple[int, ...], str]] = {}  # by path: signature and SHA-256
_FOREIGN = "__MACOSX"  # what macOS adds to an archive


@dataclasses.dataclass(frozen=True)
class Files:
    """Files of a data directory by their relative paths; remembers the digest of each it read."""

    data_dir: str
    paths: tuple[str, ...]
    digests: dict[str, str] = dataclasses.field(default_factory=dict)  # by whole path

    def where(self, path: str) -> str:
        """The whole path."""
        return join(self.data_dir, path)

    def read(self, path: str) -> bytes:
        """The whole of a small file; raises ``InputError`` if it cannot be read."""
        where = self.where(path)
        spool.check_memory(size(where), where)
        parts: list[bytes] = []
        self.digests[where] = _through(where, parts.append)
        return b"".join(parts)

    def open(self, path: str) -> BinaryIO:
        """A copy of the file, in memory or where that is too small for it; it can seek.

        Raises:
            InputError: The file cannot be read, or there is no room for it.
        """
        where = self.where(path)
        spool.check_room(size(where), where)
        copy = spool.Spool(where)
        self.digests[where] = _through(where, copy.add)
        return copy.file()


def join(data_dir: str, name: str) -> str:
    """The path of the file ``name`` in ``data_dir``."""
    return posixpath.join(data_dir, name) if _is_remote(data_dir) else os.path.join(data_dir, name)


def exists(path: str) -> bool:
    """Whether there is a file at ``path``; raises ``InputError`` if a bucket denies the answer."""
    if not _is_remote(path):
        return os.path.isfile(path)
    return _told(path, lambda: s3.exists(path) if _is_s3(path) else _gfile().exists(path))


def is_dir(path: str) -> bool:
    """Whether there is a directory at ``path``."""
    if _is_s3(path):
        return _told(path, lambda: s3.is_dir(path))
    return _gfile().isdir(path) if _is_remote(path) else os.path.isdir(path)


def list_files(data_dir: str, depth: int = _DEEPEST) -> list[str]:
    """Relative paths of the files in ``data_dir`` and its folders, sorted; hidden ones left out.

    ``depth`` is how many folders below it are looked into.

    Raises:
        InputError: The directory cannot be listed.
    """
    return sorted(_walk(data_dir, "", depth))


def folders(data_dir: str) -> list[str]:
    """Names of the folders in ``data_dir``, sorted; hidden ones left out.

    Raises:
        InputError: The directory cannot be listed.
    """
    found = _told(data_dir, lambda: _entries(data_dir))
    names = [name for name, is_folder in found if is_folder]
    return sorted(name for name in names if not name.startswith("."))


def size(path: str) -> int:
    """Bytes of a file; raises ``InputError`` if it cannot be asked."""
    if _is_s3(path):
        return _told(path, lambda: s3.size(path))
    if _is_remote(path):
        return _told(path, lambda: _gfile().stat(path).length)
    return _told(path, lambda: os.stat(path).st_size)


def open_file(path: str) -> BinaryIO:
    """Opens ``path`` for reading bytes; raises ``InputError`` if that is not allowed."""
    if _is_s3(path):
        return io.BytesIO(s3.read(path))
    if _is_remote(path):
        return _gfile().GFile(path, "rb")
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make it readable.") from None


def file_digest(path: str) -> str:
    """SHA-256 of a file; raises ``InputError`` if it cannot be read.

    A file on a disk that this process has read already is not read again, unless it has changed.
    """
    known = _KNOWN.get(path)
    if known and known[0] == _signature(path):
        return known[1]
    return _through(path, lambda piece: None)


def read_bytes(path: str) -> bytes:
    """Reads the whole file; raises ``InputError`` if that is not possible."""

    def read() -> bytes:
        with open_file(path) as file:
            return file.read()

    return _told(path, read)


def _through(path: str, take: Callable[[bytes], None]) -> str:
    """Gives a file to ``take`` in pieces; its SHA-256."""
    total, signature = hashlib.sha256(), _signature(path)

    def read() -> None:
        for piece in _pieces(path):
            total.update(piece)
            take(piece)

    _told(path, read)
    digest = total.hexdigest()
    if signature and signature == _signature(path):
        _KNOWN[path] = (signature, digest)
    return digest


def _signature(path: str) -> tuple[int, ...] | None:
    """What changes whenever a file changes; None where that is not known.

    The time of its last change (ctime) cannot be set back by its owner, but it has a resolution: a
    file that was changed a moment ago could change again unseen.
    """
    if _is_remote(path):
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    if found.st_ctime > time.time() - _RECENT:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _pieces(path: str) -> Iterator[bytes]:
    if _is_s3(path):
        yield from s3.pieces(path, spool.BLOCK)
        return
    with open_file(path) as file:
        yield from spool.pieces(file)


def _walk(
    data_dir: str, folder: str, depth: int, above: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Paths below ``folder``; a link that leads back to one of ``above`` is not followed."""
    whole = join(data_dir, folder) if folder else data_dir
    real = whole if _is_remote(whole) else os.path.realpath(whole)
    if real in above:
        return
    for name, is_folder in _told(whole, lambda: _entries(whole)):
        if name.startswith(".") or name == _FOREIGN:
            continue
        path = posixpath.join(folder, name)
        if not is_folder:
            yield path
        elif depth:
            yield from _walk(data_dir, path, depth - 1, above | {real})


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Name of each entry, and whether it is a folder; links that lead nowhere left out."""
    if not _is_remote(folder):
        with os.scandir(folder) as entries:
            return [(e.name, e.is_dir()) for e in entries if e.is_dir() or e.is_file()]
    if _is_s3(folder):
        return s3.entries(folder)
    found = []
    for name in _gfile().listdir(folder):
        # Buckets mark folders by a slash; asking about every image would take a minute.
        plain = name.rstrip("/")
        if plain:
            is_folder = name.endswith("/") or (
                "." not in plain and _gfile().isdir(posixpath.join(folder, plain))
            )
            found.append((plain, is_folder))
    return found


def _is_remote(path: str) -> bool:
    return "://" in path


def _is_s3(path: str) -> bool:
    return path.startswith(s3.SCHEME)


def _told(path: str, action: Callable[[], T]) -> T:
    """The result of ``action``; errors of a disk or of a bucket become a sentence."""
    errors: list[type[Exception]] = [OSError]
    if _is_remote(path) and not _is_s3(path):
        import tensorflow as tf

        errors.append(tf.errors.OpError)
    try:
        return action()
    except tuple(errors) as error:
        words = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
        raise InputError(
            f"{path} cannot be read ({' '.join(words.split())}); make it readable."
        ) from None


def _gfile():
    import tensorflow as tf

    return tf.io.gfile
