"""Extracts the message of a failed node from the wrappers of TFX and Beam.

Contract: ``explain(error)`` gives a kind and one sentence. A user's mistake (``InputError``) is
found in the chain of causes, or in the text that Beam's workers make of exceptions. A diverged
training has a sentence of its own too.
"""

import re
from collections.abc import Iterator

from core.config import DivergedError, InputError
from core.foreign import masked

_MAX_LENGTH = 300
_FULL = ("No space left on device", "Disk quota exceeded")
# The end of traceback.format_exc, then Beam's addition to every message.
_IN_TEXT = re.compile(
    rf"^(?:\w+\.)*{InputError.__name__}: (.+?)(?: \[while running .*)?$", re.MULTILINE
)


def explain(error: BaseException) -> tuple[str, str]:
    """Returns ("input", the user's sentence), or ("crash", the failure in one sentence).

    Passwords and tokens are masked, as the sentence is kept with the run.
    """
    kind, words = _explained(error)
    return kind, masked(words)


def _explained(error: BaseException) -> tuple[str, str]:
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, InputError):
            return "input", _strip_beam(str(link))
        if isinstance(link, DivergedError):
            return "crash", str(link)
    for link in chain:
        found = _IN_TEXT.findall(str(link))
        if found:
            return "input", found[-1].strip()
    if any(words in str(link) for link in chain for words in _FULL):
        return "crash", "The disk is full. Free some space and run the same command again."
    root = chain[-1]
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    # Beam turns a worker's exception into one whose text is a whole stack trace: its last line
    # is the exception itself.
    message = lines[-1] if lines and lines[0].startswith("Traceback") else " ".join(lines)
    words = f"{type(root).__name__}: {_strip_beam(message)}" if message else type(root).__name__
    return "crash", words if len(words) <= _MAX_LENGTH else words[: _MAX_LENGTH - 1] + "…"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _strip_beam(message: str) -> str:
    return re.sub(r" \[while running .*", "", message, flags=re.DOTALL).strip()
