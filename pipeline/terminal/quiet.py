"""Redirects the output of libraries to a log file and keeps the screen for the program.

TensorFlow, Beam and their C++ parts write to file descriptors 1 and 2, which no Python logging
setting reaches, so the descriptors themselves are redirected to the log during a run.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from core.config import InputError
from core.files import open_own
from core.foreign import masked
from pipeline.terminal.spelling import SPELLED, Patient

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextlib.contextmanager
def output_to(log_path: Path | None) -> Iterator[TextIO]:
    """Redirects standard output and error to ``log_path``; yields a stream on the real screen.

    None discards them. Python's logging, from INFO up, goes to the log as well. All is restored at
    the end.

    Raises:
        InputError: The log cannot be written, or is a link or another user's.
    """
    log = os.open(os.devnull, os.O_WRONLY) if log_path is None else _open_log(log_path)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # what it held may have no reader any more
            stream.flush()
    saved = os.dup(1), os.dup(2)
    real = os.fdopen(os.dup(saved[0]), "wb")
    screen = Patient(real, encoding=sys.stdout.encoding, errors=SPELLED)
    handler = logging.StreamHandler(_stream(log))
    handler.setFormatter(_Masking(_FORMAT))
    handler.addFilter(_worth_a_line)
    root = logging.getLogger()
    level, others = root.level, root.handlers[:]
    streams = sys.stdout, sys.stderr
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        # New streams: a notebook or a test may have replaced them.
        sys.stdout, sys.stderr = _stream(1), _stream(2)
        root.handlers = [handler]
        root.setLevel(logging.INFO)
        logging.captureWarnings(True)
        yield screen
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams
        logging.captureWarnings(False)
        root.handlers = others
        root.setLevel(level)
        handler.close()
        with contextlib.suppress(OSError):  # the disk may be full
            handler.stream.close()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (*saved, log):
            os.close(descriptor)
        with contextlib.suppress(OSError):  # the reader of a pipe may have gone
            screen.close()


class _Masking(logging.Formatter):
    """Writes no password and no token into the log, which users attach to reports."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


def _open_log(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open_own(path, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise InputError(
            f"The log {path} cannot be written ({error.strerror}); remove it, or name another "
            "directory."
        ) from None


def _stream(descriptor: int) -> TextIO:
    """One that outlives a full disk: a log must not end a run."""
    file = open(descriptor, "wb", closefd=False)  # noqa: SIM115 - closed with the stream
    return Patient(file, encoding="utf-8", line_buffering=True)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Progress of every step is for the display; the log takes the lines marked for it."""
    return getattr(record, "line", True)
