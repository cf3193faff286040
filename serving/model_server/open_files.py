"""Keeps TensorFlow from opening a file when the process may open no more.

TensorFlow 2.21 ends the process where it cannot open a file at two places:

- At the first graph of a thread it opens ``/dev/urandom``, to seed that thread's random numbers
  (ThreadLocalNew64 in tsl/platform/random.cc, which FunctionLibraryRuntimeImpl::RunSync calls).
- As it reads the vocabulary of a table it opens the file a second time, to count its lines, and
  takes a count of -1 for a size (TextFileLineIterator::total_size in lookup_util.cc).
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable

import tensorflow as tf

from serving.model_server.errors import unavailable

_SPARES = 4  # kept open, for a thread's first graph
_FILES_OF_LOAD = 64  # more than a load opens, as clients connect meanwhile
_thread = threading.local()
_lock = threading.Lock()
_spares: list[int] = []


def prepare_thread() -> None:
    """Has TensorFlow seed this thread, unless it has, with the spare files closed for a moment.

    Raises:
        StatusError: UNAVAILABLE: no file can be opened.
    """
    if getattr(_thread, "is_ready", False):
        return
    graph = _graph()
    with _lock:
        while _spares:
            os.close(_spares.pop())
        try:
            check_room(1)
            graph()
        finally:
            with contextlib.suppress(OSError):  # the next call opens the rest
                while len(_spares) < _SPARES:
                    _spares.append(_open())
    _thread.is_ready = True


def check_room(files: int = _FILES_OF_LOAD) -> None:
    """Checks that so many more files can be opened.

    Raises:
        StatusError: UNAVAILABLE: they cannot.
    """
    with contextlib.ExitStack() as tried:
        try:
            for _ in range(files):
                tried.callback(os.close, _open())
        except OSError as error:
            raise unavailable(
                f"The server cannot open {files} more file(s): {error.strerror}; raise its "
                "limit of open files (ulimit -n)."
            ) from error


def _open() -> int:
    return os.open(os.devnull, os.O_RDONLY)


@functools.cache
def _graph() -> Callable[[], object]:
    @tf.function
    def value():
        return tf.constant(0)

    return value.get_concrete_function()
