"""Ends the work of requests: at their deadline, when their client leaves, when the server stops.

Contract: ``Work`` is what runs for one request, or for the requests of one batch; ``end`` from any
thread ends it, inside TensorFlow too, where a loop is left at its next step and an operation that
waits is left at once. TensorFlow keeps the one cancellation of all threads in a global
(tensorflow/python/eager/cancellation.py); here each thread has its own.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

import grpc
from tensorflow.python.eager import cancellation

from serving.model_server import open_files
from serving.model_server.errors import StatusError, unavailable

_LOOK_SECONDS = 0.05  # between looks at the deadlines
_thread = threading.local()


class Work:
    """Something that runs and can be ended, once."""

    def __init__(self, end_time: float = math.inf):
        """``end_time`` is one of ``time.monotonic()``."""
        self.end_time = end_time
        self.error: StatusError | None = None  # why it was ended
        self._lock = threading.Lock()
        self._on_end: list[Callable[[], object]] = []

    def end(self, error: StatusError) -> None:
        """Ends it, if it has not been ended already."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            on_end, self._on_end = self._on_end, []
        for call in on_end:
            call()

    def on_end(self, call: Callable[[], object]) -> None:
        """Has ``call`` called when this is ended; at once if it has been."""
        with self._lock:
            if self.error is None:
                self._on_end.append(call)
                return
        call()

    def close(self) -> None:
        """It is done: an end that comes now changes nothing."""
        with self._lock:
            self._on_end.clear()

    @contextlib.contextmanager
    def in_tensorflow(self) -> Iterator[None]:
        """What this thread runs in TensorFlow meanwhile is ended with this work.

        Raises:
            StatusError: It was ended, or no file can be opened.
        """
        open_files.prepare_thread()
        cancellation.context = _of_this_thread
        manager = cancellation.CancellationManager()
        self.on_end(manager.start_cancel)
        if self.error is not None:
            raise self.error
        _thread.manager = manager
        try:
            yield
        except Exception as error:
            if self.error is not None:  # TensorFlow's own says that it was cancelled
                raise self.error from error
            raise
        finally:
            _thread.manager = None


class Running:
    """The work of all requests that run now."""

    def __init__(self):
        self._works: set[Work] = set()
        self._lock = threading.Lock()
        self._any = threading.Event()
        self._is_stopped = False
        threading.Thread(target=self._watch, daemon=True, name="deadlines").start()

    @contextlib.contextmanager
    def work(self, timeout_s: float | None) -> Iterator[Work]:
        """The work of a request, ended with DEADLINE_EXCEEDED after ``timeout_s``; None is never.

        Raises:
            StatusError: It was ended before it began.
        """
        work = Work(math.inf if timeout_s is None else time.monotonic() + timeout_s)
        with self._lock:
            if self._is_stopped:
                raise _stopping()
            self._works.add(work)
        if timeout_s is not None:
            if timeout_s <= 0:
                work.end(_too_late())
            self._any.set()
        try:
            yield work
        finally:
            work.close()
            with self._lock:
                self._works.discard(work)

    def stop(self) -> None:
        """Ends all work, and what begins from now on, with UNAVAILABLE."""
        with self._lock:
            self._is_stopped = True
            works = list(self._works)
        for work in works:
            work.end(_stopping())

    def _watch(self) -> None:
        while True:
            self._any.wait()
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            with self._lock:
                late = [work for work in self._works if work.end_time <= now]
                if all(work.end_time == math.inf for work in self._works):
                    self._any.clear()
            for work in late:
                work.end(_too_late())


def _too_late() -> StatusError:
    return StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline of the request passed.")


def _stopping() -> StatusError:
    return unavailable("The server is stopping.")


def _of_this_thread() -> cancellation.CancellationManager | None:
    return getattr(_thread, "manager", None)
