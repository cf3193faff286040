"""Command-line code shared by the measurements."""

import argparse
import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from benchmarks import tables
from core.config import InputError
from pipeline.profiles import profile_names

P = ParamSpec("P")


def parser(doc: str, profile: str = "quick") -> argparse.ArgumentParser:
    """Parses the options for ``pipeline.config.load_config``; ``doc`` begins with a title."""
    found = argparse.ArgumentParser(description=doc.partition("\n")[0])
    found.add_argument("--profile", default=profile, choices=profile_names())
    found.add_argument("--data", help="directory of IDX files")
    found.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return found


def caption(options: argparse.Namespace) -> str:
    """The machine, the day, the profile and its changed settings, above a table."""
    return f"{tables.machine()}; profile {options.profile} {' '.join(options.set)}".rstrip()


def mistakes_exit(name: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Wraps ``main`` to print a user's mistake in one sentence and return 2."""

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def run(*arguments: P.args, **named: P.kwargs) -> int:
            try:
                return main(*arguments, **named)
            except InputError as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 2

        return run

    return decorate
