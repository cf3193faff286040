"""Tables of measurements for a terminal and in Markdown, and their machine."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table


def machine() -> str:
    """The machine and the day of a measurement."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )


def show(caption: str, lines: Sequence[Sequence[str]], width: int = 120, left: int = 1) -> None:
    """Prints the caption and the table.

    Args:
        caption: A line above it.
        lines: The titles, then the rows.
        width: Columns of the terminal.
        left: How many columns are words, which begin at the left; the others are numbers.
    """
    found = Table(box=None)
    for i, title in enumerate(lines[0]):
        found.add_column(title, justify="right" if i >= left else "left")
    for line in lines[1:]:
        found.add_row(*line)
    Console(width=width).print(caption, found, sep="\n", highlight=False)


def write(path: str | Path | None, caption: str, lines: Sequence[Sequence[str]]) -> None:
    """Writes the caption and the table in Markdown to ``path``, if there is one."""
    if path:
        Path(path).write_text(f"{caption}\n\n{markdown(lines)}", encoding="utf-8")


def markdown(lines: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """The lines as a table in Markdown; all columns but the first are ``numbers``, or none is."""
    rule = ["---", *("---:" if numbers else "---" for _ in lines[0][1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])) + "\n"
