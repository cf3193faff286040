"""The commands for served models: serve, models, promote, rollback; adds the client's as well.

Contract: as ``pipeline.cli.main``: heavy imports inside the commands; a mistake is one sentence and
exit code 2.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import client
from pipeline.cli.client import (
    INT32_MAX,
    SERVER,
    Model,
    Server,
    TlsCa,
    TokenFile,
    Wait,
    server_of,
)
from pipeline.cli.common import (
    SERVING,
    Json,
    Serving,
    console,
    file_errors,
    leave,
    print_json,
    tell,
    user_errors,
)
from serving.model_server.bounds import BOUNDS

_TokenFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File with a token that every client must send.")
]
_TlsCert = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Certificate (PEM) to encrypt every port with.")
]
_TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", help="Key of the certificate (PEM).")]
_AllowedHost = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="Comma-separated names of this computer that pages and REST clients may use, besides "
        "localhost and addresses.",
    ),
]
_MOST_MIB = 2047  # a gRPC message is smaller than 2 GiB
_SERVE = """Serves the pushed models until Ctrl-C.

Examples:

```
inkwell serve --playground
inkwell serve --models gan,diffusion --serving outputs/try/models
inkwell serve --port 0 --rest-port 0
inkwell serve --token-file token --tls-cert server.pem --tls-key key.pem
```
"""
_MODELS = """Lists the versions: verdict, key metric, label, and state if a server answers.

Examples:

```
inkwell models
inkwell models --serving outputs/try/models
inkwell models --server localhost:8601 --wait 60
```
"""
_PROMOTE = """Labels a version stable (or canary); `newest` always serves the newest version again.

Examples:

```
inkwell promote gan 1795554119
inkwell promote gan 1795554119 --label canary
inkwell promote gan newest
```
"""
_ROLLBACK = """Serves the previous stable version again, or else the next older one.

Examples:

```
inkwell rollback autoencoder
inkwell rollback gan --serving outputs/try/models
```
"""


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    # The server's errors name its flags, which have underscores: both spellings work.
    either = {"token_normalize_func": lambda name: name.replace("_", "-")}
    app.command(help=_SERVE, context_settings=either)(serve)
    app.command(help=_MODELS)(models)
    app.command(help=_PROMOTE)(promote)
    app.command(help=_ROLLBACK)(rollback)
    client.add_to(app)


def _bound(flag: str, words: str, metavar: str = "N", most: int = INT32_MAX):
    """The option for a bound of one request; ``flag`` is the server's name of it."""
    text = f"{words}; {BOUNDS[flag]} by default."
    return typer.Option(metavar=metavar, min=1, max=most, help=text)


def serve(
    models: Annotated[
        str, typer.Option(metavar="all|NAMES", help="Comma-separated names, or all.")
    ] = "all",
    serving: Serving = SERVING,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="Port for gRPC.")] = 8500,
    rest_port: Annotated[int, typer.Option(metavar="PORT", help="Port for REST.")] = 8501,
    playground: Annotated[
        bool, typer.Option("--playground", help="Also serve a page to draw on and try the models.")
    ] = False,
    playground_port: Annotated[
        int, typer.Option(metavar="PORT", help="Port of the playground.")
    ] = 8502,
    tensorflow_serving: Annotated[
        bool,
        typer.Option(
            "--tensorflow-serving",
            help="Run tensorflow_model_server instead of Inkwell's server; needs --host 0.0.0.0, "
            "as it listens on every address.",
        ),
    ] = False,
    verify_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Load only versions signed with one of these public keys (PEM)."
        ),
    ] = None,
    token_file: _TokenFile = None,
    tls_cert: _TlsCert = None,
    tls_key: _TlsKey = None,
    allowed_host: _AllowedHost = "",
    max_request_mib: Annotated[
        int | None, _bound("max_request_mib", "Maximum request size", "MIB", _MOST_MIB)
    ] = None,
    max_instances: Annotated[
        int | None, _bound("max_instances", "Maximum instances per request")
    ] = None,
    max_count: Annotated[
        int | None, _bound("max_count", "Maximum generated images per request")
    ] = None,
    max_steps: Annotated[
        int | None, _bound("max_steps", "Maximum sampling steps per request")
    ] = None,
) -> None:
    with user_errors(), file_errors():
        _check_exists(serving)
        from serving.serve import ServeOptions
        from serving.serve import serve as serve_until_told

        bounds = {
            "max_request_mib": max_request_mib,
            "max_instances": max_instances,
            "max_count": max_count,
            "max_steps": max_steps,
        }
        chosen = () if models == "all" else tuple(name for name in models.split(",") if name)
        options = ServeOptions(
            serving,
            chosen,
            host,
            port,
            rest_port,
            playground_port if playground else None,
            tensorflow_serving,
            {name: value for name, value in bounds.items() if value is not None},
            verify_key,
            token_file,
            tls_cert,
            tls_key,
            tuple(name for name in allowed_host.split(",") if name),
        )
        code = serve_until_told(options, tell)
    leave(code)


def _check_exists(serving: Path) -> None:
    from pipeline.local.workspace import check_exists, check_ours

    check_exists(serving, SERVING, "the one of the pushed versions with --serving")
    check_ours(serving, "--serving")


def models(
    serving: Serving = SERVING,
    server: Server = SERVER,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    with user_errors(), file_errors():
        _check_exists(serving)
        from pipeline.terminal.tables import labels_of, models_table, served_versions
        from serving.client import Client
        from serving.errors import RequestError
        from serving.releases import read_releases

        found = served_versions(serving)
        if as_json and not found:
            print_json([])
            return
        if not found:
            tell(f"There is no model in {serving} yet; push some with: inkwell run")
            return
        called = server_of(server, token_file, tls_ca)
        states: dict[tuple[str, int], str] = {}
        why = f"No model server answers at {server}"
        for model in {version.model for version in found}:
            with Client(model, called, timeout_s=1.0, wait_s=wait) as client:
                try:
                    answered = client.states()
                except RequestError as error:
                    if error.code == "UNAVAILABLE":
                        break
                    if error.code == "UNAUTHENTICATED":
                        why = f"The server at {server} asks for a token (--token-file)"
                    if error.code == "NOT_FOUND":
                        why = f"The server at {server} serves none of these models"
                    continue
                states |= {(model, version): state for version, state in answered.items()}
        releases = read_releases(serving)
        if as_json:
            rows = (
                {
                    **dataclasses.asdict(version),
                    "labels": labels_of(version, releases),
                    "state": states.get((version.model, int(version.version))),
                }
                for version in found
            )
            print_json(list(rows))
            return
        console().print(models_table(found, releases, states))
        if not states:
            tell(f"{why}, so no states are shown.")


def promote(
    model: Model,
    version: Annotated[str, typer.Argument(metavar="VERSION|newest", help="Version number.")],
    label: Annotated[str, typer.Option(metavar="stable|canary", help="Label to set.")] = "stable",
    serving: Serving = SERVING,
    server: Server = SERVER,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
) -> None:
    with user_errors(), file_errors():
        _check_exists(serving)
        from serving.errors import ServingError
        from serving.locking import locked
        from serving.releases import check_served, promoted

        if version != "newest" and not version.isdecimal():
            raise ServingError(f"A version is a whole number or newest, not {version!r}.")
        number = None if version == "newest" else int(version)
        check_served(serving, model)
        with locked(serving, model):
            called = server_of(server, token_file, tls_ca)
            _release(model, promoted(serving, model, number, label), serving, called)


def rollback(
    model: Model,
    serving: Serving = SERVING,
    server: Server = SERVER,
    token_file: TokenFile = None,
    tls_ca: TlsCa = None,
) -> None:
    with user_errors(), file_errors():
        _check_exists(serving)
        from serving.locking import locked
        from serving.releases import check_served, rolled_back

        check_served(serving, model)
        with locked(serving, model):
            called = server_of(server, token_file, tls_ca)
            _release(model, rolled_back(serving, model), serving, called)


def _release(model: str, release, serving: Path, server) -> None:
    from serving.client import Client
    from serving.errors import RequestError
    from serving.releases import apply

    with Client(model, server, timeout_s=2.0) as client:
        try:
            client.states()
            is_up = True
        except RequestError as error:
            if error.code == "UNAUTHENTICATED":  # no version would ever seem to be served
                raise
            is_up = error.code != "UNAVAILABLE"

        def is_served(version: int) -> bool:
            try:
                return client.states().get(version) == "AVAILABLE"
            except RequestError:
                return False

        apply(serving, model, release, is_served if is_up else None)
    words = ", ".join(f"{label} is version {v}" for label, v in release.labels.items())
    tell(f"{model}: {words or 'the newest version is served, without labels'}.")
    if not is_up:
        tell(f"No model server answers at {server}; the change applies when one starts.")
