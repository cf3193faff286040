"""What a thread needs before it runs TensorFlow, even when the process has no file left to open.

At the first graph of a thread, TensorFlow opens ``/dev/urandom`` to seed random numbers of that
thread, and ends the process if it cannot (ThreadLocalNew64 in tsl/platform/random.cc, which
FunctionLibraryRuntimeImpl::RunSync calls).
"""

import functools
import os
import threading
from collections.abc import Callable

import tensorflow as tf

from serving.model_server.errors import unavailable

_SPARES = 8  # while they are closed, others may open files too
_RANDOM = "/dev/urandom"
_thread = threading.local()
_lock = threading.Lock()
_spares: list[int] = []


def prepare() -> None:
    """Has TensorFlow seed this thread now, with spare files closed for the moment.

    The first call, when a model is loaded, opens the spare files.

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
            os.close(os.open(_RANDOM, os.O_RDONLY))
            graph()
        except OSError as error:
            raise unavailable(
                f"The server cannot open {_RANDOM}: {error.strerror}; try again later, or raise "
                "its limit of open files (ulimit -n)."
            ) from error
        finally:
            _open_spares()
    _thread.is_ready = True


def _open_spares() -> None:
    try:
        while len(_spares) < _SPARES:
            _spares.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:  # the next call fills them up
        pass


@functools.cache
def _graph() -> Callable[[], object]:
    """The smallest graph; a value is all it takes."""

    @tf.function
    def value():
        return tf.constant(0)

    return value.get_concrete_function()
