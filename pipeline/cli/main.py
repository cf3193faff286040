"""The command line: ``inkwell run``, ``compile``, ``submit``, and those of ``cli_*``.

Contract: heavy imports happen inside the commands, so ``--help`` answers at once. Exit codes: 0
all models approved and pushed, 1 a node crashed, 2 the user's mistake (one sentence, no stack
trace), 3 a model was not approved, or its pushed version is gone or damaged at the end, 130
interrupted.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import evaluate, serving
from pipeline.cli.common import (
    OUTPUT,
    PROFILE_NAMES,
    Command,
    Group,
    Output,
    Overrides,
    complain,
    console,
    leave,
    user_errors,
)

if TYPE_CHECKING:
    from pipeline.config import RunConfig
    from pipeline.results import RunResult

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Trains, judges, gates and pushes generative models of handwritten digits.",
)

_EXAMPLES = """Runs the pipeline: trains and evaluates models and pushes the approved ones.

Examples:

```
inkwell run
inkwell run --profile smoke --output outputs/try
inkwell run --data data/fashion --set gan.epochs=12 --set seed=7
inkwell run --from-node evaluate-gan
inkwell run --dry-run
```
"""
_COMPILE_EXAMPLES = """Compiles the pipeline for Kubeflow Pipelines 2.x.

Examples:

```
inkwell compile
inkwell compile -o quick.yaml --profile quick --set gan.epochs=12
inkwell compile --images build.json --cluster my-cluster.yaml
inkwell compile --data gs://bucket/fashion
```
"""
_SUBMIT_EXAMPLES = """Runs the pipeline on a Kubeflow Pipelines cluster.

Examples:

```
inkwell submit --endpoint http://localhost:8888 --images build.json --wait
inkwell submit --endpoint URL --pipeline pipeline.yaml --wait
inkwell submit --endpoint URL --param "overrides=gan.epochs=8 seed=2"
inkwell submit --endpoint URL --follow RUN_ID
```

If KFP requires a login, set INKWELL_KFP_TOKEN or INKWELL_KFP_COOKIES. Inside a cluster, the
pod's service-account token is used.
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
_ProfileOption = Annotated[str, typer.Option(metavar=PROFILE_NAMES, help="Settings to start from.")]
_ClusterDataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="URI", help="Four IDX files as pods see them: a path, or gs://."
    ),
]
_ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", metavar="FILE", help="Settings over pipeline/kubeflow/cluster.yaml."),
]
_ImagesOption = Annotated[
    str | None,
    typer.Option("--images", metavar="FILE", help="What skaffold build --file-output wrote."),
]


def main() -> None:
    """Console script ``inkwell``."""
    # There are none, and looking for them reads the metadata of every package there is.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
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


@app.command(help=_EXAMPLES)
def run(
    profile: _ProfileOption = "quick",
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Four IDX files, named as MNIST's.")
    ] = None,
    set_: Overrides = None,
    output: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where runs keep their files.")
    ] = None,
    from_node: Annotated[
        str | None,
        typer.Option(metavar="NODE", help="Run this node and all after it, even if cached."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings and the nodes, then exit.")
    ] = False,
) -> None:
    with user_errors():
        from pipeline.config import check_gates, load_config
        from pipeline.plan import check_node

        overrides = list(set_ or [])
        if output is not None:
            overrides.append(f"output_dir={json.dumps(output)}")
        config = load_config(profile, data, overrides)
        check_gates(config)
        if from_node is not None:
            check_node(from_node)
        if dry_run:
            _print_plan(config)
            return
        from components.idx_example_gen.idx import count_images
        from pipeline.local.workspace import absolute
        from pipeline.terminal.screen import say

        counts = count_images(absolute(config).data_dir)
        screen = console()
        limit = config.data.max_images
        part = f", the first {limit} of each file" if limit else ""
        say(
            screen,
            f"Profile {config.profile}, {counts['train']} + {counts['test']} images "
            f"in {config.data_dir}{part}. Starting TFX takes some ten seconds.",
        )
        from pipeline.local.runner import StartError
        from pipeline.local.runner import run as run_locally
        from pipeline.results import CRASHED, INTERRUPTED
        from pipeline.terminal.tables import next_steps, print_summary

        try:
            result = run_locally(config, from_node)
        except StartError as error:
            complain(error)
            leave(CRASHED)
        except KeyboardInterrupt:
            complain("Interrupted while no node was running. Run the same command again to go on.")
            leave(INTERRUPTED)
        print_summary(result, screen, next_steps(result, config.output_dir, config.serving_dir))
    leave(result.exit_code)


@app.command(help=_COMPILE_EXAMPLES)
def compile(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="YAML file to write.")
    ] = "pipeline.yaml",
    profile: _ProfileOption = "full",
    data: _ClusterDataOption = None,
    set_: Overrides = None,
    cluster: _ClusterOption = None,
    images: _ImagesOption = None,
) -> None:
    with user_errors():
        from pipeline.kubeflow.compiler import compile_options

        notes = compile_options(Path(output), profile, data, set_ or [], cluster, images)
        typer.echo("\n".join(notes))


@app.command(help=_SUBMIT_EXAMPLES)
def submit(
    endpoint: Annotated[
        str,
        typer.Option(
            envvar="INKWELL_KFP_ENDPOINT", metavar="URL", help="Address of KFP's API server."
        ),
    ],
    package: Annotated[
        str | None,
        typer.Option("--pipeline", metavar="FILE", help="What inkwell compile wrote."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar=PROFILE_NAMES, help="Profile to compile; full if not given."),
    ] = None,
    data: _ClusterDataOption = None,
    set_: Overrides = None,
    cluster: _ClusterOption = None,
    images: _ImagesOption = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Parameter of the run; may be repeated."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    follow: Annotated[
        str | None, typer.Option(metavar="RUN_ID", help="Follow this run; submit nothing.")
    ] = None,
    experiment: Annotated[
        str, typer.Option(metavar="NAME", help="Experiment that groups the runs.")
    ] = "inkwell",
    run_name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the run.")] = None,
    pipeline_root: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Pipeline root: where this run's artifacts go."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NS", help="Namespace, for multi-user KFP.")
    ] = None,
    ui: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of KFP's web page, for the link.")
    ] = None,
    ca_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="CA certificate file.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Do not check the server's certificate.")
    ] = False,
) -> None:
    with user_errors():
        from core.config import require
        from pipeline.kubeflow import client as kfp

        options = [profile, data, set_, cluster, images]
        require(
            not (package or follow) or not any(options),
            "--profile, --data, --set, --cluster and --images are for compiling; leave them out "
            "where there is a package (--pipeline) or a run (--follow) already.",
        )
        address = kfp.Endpoint(endpoint, ui, namespace, ca_cert, insecure)
        parameters = kfp.parse_parameters(param or [])
        client = kfp.connect(address)
        run_id = follow
        if run_id is None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(package or f"{folder}/pipeline.yaml")
                if package is None:
                    from pipeline.kubeflow.compiler import compile_options

                    made = compile_options(
                        path, profile or "full", data, set_ or [], cluster, images
                    )
                    typer.echo("\n".join(made).replace(f"{path}: ", "Compiled: "))
                run_id, notes = kfp.submit(
                    client, address, path, parameters, experiment, run_name, pipeline_root
                )
            typer.echo("\n".join([*notes, f"Run {run_id}:", address.link(run_id)]))
        if wait or follow:
            from pipeline.kubeflow.following import follow as follow_run

            leave(follow_run(client, address, run_id, console()))


@app.command()
def report(
    output: Output = OUTPUT,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Prints the path of the newest report."""
    with user_errors():
        from core.config import InputError, require
        from pipeline.local.workspace import spelled_out

        found = [result.report for result in _results(output)]
        found = [path for path in found if path and Path(path).is_file()]
        where = spelled_out(output)
        require(bool(found), f"There is no report in {where}; make one with: inkwell run")
        typer.echo(found[-1])
        if open_:
            import webbrowser

            if not webbrowser.open(f"file://{found[-1]}"):
                raise InputError(f"No browser could be started; open {found[-1]} in one yourself.")


@app.command()
def runs(output: Output = OUTPUT) -> None:
    """Lists the runs, the newest last."""
    with user_errors():
        from pipeline.local.workspace import spelled_out
        from pipeline.terminal.screen import say
        from pipeline.terminal.tables import runs_table

        if results := _results(output):
            console().print(runs_table(results))
        else:
            where = spelled_out(output)
            say(console(), f"There are no runs in {where} yet; start one with: inkwell run")


@app.command()
def baseline(
    data: Annotated[str, typer.Option(metavar="DIR", help="Four IDX files, named as MNIST's.")],
) -> None:
    """Declares data good: writes the statistics that later data is compared with."""
    with user_errors():
        from pipeline.environment import set_environment
        from pipeline.terminal.quiet import output_to

        set_environment()
        with output_to(Path(os.devnull)):
            from components.data_gate.baseline import write_baseline

            written = write_baseline(data)
        typer.echo("\n".join(written))


@app.command(help=_SCHEMA)
def schema(of: Annotated[str, typer.Argument(metavar="profile|cluster")]) -> None:
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


def _results(output: str) -> list[RunResult]:
    from pipeline.local.workspace import check_exists
    from pipeline.results import load_results

    check_exists(output, OUTPUT, "the one of the runs with --output")
    return load_results(Path(output))


evaluate.add_to(app)
serving.add_to(app)
for _registered in app.registered_commands:
    _registered.cls = Command

if __name__ == "__main__":
    main()
