"""The command line: ``inkwell run`` and others, and those of the modules beside this one.

Contract: heavy imports happen inside the commands, so ``--help`` answers at once. Exit codes: 0
all models approved and pushed, 1 a node crashed, 2 the user's mistake (one sentence, no stack
trace), 3 a model was not approved, or its pushed version is gone or damaged at the end, 130
interrupted.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import data as data_commands
from pipeline.cli import demo, evaluate, kubeflow, runs, serving
from pipeline.cli.common import (
    EXIT_CODES,
    OUTPUT,
    SERVING,
    Command,
    ConfigFile,
    DataFormat,
    Group,
    Open,
    OptionalProfile,
    Output,
    Overrides,
    Quiet,
    Serving,
    complain,
    console,
    group_commands,
    leave,
    open_page,
    open_streams,
    options_for,
    print_path,
    tell,
    user_errors,
)

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import RunConfig
    from pipeline.results import RunResult

app = typer.Typer(
    cls=Group,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Trains, judges, gates and pushes generative models of handwritten digits.",
    epilog=EXIT_CODES,
)
# The commands by what they are about, in the order of the help.
_GROUPS = {
    "Train and evaluate": ("run", "attach", "evaluate", "check", "baseline", "schema"),
    "Past runs": ("runs", "show", "diff", "report", "tensorboard", "gc", "doctor"),
    "Versions of models": ("models", "lineage", "promote", "rollback", "canary"),
    "Serve and try": ("demo", "serve", "generate", "predict"),
    "Kubeflow Pipelines": ("compile", "submit", "schedule"),
}

_EXAMPLES = """Runs the pipeline: trains and evaluates models and pushes the approved ones.

Examples:

```
inkwell run
inkwell run --profile smoke --output outputs/try
inkwell run --data data/fashion --set gan.epochs=12 --set seed=7
inkwell run --config my.yaml
inkwell run --from-node evaluate-gan
inkwell run --mlflow http://localhost:5000
inkwell run --dry-run
```

my.yaml holds settings as --dry-run prints them, and may begin with `extends: quick`, the profile
over which they are laid.
"""
_REPORT = """Prints the path of the newest report, or fetches that of a run on a cluster.

Examples:

```
inkwell report --open
inkwell report --run RUN_ID --endpoint http://localhost:8080 -o report.html
```
"""
_SCHEMA = """Prints the JSON Schema of a profile, or of a file for --cluster.

Examples:

```
inkwell schema profile > profile.json
inkwell schema cluster > cluster.json
```

An editor completes and checks settings by it: VS Code, with its YAML extension, where a file begins
with `# yaml-language-server: $schema=profile.json`.
"""


def main() -> None:
    """Console script ``inkwell``."""
    # There are none, and looking for them reads the metadata of every package there is.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    open_streams()
    if sys.flags.optimize > 1 and os.environ.pop("PYTHONOPTIMIZE", ""):
        # TFX builds components from docstrings, which that takes away.
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this program itself
    app()


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from importlib import metadata

        try:
            typer.echo(f"inkwell {metadata.version('inkwell')}")
        except metadata.PackageNotFoundError:
            typer.echo("inkwell, run from a checkout that is not installed")
        raise typer.Exit()


def _nodes() -> list[str]:
    from pipeline.plan import NODES

    return list(NODES)


@app.command(help=_EXAMPLES)
def run(
    profile: OptionalProfile = None,
    config_file: ConfigFile = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="28x28 grey images and their labels.")
    ] = None,
    format_: DataFormat = None,
    set_: Overrides = None,
    output: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where runs keep their files.")
    ] = None,
    from_node: Annotated[
        str | None,
        typer.Option(
            metavar="NODE",
            help="Run this node, of those that --dry-run lists, and all after it, even if cached.",
            autocompletion=_nodes,
        ),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(metavar="URI", help="MLflow server or directory to log the run to."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings and the nodes, then exit.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it and exit; inkwell attach follows it.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    with user_errors():
        from pipeline.config import check_gates, load_config, run_arguments
        from pipeline.plan import check_node

        options = {
            "output_dir": ("--output", output),
            "data.format": ("--format", format_),
            "mlflow": ("--mlflow", mlflow),
        }
        given = {setting: option for setting, option in options.items() if option[1] is not None}
        overrides = list(set_ or [])
        overrides += [f"{setting}={json.dumps(value)}" for setting, (_, value) in given.items()]
        names = {setting: name for setting, (name, _) in given.items()}
        if data is not None:
            names["data_dir"] = "--data"
        with options_for(names):
            config = load_config(profile, data, overrides, config_file)
        check_gates(config)
        if from_node is not None:
            check_node(from_node)
        if dry_run:
            _print_plan(config)
            return
        screen = console(patient=True)  # nothing of a terminal ends a run
        screen.quiet = quiet
        if config.mlflow:
            from pipeline.local import tracking

            tracking.check(config.mlflow)
        _check_data(config, screen)
        if detach:
            from pipeline.local import detached

            arguments = run_arguments(profile, config_file, data, overrides, from_node)
            run_id = detached.start(config, arguments)
            if quiet:
                typer.echo(run_id)
                return
            from pipeline.terminal.screen import say

            folder = shlex.quote(config.output_dir)
            say(screen, f"Run {run_id} goes on without this terminal. Follow it with:")
            say(screen, f"inkwell attach {run_id} --output {folder}")
            return
        code = _run_here(config, from_node, quiet, screen)
    leave(code)


def _check_data(config: RunConfig, screen: Console) -> None:
    """Reads the data and looks at the disk before anything starts; says what was found."""
    from components.idx_example_gen.data import read_data
    from pipeline.local.space import check_space
    from pipeline.local.workspace import absolute, check_places
    from pipeline.terminal.screen import say

    found = read_data(absolute(config).data_dir, config.data)
    check_places(absolute(config))
    for line in found.said:
        say(screen, line)
    counts = [len(found.splits[split].labels) for split in ("train", "test")]
    say(
        screen,
        f"Profile {config.profile}, {counts[0]} + {counts[1]} images "
        f"in {config.data_dir}. Starting TFX takes some ten seconds.",
    )
    say(screen, check_space(Path(absolute(config).output_dir), sum(counts)))


def _run_here(config: RunConfig, from_node: str | None, quiet: bool, screen: Console) -> int:
    """Runs the pipeline in this process; returns the exit code."""
    from pipeline.local.runner import StartError
    from pipeline.local.runner import run as run_locally
    from pipeline.results import CRASHED, INTERRUPTED
    from pipeline.terminal.tables import end_sentence, next_steps, print_summary

    try:
        result = run_locally(config, from_node, quiet=quiet)
    except StartError as error:
        complain(error)
        leave(CRASHED)
    except KeyboardInterrupt:
        complain("Interrupted while no node was running. Run the same command again to go on.")
        leave(INTERRUPTED)
    if config.mlflow:
        _track(config, result, quiet)
    if quiet:
        tell(end_sentence(result))
        typer.echo(result.report or result.log)
    else:
        print_summary(result, screen, next_steps(result, config.output_dir, config.serving_dir))
    return result.exit_code


def _track(config: RunConfig, result: RunResult, quiet: bool) -> None:
    """Logs a run that has ended to MLflow; what goes wrong there is a warning."""
    from pipeline.local import tracking

    record = Path(config.output_dir) / result.profile / "runs" / f"{result.run_id}.json"
    is_logged, words = tracking.log_run(record, config.mlflow)
    if not is_logged:
        complain(words)
    elif not quiet:
        tell(words)


@app.command()
def attach(
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Its id; the newest by default.")
    ] = None,
    output: Output = OUTPUT,
) -> None:
    """Follows a run that was started with --detach, and ends with its exit code."""
    with user_errors():
        from pipeline.local import detached
        from pipeline.results import INTERRUPTED

        base = detached.find(Path(output), run_id)
        try:
            for piece in detached.follow(base):
                typer.echo(piece, nl=False)
        except KeyboardInterrupt:
            complain(f"Run {base.name} goes on; follow it again with the same command.")
            leave(INTERRUPTED)
        code = detached.exit_code(base)
    leave(code)


@app.command(help=_REPORT)
def report(
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Where runs keep their files; with --run, the page to write: report.html.",
        ),
    ] = None,
    open_: Open = False,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="RUN_ID", help="Of a run on a cluster.")
    ] = None,
    endpoint: kubeflow.OptionalUrl = None,
    namespace: kubeflow.Namespace = None,
    ui: kubeflow.Ui = None,
    ca_cert: kubeflow.CaCert = None,
    insecure: kubeflow.Insecure = False,
) -> None:
    with user_errors():
        from core.config import InputError

        if run_id is None:
            path = _newest_report(output or OUTPUT)
        else:
            if endpoint is None:
                raise InputError("A run on a cluster (--run) needs its --endpoint.")
            address = kubeflow.Address(endpoint, ui, namespace, ca_cert, insecure)
            path = kubeflow.save_report(address, run_id, output or "report.html")
        print_path(path)
        if open_:
            open_page(path)


@app.command()
def doctor(
    output: Output = OUTPUT,
    serving_dir: Serving = SERVING,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged files aside, bring back sound copies.")
    ] = False,
) -> None:
    """Looks for damage in what runs have kept: metadata, records, artifacts, served models."""
    with user_errors():
        from pipeline.local.doctor import examine
        from pipeline.local.workspace import check_exists
        from pipeline.terminal.screen import say

        check_exists(output, "", "the one of the runs with --output")
        sound = True
        for is_sound, words in examine(Path(output), serving_dir, repair):
            sound = sound and is_sound
            say(console(), words)
    if not sound:
        raise typer.Exit(2)


@app.command(help=_SCHEMA)
def schema(
    of: Annotated[
        str, typer.Argument(metavar="profile|cluster", help="What the schema describes.")
    ],
) -> None:
    with user_errors():
        from core.config import require
        from pipeline.schema import SCHEMAS

        require(of in SCHEMAS, f"There is a schema of {' and of '.join(SCHEMAS)}, not of {of}.")
        typer.echo(json.dumps(SCHEMAS[of](), indent=2, ensure_ascii=False))


def _print_plan(config: RunConfig) -> None:
    import dataclasses

    import yaml

    from pipeline.plan import NODES

    typer.echo(yaml.safe_dump(dataclasses.asdict(config), sort_keys=False), nl=False)
    typer.echo("\nnodes, each with what it needs:")
    for node_id, needs in NODES.items():
        typer.echo(f"  {node_id}" + (f"  <-  {', '.join(needs)}" if needs else ""))


def _newest_report(output: str) -> str:
    from core.config import require
    from pipeline.local.workspace import spelled_out

    found = [result.report for result in runs.load(output)]
    found = [path for path in found if path and Path(path).is_file()]
    where = spelled_out(output)
    require(bool(found), f"There is no report in {where}; make one with: inkwell run")
    return found[-1]


runs.add_to(app)
data_commands.add_to(app)
kubeflow.add_to(app)
evaluate.add_to(app)
serving.add_to(app)
demo.add_to(app)
for _registered in app.registered_commands:
    _registered.cls = Command
group_commands(app, _GROUPS)

if __name__ == "__main__":
    main()
