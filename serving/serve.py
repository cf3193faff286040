"""``inkwell serve``: a model server over the serving directory, and the playground.

Contract: the server of this project, or ``tensorflow_model_server`` if that is asked for; both get
the same flags. The addresses shown are those listened on. What the server prints goes to a log, its
warnings and errors to the screen too. Ends when the server does, or on SIGINT or SIGTERM; our
server never outlives this process, however that ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from serving.client import Client
from serving.errors import RequestError, ServingError
from serving.listening import EVERY, LOCAL, listening_host
from serving.model_server.starting import (
    command,
    environment,
    free_ports,
    how_it_ended,
    last_line,
)
from serving.releases import no_version, served_models, write_config

LOG_FILE = "server.log"
_MONITORING = Path(__file__).with_name("monitoring.config")
_START_SECONDS = 300.0
_END_SECONDS = 15.0
_ON_SCREEN = (b"WARNING ", b"ERROR ", b"CRITICAL ")  # how our server's own lines start


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """What is served, and where; port 0 takes a free one."""

    serving_dir: Path
    models: tuple[str, ...]  # empty for all that have a version
    host: str = LOCAL
    port: int = 8500
    rest_port: int = 8501
    playground_port: int | None = None
    tensorflow_serving: bool = False  # upstream's binary, which listens on every address


def serve(options: ServeOptions, say: Callable[[str], None] = print) -> int:
    """Serves until SIGINT or SIGTERM; returns 0 then, and 1 if the server ended by itself.

    Raises:
        ServingError: There is nothing to serve, or it cannot be served there.
    """
    models = _models(options)
    options = _checked(options)
    private = _private_directory()
    log_path = private / LOG_FILE
    start = command(
        _flags(options, _models_config(options, models, private, say)),
        [f"--host={options.host}", "--enable_batching"],
        tensorflow_serving=options.tensorflow_serving,
    )
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
    server = "TensorFlow Serving" if options.tensorflow_serving else "the model server"
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with open(log_path, "w+b") as log:
        process = subprocess.Popen(
            start,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        copying = threading.Thread(target=_copy, args=(process.stdout, log), daemon=True)
        copying.start()
        try:
            say(f"Starting {server} for {', '.join(models)}; its log: {log_path}")
            if _wait(process, stop, models, options):
                if playground:
                    playground.start()
                for line in _where(options, playground.port if playground else None):
                    say(line)
                say("Ctrl-C ends it.")
                while not stop.wait(0.2) and process.poll() is None:
                    pass
            if stop.is_set():
                return 0
            copying.join(_END_SECONDS)
            words = last_line(log)
            says = f"its log {log_path} ends with: {words}" if words else "its log is empty."
            how = how_it_ended(process.wait())
            print(f"inkwell: {server[0].upper()}{server[1:]} {how}; {says}", file=sys.stderr)
            return 1
        finally:
            if playground:
                playground.stop()
            _end(process)
            copying.join(_END_SECONDS)


def _models(options: ServeOptions) -> list[str]:
    found = served_models(options.serving_dir)
    if not found:
        raise ServingError(
            f"There is no model in {options.serving_dir} to serve; push some with: inkwell run"
        )
    for model in options.models:
        if model not in found:
            raise no_version(options.serving_dir, model)
    return sorted(options.models) or found


def _checked(options: ServeOptions) -> ServeOptions:
    """The options with ports in place of 0; raises ``ServingError`` if they cannot be had."""
    ports = {"--port": options.port, "--rest-port": options.rest_port}
    if options.playground_port is not None:
        ports["--playground-port"] = options.playground_port
    host = listening_host(options.host, ports)
    if options.tensorflow_serving and host != EVERY:
        raise ServingError(
            "TensorFlow Serving listens on every address of this computer; agree to that with "
            f"--host {EVERY}, or leave out --tensorflow-serving."
        )
    command([], tensorflow_serving=options.tensorflow_serving)  # raises if it is not installed
    port, rest_port = free_ports(2)
    port, rest_port = options.port or port, options.rest_port or rest_port
    return dataclasses.replace(options, host=host, port=port, rest_port=rest_port)


def _private_directory() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="inkwell-serve-"))
    except OSError as error:
        raise ServingError(
            f"No temporary directory for the server's log ({error.strerror}); name one that can "
            "be written in TMPDIR."
        ) from None


def _models_config(
    options: ServeOptions, models: Sequence[str], private: Path, say: Callable[[str], None]
) -> Path:
    """Writes models.config, outside a serving directory that cannot be written."""
    try:
        return write_config(options.serving_dir, models).resolve()
    except OSError:
        say(
            f"{options.serving_dir} cannot be written, so this server follows new versions but "
            "neither promote nor rollback."
        )
        return write_config(options.serving_dir, models, directory=private)


def _flags(options: ServeOptions, models_config: Path) -> list[str]:
    return [
        f"--port={options.port}",
        f"--rest_api_port={options.rest_port}",
        f"--model_config_file={models_config}",
        "--model_config_file_poll_wait_seconds=1",
        "--file_system_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={_MONITORING}",
        "--rest_api_enable_cors_support=true",
    ]


def _copy(output: BinaryIO, log: BinaryIO) -> None:
    """All that the server prints to the log, and what matters to the screen as well."""
    for line in output:
        with contextlib.suppress(OSError):  # a full disk must not hold up the server
            log.write(line)
            log.flush()
        if line.startswith(_ON_SCREEN):
            print(line.decode(errors="replace"), end="", file=sys.stderr, flush=True)


def _where(options: ServeOptions, playground_port: int | None) -> list[str]:
    """Sentences on what is listened on."""
    host, page = options.host, []
    if host == EVERY:
        if playground_port is not None:
            page = [
                f"Playground on port {playground_port}; from here: http://{LOCAL}:{playground_port}"
            ]
        return [
            f"gRPC on port {options.port} and REST on port {options.rest_port} of every address: "
            "anyone who reaches this computer may send requests; there is no login.",
            *page,
        ]
    if playground_port is not None:
        page = [f"Playground http://{host}:{playground_port}"]
    return [f"gRPC {host}:{options.port}, REST http://{host}:{options.rest_port}", *page]


def _wait(
    process: subprocess.Popen, stop: threading.Event, models: Sequence[str], options: ServeOptions
) -> bool:
    """Whether every model got to answer; false if the server or the user ended it before."""
    end = time.monotonic() + _START_SECONDS
    host = LOCAL if options.host == EVERY else options.host
    waiting = list(models)
    while waiting and not stop.wait(0.2):
        if process.poll() is not None:
            return False
        if time.monotonic() > end:
            raise ServingError(
                f"The server did not serve {', '.join(waiting)} within {_START_SECONDS:g} s."
            )
        with Client(waiting[0], f"{host}:{options.rest_port}", timeout_s=0.5) as client:
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
