"""Files of a data directory, which is on a disk or, on a cluster, in a bucket (gs://...).

Local paths are read by Python itself, so that checks before a run need not import TensorFlow.
"""

import os
import posixpath
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from core.config import InputError

T = TypeVar("T")


def join(data_dir: str, name: str) -> str:
    """The path of the file ``name`` in ``data_dir``."""
    return posixpath.join(data_dir, name) if _is_remote(data_dir) else os.path.join(data_dir, name)


def exists(path: str) -> bool:
    """Whether there is a file at ``path``; raises ``InputError`` if a bucket denies the answer."""
    if not _is_remote(path):
        return os.path.isfile(path)
    return _told(path, lambda: _gfile().exists(path))


def is_dir(path: str) -> bool:
    """Whether there is a directory at ``path``."""
    return _gfile().isdir(path) if _is_remote(path) else os.path.isdir(path)


def open_file(path: str) -> BinaryIO:
    """Opens ``path`` for reading bytes; raises ``InputError`` if that is not allowed."""
    if _is_remote(path):
        return _gfile().GFile(path, "rb")
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make it readable.") from None


def read_bytes(path: str) -> bytes:
    """Reads the whole file; raises ``InputError`` if that is not possible."""

    def read() -> bytes:
        with open_file(path) as file:
            return file.read()

    return _told(path, read)


def _is_remote(path: str) -> bool:
    return "://" in path


def _told(path: str, action: Callable[[], T]) -> T:
    """The result of ``action``; errors of a disk or of a bucket become a sentence."""
    errors: list[type[Exception]] = [OSError]
    if _is_remote(path):
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
