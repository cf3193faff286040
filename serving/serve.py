"""``inkwell serve``: a model server over the serving directory, and the playground beside it.

Contract: ``tensorflow_model_server`` where it is on PATH, else the server of this project; both
get the same flags. Ends when the server does, or on SIGINT or SIGTERM; the server never outlives
this process, however that ends.
"""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from serving.client import Client
from serving.errors import RequestError, ServingError
from serving.model_server.starting import TENSORFLOW_SERVING, environment, is_free
from serving.releases import served_models, write_config

_MONITORING = Path(__file__).with_name("monitoring.config")
_START_SECONDS = 300.0
_END_SECONDS = 15.0
_LOCAL = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """What is served, and where."""

    serving_dir: Path
    models: tuple[str, ...]  # empty for all that have a version
    host: str = _LOCAL
    port: int = 8500
    rest_port: int = 8501
    playground_port: int | None = None


def serve(options: ServeOptions, say: Callable[[str], None] = print) -> int:
    """Serves until it is told to end; returns the exit code.

    Raises:
        ServingError: There is nothing to serve, or a port is taken.
    """
    models = _models(options)
    for port in (options.port, options.rest_port):
        if not is_free(options.host, port):
            raise ServingError(
                f"{options.host}:{port} is taken; choose other ports with --port and --rest-port."
            )
    write_config(options.serving_dir, models)
    playground = None
    if options.playground_port is not None:
        from serving.playground.server import Playground

        playground = Playground(
            options.serving_dir,
            options.host,
            options.playground_port,
            options.rest_port,
            models,
        )
    binary = shutil.which(TENSORFLOW_SERVING)
    process = subprocess.Popen(
        _command(binary, options), stdin=subprocess.PIPE, stdout=sys.stderr, env=environment()
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        say(
            f"Starting {'TensorFlow Serving' if binary else 'the model server of this project'} "
            f"for {', '.join(models)}."
        )
        if _wait(process, stop, models, options.rest_port):
            say(
                f"gRPC {options.host}:{options.port}, REST http://{options.host}:{options.rest_port}"
            )
            if playground:
                playground.start()
                say(f"Playground http://{options.host}:{playground.port}")
            say("Ctrl-C ends it.")
            while not stop.wait(0.2) and process.poll() is None:
                pass
        return 0 if stop.is_set() else 1
    finally:
        if playground:
            playground.stop()
        _end(process)


def _models(options: ServeOptions) -> list[str]:
    found = served_models(options.serving_dir)
    if not found:
        raise ServingError(
            f"There is no model in {options.serving_dir} to serve; push some with: inkwell run"
        )
    for model in options.models:
        if model not in found:
            raise ServingError(
                f"There is no version of {model} in {options.serving_dir}; there are "
                f"{', '.join(found)}."
            )
    return sorted(options.models) or found


def _command(binary: str | None, options: ServeOptions) -> Sequence[str]:
    flags = [
        f"--port={options.port}",
        f"--rest_api_port={options.rest_port}",
        f"--model_config_file={options.serving_dir.resolve() / 'models.config'}",
        "--model_config_file_poll_wait_seconds=1",
        "--file_system_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={_MONITORING}",
        "--rest_api_enable_cors_support=true",
    ]
    if binary:
        return [binary, *flags]
    own = [f"--host={options.host}", "--enable_batching", "--stop_at_end_of_stdin"]
    return [sys.executable, "-m", "serving.model_server", *flags, *own]


def _wait(
    process: subprocess.Popen, stop: threading.Event, models: Sequence[str], rest_port: int
) -> bool:
    """Whether every model got to answer; false if the server or the user ended it before."""
    end = time.monotonic() + _START_SECONDS
    waiting = list(models)
    while waiting and not stop.wait(0.2):
        if process.poll() is not None:
            return False
        if time.monotonic() > end:
            raise ServingError(
                f"The server did not serve {', '.join(waiting)} within {_START_SECONDS:g} s."
            )
        with Client(waiting[0], f"{_LOCAL}:{rest_port}", timeout_s=0.5) as client:
            try:
                client.version()
            except RequestError:
                continue
            waiting.pop(0)
    return not stop.is_set()


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdin.close()
