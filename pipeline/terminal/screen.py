"""The screen of the command line: a Rich console, and sentences that wrap at words.

Contract: on a terminal a sentence is wrapped between words and a path is never broken; anywhere
else it stays one line, as scripts read it.
"""

import textwrap

from rich.console import Console
from rich.text import Text

_TAB = 8  # columns


class Screen(Console):
    """A console whose reader may exit (``inkwell run | head``) without ending the run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def say(console: Console, words: str | Text) -> None:
    """Prints a sentence as it is, with neither markup nor highlights."""
    text = words if isinstance(words, Text) else Text(words)
    if console.is_terminal:
        lines = [_wrapped(line, console.width) for line in text.split("\n", allow_blank=True)]
        text = Text("\n").join(lines)
    console.print(text, highlight=False, soft_wrap=True)


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
