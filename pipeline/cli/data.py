"""The commands about data: ``inkwell check`` and ``inkwell baseline``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.common import DataFormat, console, options_for, tell, user_errors, write_page

if TYPE_CHECKING:
    from components.idx_example_gen.config import DataConfig

_CHECK = """Says what is wrong with data before anything is trained.

Examples:

```
inkwell check --data data/fashion
inkwell check --data data/fashion -o page.html
inkwell check --data data/letters --allow blank --allow leak
```

The exit code is 0 if a run would pass the data gate, else 2.
"""

Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", metavar="NAME", help="A fault that is known, by its name; may be repeated."
    ),
]
Data = Annotated[str, typer.Option(metavar="DIR", help="28x28 grey images and their labels.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands to ``app``."""
    app.command(help=_CHECK)(check)
    app.command()(baseline)


def check(
    data: Data,
    format_: DataFormat = None,
    allow: Allow = None,
    transpose: Annotated[
        bool, typer.Option("--transpose", help="Swap rows and columns, as EMNIST's files need.")
    ] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write a page as well.")
    ] = None,
) -> None:
    with user_errors():
        from pipeline.local.workspace import check_file
        from pipeline.terminal.quiet import output_to
        from pipeline.terminal.screen import say

        config = _config(format_, allow, transpose)
        if output is not None:
            check_file(Path(output), "--output")
        _prepare()
        with output_to(None):
            from components.data_gate.check import check_data
            from components.data_gate.page import page

            verdict = check_data(data, config)
        screen = console()
        for line in verdict.data.said:
            say(screen, line)
        for row in verdict.rows:
            say(screen, f"{'STOPS' if row.stops else 'noted'}  {row.name}: {row.sentence}")
        drift = "" if verdict.baseline else " There is no baseline, so drift was not measured."
        stopping = sum(row.stops for row in verdict.rows)
        noted = len(verdict.rows) - stopping
        say(
            screen,
            f"{len(verdict.checks)} checks: {stopping or 'none'} would stop a run, {noted} noted."
            f"{drift}",
        )
        if output is not None:
            write_page(Path(output), page(verdict, data), open_=False)
    if verdict.stops:
        raise typer.Exit(2)


def baseline(
    data: Data,
    format_: DataFormat = None,
    allow: Allow = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="DIR", help="New directory of links, where --data cannot be written."
        ),
    ] = None,
) -> None:
    """Declares data good: writes the statistics that later data is compared with."""
    with user_errors():
        from pipeline.terminal.quiet import output_to

        config = _config(format_, allow, False)
        _prepare()
        with output_to(None):
            from components.data_gate.baseline import write_baseline

            written = write_baseline(data, config, to)
        tell("\n".join(written))


def _config(format: str | None, allow: list[str] | None, transpose: bool) -> DataConfig:
    from components.idx_example_gen.config import DataConfig
    from core.config import from_dict

    given = {"format": format or "auto", "allow": allow or [], "transpose": transpose}
    with options_for({"data.format": "--format", "data.allow": "--allow"}):
        return from_dict(DataConfig, given, "data")


def _prepare() -> None:
    from pipeline.environment import set_environment

    set_environment()
