"""``inkwell serve``: a model server over the serving directory, and the playground.

Contract: the server of this project, or ``tensorflow_model_server`` on request; both get the same
flags. The addresses shown are those listened on. The server's output goes to a log, its warnings
and errors to the screen too. Ends when the server does, or on SIGINT or SIGTERM; our server never
outlives this process.
"""

import contextlib
import dataclasses
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from core.foreign import safe
from serving.client import Client
from serving.errors import RequestError, ServingError
from serving.listening import EVERY, listening_host
from serving.model_server.starting import (
    LOCAL,
    command,
    environment,
    free_ports,
    how_it_ended,
    last_line,
    oom_kills,
    terminate,
)
from serving.releases import no_version, served_models, write_config

LOG_FILE = "server.log"
_MONITORING = Path(__file__).with_name("monitoring.config")
_START_SECONDS = 300.0
_END_SECONDS = 15.0
# Beginnings of the lines shown, of our server and of upstream's: warnings and errors.
_OURS = re.compile(rb"WARNING |ERROR |CRITICAL ")
_UPSTREAMS = re.compile(rb"[-\d]+ [:.\d]+: [WEF] ")


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """What is served, and where; port 0 takes a free one."""

    serving_dir: Path
    models: tuple[str, ...]  # empty for all that have a version
    host: str = LOCAL
    port: int = 8500
    rest_port: int = 8501
    playground_port: int | None = None
    tensorflow_serving: bool = False  # upstream's binary, which listens on all addresses
    # Of one request, by flag of our server, such as max_count; its defaults for those left out.
    bounds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    verify_key: Path | None = None  # public keys; only versions signed with one are loaded


def serve(options: ServeOptions, say: Callable[[str], None] = print) -> int:
    """Serves until SIGINT or SIGTERM; returns 0 then, and 1 if the server ended by itself.

    Raises:
        ServingError: There is nothing to serve, or the address cannot be used.
    """
    models = _models(options)
    options, shown_host = _checked(options)
    private = _private_directory()
    code = 0
    try:
        code = _serve(options, shown_host, models, private, say)
    finally:
        if code == 0:  # ended by the user, or refused; else its log is what explains the end
            shutil.rmtree(private, ignore_errors=True)
    return code


def _serve(
    options: ServeOptions,
    shown_host: str,
    models: Sequence[str],
    private: Path,
    say: Callable[[str], None],
) -> int:
    log_path = private / LOG_FILE
    bounds = [f"--{name}={value}" for name, value in options.bounds.items()]
    if options.verify_key:
        bounds.append(f"--verify_key={options.verify_key.absolute()}")
    start = command(
        _flags(options, _models_config(options, models, private, say)),
        [f"--host={options.host}", "--enable_batching", *bounds],
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
    upstream = options.tensorflow_serving
    server = "TensorFlow Serving" if upstream else "the model server"
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Unbuffered: closing a file with what a full disk did not take would raise.
    with open(log_path, "w+b", buffering=0) as log:
        # Upstream's own warnings come from TensorFlow's logger.
        level = {"TF_CPP_MIN_LOG_LEVEL": "1"} if upstream else {}
        killed_before = oom_kills()
        process = subprocess.Popen(
            start,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment() | level,
        )
        shown_lines = _UPSTREAMS if upstream else _OURS
        copying = threading.Thread(
            target=_copy, args=(process.stdout, log, shown_lines), daemon=True
        )
        copying.start()
        try:
            say(f"Starting {server} for {', '.join(models)}; its log: {log_path}")
            if _wait(process, stop, models, options):
                if playground:
                    playground.start()
                page_port = playground.port if playground else None
                for line in _where(options, shown_host, page_port):
                    say(line)
                say("Ctrl-C ends it.")
                while not stop.wait(0.2) and process.poll() is None:
                    pass
            if stop.is_set():
                return 0
            how = f"did not serve every model within {_START_SECONDS:g} s"
            if process.poll() is not None:
                copying.join(_END_SECONDS)
                killed = oom_kills()
                more = None if killed is None else killed - (killed_before or 0)
                how = how_it_ended(process.returncode, more)
            words = last_line(log)
            says = f"its log {log_path} ends with: {words}" if words else "its log is empty."
            words = f"inkwell: {server[0].upper()}{server[1:]} {how}; {says}"
            print(safe(words), file=sys.stderr)
            return 1
        finally:
            if playground:
                playground.stop()
            terminate(process, _END_SECONDS)
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


def _checked(options: ServeOptions) -> tuple[ServeOptions, str]:
    """The options with name and port 0 resolved to an address and ports; the host to show.

    Raises:
        ServingError: The options contradict each other, or a port is taken.
    """
    if options.tensorflow_serving and options.bounds:
        given = " and ".join(f"--{name.replace('_', '-')}" for name in options.bounds)
        raise ServingError(
            f"TensorFlow Serving has no {given}; leave that out, or leave out --tensorflow-serving."
        )
    if options.verify_key:
        from serving.signing import public_keys

        public_keys(options.verify_key)  # raises if it holds none
        if options.tensorflow_serving:
            raise ServingError(
                "TensorFlow Serving checks no signatures; leave out --verify-key or "
                "--tensorflow-serving. On a cluster, kubernetes/components/signed checks them."
            )
    ports = {"--port": options.port, "--rest-port": options.rest_port}
    if options.playground_port is not None:
        ports["--playground-port"] = options.playground_port
    address, shown_host = listening_host(options.host, ports)
    if options.tensorflow_serving and address != EVERY:
        raise ServingError(
            "TensorFlow Serving listens on every address of this computer. Pass "
            f"--host {EVERY} to allow this, or leave out --tensorflow-serving."
        )
    command([], tensorflow_serving=options.tensorflow_serving)  # raises if it is not installed
    chosen = [options.port, options.rest_port]
    found = iter(free_ports(chosen.count(0), address, ports.values()))
    port, rest_port = (port or next(found) for port in chosen)
    options = dataclasses.replace(options, host=address, port=port, rest_port=rest_port)
    return options, shown_host


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


def _copy(output: BinaryIO, log: BinaryIO, shown_lines: re.Pattern[bytes]) -> None:
    """Copies the server's output to the log, warnings and errors to the screen too.

    Never stops, as a server whose output is not read would block.
    """
    for line in output:
        with contextlib.suppress(OSError):  # a full disk
            log.write(line)
        with contextlib.suppress(OSError, ValueError):  # a screen that is closed
            if shown_lines.match(line):
                print(safe(line.decode(errors="replace")), end="", file=sys.stderr, flush=True)


def _where(options: ServeOptions, host: str, playground_port: int | None) -> list[str]:
    """Sentences that name the addresses."""
    if options.host == EVERY:
        servers = (
            f"gRPC on port {options.port} and REST on port {options.rest_port} of every address: "
            "anyone who reaches this computer may send requests; there is no login."
        )
        page = f"Playground on port {playground_port}; from here: http://{LOCAL}:{playground_port}"
    else:
        servers = f"gRPC {host}:{options.port}, REST http://{host}:{options.rest_port}"
        page = f"Playground http://{host}:{playground_port}"
    return [servers] if playground_port is None else [servers, page]


def _wait(
    process: subprocess.Popen, stop: threading.Event, models: Sequence[str], options: ServeOptions
) -> bool:
    """Whether every model answered; false if time ran out, or the server or user ended it."""
    end = time.monotonic() + _START_SECONDS
    host = LOCAL if options.host == EVERY else options.host
    waiting = list(models)
    while waiting and not stop.wait(0.2):
        if process.poll() is not None or time.monotonic() > end:
            return False
        with Client(waiting[0], f"{host}:{options.rest_port}", timeout_s=0.5) as client:
            try:
                client.version()
            except RequestError:
                continue
            waiting.pop(0)
    return not stop.is_set()
