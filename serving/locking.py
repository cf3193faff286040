"""A lock per served model: one push, promotion or roll-back at a time.

Contract: the lock is a hidden file next to the directory of the model's versions, where no model
server looks. The system releases it however the process ends.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from core.files import open_own

_LOGGER = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(serving_dir: str | os.PathLike[str], model: str = "") -> Iterator[None]:
    """Holds the lock of ``model``, or that of the labels of all models; waits while another does.

    A file system without locks, such as some mounts over a network, gives a warning in the log, and
    so does a lock file that is a link; the block runs all the same.
    """
    path = Path(serving_dir) / f".{model or 'releases'}.lock"
    with contextlib.ExitStack() as held:
        try:
            descriptor = open_own(path, os.O_WRONLY, shared=True)
            held.callback(os.close, descriptor)
            _lock(descriptor, path)
        except FileNotFoundError:
            pass  # without a serving directory there is nothing to protect
        except OSError as error:
            _LOGGER.warning("%s cannot be locked (%s); going on without.", path, error.strerror)
        yield


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _LOGGER.info("Waiting for %s, which another process holds", path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
