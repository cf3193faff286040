"""``inkwell serve`` over small models, for the tests of commands and of the playground."""

import contextlib
import dataclasses
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.model_server.starting import free_ports
from tests.browser import open_browser
from tests.serving.playground_page import DESK, opened_page
from tests.serving.toy_models import save_autoencoder, save_models

ROOT = Path(__file__).resolve().parents[2]


def inkwell(*arguments: str, **options) -> subprocess.CompletedProcess:
    """The command line, run to its end."""
    command = [sys.executable, "-m", "pipeline.cli.main", *map(str, arguments)]
    options = {"cwd": ROOT} | options
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def start_model_server(*flags: str) -> subprocess.Popen:
    """A model server of its own on free ports, which ends with its standard input."""
    command = [
        *(sys.executable, "-m", "serving.model_server", "--port=0", "--rest_api_port=0"),
        *("--free_ports", "--stop_at_end_of_stdin", *flags),
    ]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@contextlib.contextmanager
def model_server(*flags: str) -> Iterator[tuple[str, str]]:
    """A model server of its own on free ports; its gRPC and REST addresses."""
    process = start_model_server(*flags)
    try:
        line = process.stdout.readline()
        found = re.search(r"at (\S+), REST at (\S+)$", line)
        assert found, line
        yield found[1], found[2]
    finally:
        process.terminate()
        assert process.wait(30) == 0


@dataclasses.dataclass(frozen=True)
class Served:
    """What runs, and where."""

    serving: Path
    process: subprocess.Popen
    rest: str
    grpc: str
    playground: str
    said: list[str]

    def inkwell(self, *arguments: str) -> subprocess.CompletedProcess:
        return inkwell(*arguments, "--server", self.rest)


@contextlib.contextmanager
def serving_of(serving: Path) -> Iterator[Served]:
    """``inkwell serve`` over ``serving``, once every model answers; it must end well."""
    grpc_port, rest_port, page_port = free_ports(3)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.cli.main", "serve", "--serving", str(serving)),
            *("--port", str(grpc_port), "--rest-port", str(rest_port)),
            *("--playground", "--playground-port", str(page_port)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = []
        while not said or "Ctrl-C" not in said[-1]:
            line = process.stdout.readline()
            assert line, said
            said.append(line)
        yield Served(
            serving,
            process,
            f"127.0.0.1:{rest_port}",
            f"127.0.0.1:{grpc_port}",
            f"http://127.0.0.1:{page_port}",
            said,
        )
    finally:
        process.terminate()
        code = process.wait(30)
    assert code == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", rest_port)) != 0


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    serving = save_models(tmp_path_factory.mktemp("served"))
    save_autoencoder(serving / "autoencoder" / "2", shift=1.0)
    with serving_of(serving) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser context that also takes touches, closed before the next file opens its own."""
    with open_browser(tmp_path_factory.mktemp("profile"), has_touch=True) as context:
        yield context


@pytest.fixture
def page(browser, served, request):
    """The playground over ``served``; a parameter is the window's size."""
    with opened_page(browser, served, getattr(request, "param", DESK)) as page:
        yield page
