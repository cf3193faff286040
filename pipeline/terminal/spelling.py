"""Streams that take any text and never end the program. Imports nothing heavy.

Contract: importing this registers the error handler ``SPELLED`` of encodings.
"""

import codecs
import contextlib
import io
import unicodedata

SPELLED = "spelled"  # how a stream writes characters that its encoding lacks
_SPELLINGS = str.maketrans(
    {"±": "+-", "≤": "<=", "≥": ">=", "→": "->", "\u00d7": "x", "\u2013": "-", "\u2014": "-"}
)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_SPELLINGS)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode()
    return plain, error.end


codecs.register_error(SPELLED, _spelled)


class Patient(io.TextIOWrapper):
    """A stream that never ends the program: what cannot be written, as to a full disk, is lost."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()
