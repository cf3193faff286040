"""The screen of the command line: a Rich console, sentences that wrap at words, and tables.

Contract: on a terminal a sentence is wrapped between words and a path is never broken; anywhere
else it stays one line, as scripts read it. Sentences and cells are text, whoever wrote them: no
markup, no escape sequence, no secret.
"""

import textwrap
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.foreign import safe

_TAB = 8  # columns


class Screen(Console):
    """A console whose reader may exit (``inkwell run | head``) without ending the run.

    A patient one also loses what cannot be written, as to a full disk or a closed terminal.
    """

    def __init__(self, *, patient: bool = False, **settings: Any):
        super().__init__(**settings)
        self._patient = patient

    def print(self, *words: Any, **settings: Any) -> None:
        try:
            super().print(*words, **settings)
        except OSError:
            if not self._patient:
                raise

    def on_broken_pipe(self) -> None:
        self.quiet = True


def say(console: Console, words: str | Text) -> None:
    """Prints a sentence, with neither markup nor highlights."""
    text = plain(words)
    if console.is_terminal:
        lines = [_wrapped(line, console.width) for line in text.split("\n", allow_blank=True)]
        text = Text("\n").join(lines)
    console.print(text, highlight=False, soft_wrap=True)


class PlainTable(Table):
    """A table without lines, whose titles and cells are taken as text."""

    def __init__(self, *titles: str, **settings: Any):
        super().__init__(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
        for title in titles:
            self.add_column(title, **settings)

    def add_column(self, header: Any = "", *more: Any, **settings: Any) -> None:
        super().add_column(plain(header), *more, **settings)

    def add_row(self, *cells: Any, **settings: Any) -> None:
        super().add_row(*map(plain, cells), **settings)


def plain(words: str | Text) -> Text:
    """The words as ``safe`` text; styles stay where they are."""
    if isinstance(words, str):
        return Text(safe(words))
    if safe(words.plain) == words.plain:
        return words
    ends = sorted({end for span in words.spans for end in (span.start, span.end)})
    pieces = []
    for piece in words.divide(ends):
        pieces.append(Text(safe(piece.plain), style=piece.style))
        for span in piece.spans:
            pieces[-1].stylize(span.style)
    return Text().join(pieces)


def _wrapped(text: Text, width: int) -> Text:
    """The text in lines of at most ``width``; Rich itself would break a word that is longer."""
    text.expand_tabs(_TAB)
    # Each line is searched for in the text, so its spaces must not change.
    found = textwrap.wrap(
        text.plain,
        width,
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
    starts, end = [], 0
    for line in found:
        starts.append(text.plain.index(line, end))
        end = starts[-1] + len(line)
    lines = text.divide(starts[1:])
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)
