"""Faults of a shared store or a network that pass by themselves: the node starts again in its pod.

The backend cannot do it: KFP 2.17 never tries a failed container again, and before 2.17 it tries
every one again, a user's mistake too. Contract: only the faults named here count, and only a
limited number of times; the process replaces itself, so nothing of the failed attempt is left in
memory.
"""

import errno
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence

from core.config import InputError

WAITS_VARIABLE = "INKWELL_RETRY_WAITS"  # seconds before each further start; empty: none
_DEFAULT_WAITS = "10 30 90"  # the server of a share needs a minute or two to come back
_COUNT_VARIABLE = "INKWELL_STARTED_AGAIN"  # how often the node was started again in this pod

# In words, because Beam and TensorFlow hand on the text alone. A refused connection does not count:
# in a pod it is the node's own model server, which will not come up the next time either.
_PASSING = tuple(
    os.strerror(number)
    for number in (
        *(errno.ESTALE, errno.EIO, errno.EREMOTEIO, errno.ETIMEDOUT),
        *(errno.ECONNRESET, errno.ECONNABORTED),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    )
)
# Of tensorflow.errors, which TensorFlow raises for gs:// after ten attempts of its own.
_PASSING_TYPES = {"UnavailableError", "DeadlineExceededError", "AbortedError"}

_LOG = logging.getLogger(__name__)


def retry_waits() -> list[float]:
    """Seconds before each further start of the node in this pod.

    Raises:
        InputError: The variable holds something else than seconds.
    """
    text = os.environ.get(WAITS_VARIABLE, _DEFAULT_WAITS)
    try:
        waits = [float(word) for word in text.split()]
    except ValueError:
        waits = [-1.0]
    if not all(0 <= wait <= 3600 for wait in waits):
        raise InputError(
            f"{WAITS_VARIABLE} must hold seconds from 0 to 3600, separated by spaces, as in "
            f"'{_DEFAULT_WAITS}', not {text!r}."
        )
    return waits


def passing_fault(error: BaseException) -> str:
    """The fault behind ``error`` that passes by itself, in one line; empty if there is none."""
    for cause in _causes(error):
        text = " ".join(str(cause).split())
        kinds = {kind.__name__ for kind in type(cause).__mro__}
        if kinds & _PASSING_TYPES or any(message in text for message in _PASSING):
            return f"{type(cause).__name__}: {text}"[:300]
    return ""


def start_again(fault: str, waits: Sequence[float]) -> None:
    """Waits and replaces this process by a new one; returns if that was done often enough.

    Args:
        fault: In words, for the log.
        waits: Seconds before each further start.
    """
    count = int(os.environ.get(_COUNT_VARIABLE, "0"))
    if count >= len(waits):
        _LOG.error("%s; this pod has started the node %d times, and gives up.", fault, count + 1)
        return
    _LOG.warning(
        "%s. Such faults pass by themselves as a rule: the node starts again in %g s (%d of %d).",
        *(fault, waits[count], count + 1, len(waits)),
    )
    time.sleep(waits[count])
    os.environ[_COUNT_VARIABLE] = str(count + 1)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, also where ``from None`` hides it."""
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        seen.append(found)
        yield found
        found = found.__cause__ or found.__context__
