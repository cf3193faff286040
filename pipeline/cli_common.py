"""What the modules of the command line share."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """A user's mistake is one sentence and exit code 2."""
    from serving.errors import ServingError
    from trainer_modules.common.config import InputError

    try:
        yield
    except (InputError, ServingError) as error:
        typer.echo(f"inkwell: {error}", err=True)
        raise typer.Exit(2) from None


def console() -> Console:
    """A console that never cuts what it is piped."""
    from pipeline.progress import Screen

    return Screen() if sys.stdout.isatty() else Screen(width=200)


def leave(code: int) -> None:
    """Ends the process at once: threads of Beam and gRPC would hold an interrupted one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
