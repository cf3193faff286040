"""Code shared by the modules of the command line."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from pipeline.profiles import DEFAULT_PROFILE, profile_names

if TYPE_CHECKING:
    from rich.console import Console


PROFILE_NAMES = "|".join(profile_names())
OptionalProfile = Annotated[
    str | None,
    typer.Option(
        metavar=PROFILE_NAMES,
        help=f"Settings to start from; {DEFAULT_PROFILE} by default.",
        autocompletion=profile_names,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings of your own, in YAML."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting that run --dry-run lists; may be repeated.",
    ),
]
DataFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Of the files in --data: idx, npz, parquet, csv or folders; by default (auto), what "
        "is there.",
    ),
]


def _not_empty(path: str) -> str:
    if not path.strip():
        raise typer.BadParameter(f"a path that is not empty is needed, not {path!r}")
    return path


Output = Annotated[
    str, typer.Option(metavar="DIR", help="Where runs keep their files.", callback=_not_empty)
]
OUTPUT = "outputs"
Serving = Annotated[
    Path, typer.Option("--serving", metavar="DIR", help="Directory of the pushed versions.")
]
SERVING = Path("serving_models")
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the result alone, without progress.")
]
Page = Annotated[
    Path | None, typer.Option("--page", "-o", metavar="FILE", help="Write it as a page.")
]
Open = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


EXIT_CODES = """Exit codes:

- 0: done; every model is approved and pushed
- 1: a node or a server failed
- 2: a mistake in what was given
- 3: a model was not approved, or is not whole in serving
- 130: interrupted
"""
PROGRAM = "inkwell"
_INTERRUPTED = 130
# What others call a command, or would type for it.
_MEANT = {
    **dict.fromkeys(("train", "start", "fit"), "run"),
    **dict.fromkeys(("list", "ls", "history"), "runs"),
    **dict.fromkeys(("info", "log", "logs", "status", "describe"), "show"),
    **dict.fromkeys(("clean", "prune", "rm", "delete"), "gc"),
    **dict.fromkeys(("sample", "draw"), "generate"),
    **dict.fromkeys(("validate",), "check"),
    **dict.fromkeys(("playground", "ui"), "serve --playground"),
    **dict.fromkeys(("help",), "--help"),
    **dict.fromkeys(("compare",), "diff"),
    **dict.fromkeys(("eval", "test"), "evaluate"),
}


class _PlainHelp:
    """A command whose help shows our names of values instead of Python's types and ranges."""

    def get_params(self, ctx):
        params = super().get_params(ctx)
        for param in params:
            param.display_type_rich = functools.partial(_words_for_value, param)
            param._get_number_range_help_str = str  # an error names the bound: [1<=x<=2147483647]
        return params


class Command(_PlainHelp, TyperCommand):
    """A command with plain help."""


class Group(_PlainHelp, TyperGroup):
    """The command line itself, with plain help; a mistake in a command is one sentence."""

    def parse_args(self, ctx, args):
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx, args):
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            from core.config import suggest

            names = list(self.commands)
            meant = _MEANT.get(word.lower())
            hint = f" (did you mean {meant}?)" if meant else suggest(word, names)
            ctx.fail(f"There is no command {word}{hint}; the commands are {', '.join(names)}")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs the command; ends the process with its exit code, whatever the mode."""
        try:
            name = prog_name or PROGRAM
            code = super().main(args, name, complete_var, False, windows_expand_args, **extra)
        except TyperException as error:
            complain(_sentence(error))
            code = error.exit_code
        if code == _INTERRUPTED:
            complain("Interrupted.")
        sys.exit(code or 0)


def _sentence(error: TyperException) -> str:
    """What is wrong with a command, and how to get it right."""
    words, ctx = error.format_message().rstrip("."), getattr(error, "ctx", None)
    if found := re.fullmatch(r"Option '(\S+)' requires an argument", words):
        words = f"{found[1]} needs a value"
    if ctx is None:
        return f"{words}; see: {PROGRAM} --help"
    names = [name for param in ctx.command.params for name in param.opts if name.startswith("-")]
    if found := re.match(r"No such option: (\S+)", words):
        from core.config import suggest

        words = f"There is no option {found[1]}{suggest(found[1], names)}"
    elif found := re.search(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", words):
        words = f"{ctx.command_path} does not take {found[1]}"
        word = found[1].split(" ")[0]
        for option, is_meant in (("--set", "=" in word), ("--profile", word in profile_names())):
            if is_meant and option in names:
                return f"{words}; this is given with {option}, as in {option} {word}"
    elif isinstance(error, typer.BadParameter) and isinstance(error.__cause__, ValueError):
        words = _wrong_value(error.param, error.__cause__) or words
    return f"{words}; see: {ctx.command_path} --help"


def _wrong_value(param: Any, mistake: Any) -> str:
    """What pydantic found wrong with a value, in our words; empty if there are none for it."""
    found = mistake.errors()[0]
    bounds = found.get("ctx") or {}
    allowed = {
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
        "int_parsing_size": "a smaller number",
        "greater_than_equal": f"at least {bounds.get('ge')}",
        "less_than_equal": f"at most {bounds.get('le')}",
    }.get(found["type"])
    name = max(param.opts, key=len) if isinstance(param, TyperOption) else param.metavar
    return f"{name} must be {allowed}, not {found['input']}" if allowed else ""


def _words_for_value(param, ctx) -> str:
    """The text after an option's name; empty for a flag or an argument."""
    if not isinstance(param, TyperOption) or param.is_flag:
        return ""
    return param.metavar or param.name.upper()


def model_names() -> list[str]:
    """Names of the models, for completion."""
    from core.models import MODELS

    return list(MODELS)


def run_ids(ctx: typer.Context) -> list[str]:
    """Ids of the runs, for completion, and what names the newest."""
    records = Path(ctx.params.get("output") or OUTPUT).glob("*/runs/*.json")
    return [*sorted((path.stem for path in records), reverse=True), "newest"]


def write_page(path: Path, content: str, open_: bool) -> None:
    """Writes a page and prints its path.

    Args:
        path: Of the file.
        content: HTML or SVG.
        open_: Whether to open it in the browser.

    Raises:
        InputError: The file cannot be written, or no browser can be started.
    """
    from core.config import InputError
    from core.files import write_whole

    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}).") from None
    print_path(path)
    if open_:
        open_page(path)


def print_path(path: str | Path) -> None:
    """Prints a path, to a script as it is."""
    (tell if sys.stdout.isatty() else typer.echo)(str(path))


def open_page(path: str | Path) -> None:
    """Opens a page in the browser; raises ``InputError`` if none can be started."""
    import webbrowser

    if not webbrowser.open(f"file://{os.path.abspath(path)}"):
        from core.config import InputError

        raise InputError(f"No browser could be started; open {path} in one yourself.")


def print_json(value: object) -> None:
    """Prints one JSON value; paths become text."""
    import json

    typer.echo(json.dumps(value, indent=1, default=str, ensure_ascii=False))


def group_commands(app: typer.Typer, groups: Mapping[str, Sequence[str]]) -> None:
    """Puts the commands of ``app`` into the groups of its help, in the order of these."""
    places = {name: (i, title) for i, (title, names) in enumerate(groups.items()) for name in names}

    def name_of(registered) -> str:
        return registered.name or registered.callback.__name__

    for registered in (*app.registered_commands, *app.registered_groups):
        registered.rich_help_panel = places[name_of(registered)][1]
    order = [name for names in groups.values() for name in names]
    app.registered_commands.sort(key=lambda registered: order.index(name_of(registered)))


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
def options_for(settings: Mapping[str, str]) -> Iterator[None]:
    """Lets a mistake name the option that was given, not the setting behind it.

    Args:
        settings: Option by setting.
    """
    from core.config import InputError

    names = "|".join(map(re.escape, settings))
    try:
        yield
    except InputError as error:
        found = rf"^({names})(?:\[\d+\])? must be (?:null or )?"
        words = re.sub(found, lambda m: f"{settings[m[1]]} must be ", str(error), flags=re.M)
        raise InputError(words) from None


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
