"""Listens to a run: the log records of TFX and of our own progress, and the signals that end it.

Contract: ``Watch`` calls a display of ``pipeline.terminal.display``; LocalDagRunner reports its
progress in no other way.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from core.progress import LOGGER as PROGRESS

# TFX reports nodes only in these two log records (tfx/orchestration/local/local_dag_runner.py).
STARTED, FINISHED = "Component %s is running.", "Component %s is finished."


class Watch(logging.Handler):
    """Turns log records of TFX and of our own progress into calls of the display.

    Raises KeyboardInterrupt at the next record after a signal that is in ``signals``: the one that
    the signal itself raised is lost where libraries call back from C or from a finaliser.
    """

    def __init__(self, display: Any, state_of: Callable[[str], str], signals: Sequence[int] = ()):
        super().__init__(logging.INFO)
        self._display = display
        self._state_of = state_of
        self._signals = signals

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        loggers = [logging.getLogger("absl"), PROGRESS]
        level = PROGRESS.level
        PROGRESS.setLevel(logging.INFO)
        for logger in loggers:
            logger.addHandler(self)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(self)
            PROGRESS.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "progress"):
            self._display.progressed(record.progress)
        elif record.msg == STARTED:
            self._end_if_interrupted()  # before the display shows a node that does nothing
            self._display.started(record.args[0])
            return
        elif record.msg == FINISHED:
            self._display.finished(record.args[0], self._state_of(record.args[0]))
        else:
            return  # TFX may be recording the outputs of a node
        self._end_if_interrupted()

    def _end_if_interrupted(self) -> None:
        if self._signals and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt


@contextlib.contextmanager
def interrupted_by() -> Iterator[list[int]]:
    """Yields a list that fills with the signals that ask the run to end.

    A KeyboardInterrupt alone would not do: raised inside TensorFlow's C++, it can come out as some
    other error. A signal that is ignored from the start, as in a script's background, stays so.
    """
    received: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    is_main = threading.current_thread() is threading.main_thread()
    heard = [n for n in numbers if is_main and signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
