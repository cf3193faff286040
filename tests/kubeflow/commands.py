"""Commands and calls of the tests that need a double of a server."""

import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from pipeline.kubeflow import client as client_module
from pipeline.kubeflow.access import Endpoint, connect
from pipeline.kubeflow.following import follow
from tests.conftest import ROOT
from tests.kubeflow.kfp_server import KfpServer


def inkwell(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli.main", *map(str, arguments)]


def run_inkwell(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        inkwell(*arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        timeout=120,
    )


def submit(server: KfpServer, package: Path, namespace: str | None = None, **given: str) -> str:
    endpoint = Endpoint(server.url, namespace=namespace)
    client = connect(endpoint, needs_namespace=True)
    run_id, _ = client_module.submit(client, endpoint, client_module.read_job(package, given))
    return run_id


def followed(
    server: KfpServer,
    run_id: str,
    script: list,
    namespace: str | None = None,
    page: Path | None = None,
) -> tuple[int, str]:
    server.script = script
    console = Console(width=200, record=True, file=io.StringIO())
    endpoint = Endpoint(server.url, namespace=namespace)
    code = follow(connect(endpoint), endpoint, run_id, console, page, seconds_between=0.01)
    return code, console.export_text()
