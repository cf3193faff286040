"""Code shared by the modules of the command line."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from pipeline.profiles import profile_names

if TYPE_CHECKING:
    from rich.console import Console


PROFILE_NAMES = "|".join(profile_names())
Profile = Annotated[str, typer.Option(metavar=PROFILE_NAMES, help="Settings to start from.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be repeated."),
]
DataFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="auto|idx|npz|parquet|csv|folders",
        help="Of the files in --data; by default, what is there.",
    ),
]
Output = Annotated[str, typer.Option(metavar="DIR", help="Where runs keep their files.")]
OUTPUT = "outputs"
Serving = Annotated[
    Path, typer.Option("--serving", metavar="DIR", help="Directory of the pushed versions.")
]
SERVING = Path("serving_models")
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class _PlainHelp:
    """A command whose help shows our names of values instead of Python's types."""

    def get_params(self, ctx):
        params = super().get_params(ctx)
        for param in params:
            param.display_type_rich = functools.partial(_words_for_value, param)
        return params


class Command(_PlainHelp, TyperCommand):
    """A command with plain help."""


class Group(_PlainHelp, TyperGroup):
    """The command line itself, with plain help."""


def _words_for_value(param, ctx) -> str:
    """The text after an option's name; empty for a flag or an argument."""
    if not isinstance(param, TyperOption) or param.is_flag:
        return ""
    return param.metavar or param.name.upper()


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turns a user's mistakes into one sentence each and exit code 2."""
    from core.config import InputError
    from serving.errors import ServingError

    try:
        yield
    except (InputError, ServingError) as error:
        for sentence in str(error).splitlines():
            complain(sentence)
        raise typer.Exit(2) from None


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Turns files and directories that cannot be used into a ``ServingError``."""
    from serving.errors import ServingError

    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise ServingError(f"{error.filename} cannot be used: {error.strerror}.") from None


def complain(words: object) -> None:
    """Prints a sentence to standard error."""
    from pipeline.terminal.screen import Screen, say

    say(Screen(stderr=True, patient=True), f"inkwell: {words}")


def tell(words: object) -> None:
    """Prints a sentence to standard output."""
    from pipeline.terminal.screen import say

    say(console(), str(words))


def console(patient: bool = False) -> Console:
    """A console that never cuts piped output.

    Args:
        patient: Whether output that cannot be written is lost without a word.
    """
    from pipeline.terminal.screen import Screen

    return Screen(patient=patient, width=None if sys.stdout.isatty() else 200)


def leave(code: int) -> NoReturn:
    """Ends the process at once: threads of Beam and gRPC would hold an interrupted one."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def open_streams() -> None:
    """Makes the standard streams usable: closed ones lead nowhere, any encoding takes any text."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    from pipeline.terminal.spelling import SPELLED

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=SPELLED)
