"""The commands for Kubeflow Pipelines: compile, submit, schedule; and the options that reach it.

Contract: as ``pipeline.cli.main``: heavy imports inside the commands; a mistake is one sentence and
exit code 2.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pipeline.cli.common import (
    PROFILE_NAMES,
    Command,
    ConfigFile,
    Group,
    Json,
    Overrides,
    console,
    leave,
    print_json,
    tell,
    user_errors,
)

if TYPE_CHECKING:
    from pipeline.kubeflow.access import Endpoint

_COMPILE = """Compiles the pipeline for Kubeflow Pipelines 2.x.

Examples:

```
inkwell compile
inkwell compile -o quick.yaml --profile quick --set gan.epochs=12
inkwell compile --config my.yaml
inkwell compile --images build.json --cluster my-cluster.yaml
inkwell compile --data gs://bucket/fashion
```
"""
_SUBMIT = """Runs the pipeline on a Kubeflow Pipelines cluster.

Examples:

```
inkwell submit --endpoint URL --images build.json --wait -o report.html
inkwell submit --endpoint URL --pipeline pipeline.yaml --wait
inkwell submit --endpoint URL --param "overrides=gan.epochs=8 seed=2"
inkwell submit --endpoint URL --follow RUN_ID
```

The endpoint is KFP's API server, or its web page (http://localhost:8080), which gives verdicts and
the report as well. If KFP requires a login, set INKWELL_KFP_TOKEN or INKWELL_KFP_COOKIES. Inside a
cluster, the pod's service-account token is used. With --wait: exit code 1 if a task failed, 3 if a
model was not pushed.
"""
_SCHEDULE = "Schedules runs on a Kubeflow Pipelines cluster: create, list, remove."
_CREATE = """Runs the pipeline again and again, by cron.

Examples:

```
inkwell schedule create --endpoint URL --images build.json --cron @weekly
inkwell schedule create --endpoint URL --pipeline p.yaml --cron "0 3 * * 1"
inkwell schedule create --endpoint URL --cron @daily --name day --replace
```

Every run reads the data that is there then. It keeps the code and settings it was created with,
until it is created again (--replace); with --newest it takes what was uploaded last, by anyone.
"""
_ROOT_HELP = (
    "Pipeline root: where artifacts go; default for the cluster's own. A Kubeflow for several "
    "users allows private-artifacts/NS/, private/NS/ and shared/ of KFP's bucket."
)

Url = Annotated[
    str,
    typer.Option(
        "--endpoint",
        envvar="INKWELL_KFP_ENDPOINT",
        metavar="URL",
        help="Address of KFP's API server, or of its web page.",
    ),
]
OptionalUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        envvar="INKWELL_KFP_ENDPOINT",
        metavar="URL",
        help="Address of KFP's API server, or of its web page.",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", metavar="NS", help="Of your profile, where KFP has several users."),
]
Ui = Annotated[
    str | None,
    typer.Option(
        "--ui", metavar="URL", help="Address of KFP's web page, for links, verdicts and the report."
    ),
]
CaCert = Annotated[
    str | None, typer.Option("--ca-cert", metavar="FILE", help="CA certificate file.")
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Do not check the server's certificate, and send token and cookies over http:// too.",
    ),
]
_Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="URI", help="Images and labels as pods see them: a path, gs:// or s3://."
    ),
]
_Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="FILE", help="Settings of your cluster, over those of cluster.yaml."
    ),
]
_Images = Annotated[
    str | None,
    typer.Option("--images", metavar="FILE", help="What skaffold build --file-output wrote."),
]
_Package = Annotated[
    str | None,
    typer.Option("--pipeline", metavar="FILE", help="What inkwell compile wrote."),
]
_OptionalProfile = Annotated[
    str | None,
    typer.Option(metavar=PROFILE_NAMES, help="Settings to start from; full by default."),
]
_Param = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Parameter of the run; may be repeated."),
]
_Experiment = Annotated[str, typer.Option(metavar="NAME", help="Experiment that groups the runs.")]
_Root = Annotated[str | None, typer.Option("--pipeline-root", metavar="URI", help=_ROOT_HELP)]

_Account = Annotated[
    str | None,
    typer.Option(
        "--service-account", metavar="NAME", help="Of the pods; that of --cluster if not given."
    ),
]


class Address(NamedTuple):
    """The options that reach a server."""

    url: str
    ui: str | None
    namespace: str | None
    ca_cert: str | None
    insecure: bool

    def endpoint(self) -> Endpoint:
        from pipeline.kubeflow.access import Endpoint

        return Endpoint(*self)


class _Sources(NamedTuple):
    """The options that name a package, or say what to compile."""

    package: str | None
    profile: str | None
    config_file: Path | None
    data: str | None
    set_: Sequence[str] | None
    cluster: str | None
    images: str | None

    def check(self, follow: str | None = None) -> None:
        """Raises ``InputError`` if there is both a package or a run, and something to compile."""
        from core.config import require

        require(
            not (self.package or follow) or not any(self[1:]),
            "--profile, --config, --data, --set, --cluster and --images are for compiling; leave "
            "them out where there is a package (--pipeline) or a run (--follow) already.",
        )

    @contextlib.contextmanager
    def as_package(self) -> Iterator[Path]:
        """The package, compiled if there is none."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(self.package or f"{folder}/pipeline.yaml")
            if self.package is None:
                from pipeline.kubeflow.compiler import compile_options

                made = compile_options(
                    *(path, self.profile, self.config_file, self.data, self.set_ or []),
                    *(self.cluster, self.images),
                )
                tell("\n".join(made).replace(f"{path}: ", "Compiled: "))
            yield path


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(help=_COMPILE)(compile)
    app.command(help=_SUBMIT)(submit)
    group = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode="markdown")
    group.command(name="create", cls=Command, help=_CREATE)(create)
    group.command(name="list", cls=Command)(list_)
    group.command(name="remove", cls=Command)(remove)
    app.add_typer(group, name="schedule", help=_SCHEDULE)


def compile(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="YAML file to write.")
    ] = "pipeline.yaml",
    profile: _OptionalProfile = None,
    config_file: ConfigFile = None,
    data: _Data = None,
    set_: Overrides = None,
    cluster: _Cluster = None,
    images: _Images = None,
) -> None:
    with user_errors():
        from pipeline.kubeflow.compiler import compile_options

        notes = compile_options(
            *(Path(output), profile, config_file, data, set_ or [], cluster, images)
        )
        tell("\n".join(notes))


def submit(
    endpoint: Url,
    package: _Package = None,
    profile: _OptionalProfile = None,
    config_file: ConfigFile = None,
    data: _Data = None,
    set_: Overrides = None,
    cluster: _Cluster = None,
    images: _Images = None,
    param: _Param = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    follow: Annotated[
        str | None, typer.Option(metavar="RUN_ID", help="Follow this run; submit nothing.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to write the report of a followed run."
        ),
    ] = None,
    experiment: _Experiment = "inkwell",
    run_name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the run.")] = None,
    pipeline_root: _Root = None,
    service_account: _Account = None,
    namespace: Namespace = None,
    ui: Ui = None,
    ca_cert: CaCert = None,
    insecure: Insecure = False,
) -> None:
    with user_errors():
        from core.config import require
        from pipeline.kubeflow import access
        from pipeline.kubeflow import client as kfp

        sources = _Sources(package, profile, config_file, data, set_, cluster, images)
        sources.check(follow)
        address = Address(endpoint, ui, namespace, ca_cert, insecure).endpoint()
        parameters = kfp.parse_parameters(param or [])
        page = Path(output) if output is not None else None
        if page is not None:
            from pipeline.kubeflow.following import check_page

            words = "--output is for the report of a run that is followed; add --wait."
            require(wait or follow is not None, words)
            check_page(page)
        if follow is not None:
            run_id, client = follow, access.connect(address)
        else:
            with sources.as_package() as path:
                job = kfp.read_job(path, parameters, pipeline_root, service_account)
                client = access.connect(address, needs_namespace=True)
                run_id, notes = kfp.submit(client, address, job, experiment, run_name)
            tell("\n".join([*notes, f"Run {run_id}:", address.link(run_id)]))
        if wait or follow:
            from pipeline.kubeflow.following import follow as follow_run

            leave(follow_run(client, address, run_id, console(), page))


def create(
    endpoint: Url,
    cron: Annotated[
        str,
        typer.Option(
            metavar="CRON", help="Minute, hour, day, month, weekday; or @daily, @weekly, @monthly."
        ),
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the schedule.")] = "inkwell",
    newest: Annotated[
        bool,
        typer.Option("--newest", help="Each run takes the version uploaded last, not this one."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the schedule of this name.")
    ] = False,
    package: _Package = None,
    profile: _OptionalProfile = None,
    config_file: ConfigFile = None,
    data: _Data = None,
    set_: Overrides = None,
    cluster: _Cluster = None,
    images: _Images = None,
    param: _Param = None,
    experiment: _Experiment = "inkwell",
    pipeline_root: _Root = None,
    service_account: _Account = None,
    namespace: Namespace = None,
    ui: Ui = None,
    ca_cert: CaCert = None,
    insecure: Insecure = False,
) -> None:
    with user_errors():
        from pipeline.kubeflow import access, schedule
        from pipeline.kubeflow import client as kfp

        sources = _Sources(package, profile, config_file, data, set_, cluster, images)
        sources.check()
        when = schedule.kfp_cron(cron)
        schedule.check_name(name)
        address = Address(endpoint, ui, namespace, ca_cert, insecure).endpoint()
        parameters = kfp.parse_parameters(param or [])
        with sources.as_package() as path:
            job = kfp.read_job(path, parameters, pipeline_root, service_account)
            client = access.connect(address, needs_namespace=True)
            schedule_id, notes = schedule.create(
                client, address, job, name, when, newest, replace, experiment
            )
        tell("\n".join([*notes, f"Schedule {name} ({schedule_id}) runs at {cron}."]))


def list_(
    endpoint: Url,
    namespace: Namespace = None,
    ui: Ui = None,
    ca_cert: CaCert = None,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Lists the schedules: name, cron (seconds first), version, pipeline root, id."""
    with user_errors():
        from pipeline.kubeflow import access, schedule
        from pipeline.terminal.tables import FittingTable

        address = Address(endpoint, ui, namespace, ca_cert, insecure).endpoint()
        found = schedule.schedules(access.connect(address, needs_namespace=True), address)
        if as_json:
            print_json([vars(one) for one in found])
        elif found:
            states = {True: "on", False: "off"}
            rows = [
                [s.name, s.cron, s.version, s.root or "cluster's own", states[s.is_on], s.id]
                for s in found
            ]
            titles = ("schedule", "cron", "version", "pipeline root", "state", "id")
            console().print(FittingTable(titles, rows, spare=("pipeline root", "version")))
        else:
            tell("There are no schedules; create one with: inkwell schedule create")


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the schedule.")],
    endpoint: Url,
    namespace: Namespace = None,
    ui: Ui = None,
    ca_cert: CaCert = None,
    insecure: Insecure = False,
) -> None:
    """Removes a schedule; runs that it has started go on."""
    with user_errors():
        from pipeline.kubeflow import access, schedule

        address = Address(endpoint, ui, namespace, ca_cert, insecure).endpoint()
        removed = schedule.remove(access.connect(address, needs_namespace=True), address, name)
        tell(f"Removed the schedule {name} ({removed}).")


def save_report(address: Address, run_id: str, output: str) -> str:
    """Fetches the report's page of a run; returns the path of the file."""
    from pipeline.kubeflow import access
    from pipeline.kubeflow.following import check_page, save_report

    endpoint = address.endpoint()
    check_page(Path(output))
    save_report(access.connect(endpoint), endpoint, run_id, Path(output))
    return output
