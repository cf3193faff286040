"""``inkwell serve``: a model server over the serving directory, and the playground.

Contract: the server of this project, or ``tensorflow_model_server`` on request; both get the same
flags. The addresses shown are those listened on. The server's output goes to a log, its warnings
and errors to the screen too. Ends when the server does, or on SIGINT or SIGTERM; our server never
outlives this process.
"""

import contextlib
import dataclasses
import queue
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
from typing import TYPE_CHECKING, BinaryIO

from core.foreign import safe
from serving.access import Access, exposure, read_token
from serving.client import Client
from serving.errors import RequestError, ServingError
from serving.listening import EVERY, listening_host
from serving.model_server.starting import (
    LOCAL,
    ROOT,
    command,
    environment,
    free_ports,
    how_it_ended,
    last_line,
    oom_kills,
    terminate,
)
from serving.model_server.tls import Tls, read_tls
from serving.releases import no_version, served_models, write_config

if TYPE_CHECKING:
    from serving.playground.server import Playground

LOG_FILE = "server.log"
_OWN_FILES = ("verify_key", "token_file", "tls_cert", "tls_key")  # flags of our server alone
_MONITORING = Path(__file__).with_name("monitoring.config")
_START_SECONDS = 300.0
_END_SECONDS = 15.0
# Beginnings of the lines shown, of our server and of upstream's: warnings and errors.
_OURS = re.compile(rb"WARNING |ERROR |CRITICAL ")
_UPSTREAMS = re.compile(rb"[-\d]+ [:.\d]+: [WEF] ")
_SERVING = re.compile(rb"Serving .* at \S+:(\d+), REST at \S+:(\d+)$")


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
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allowed_hosts: tuple[str, ...] = ()  # names of this computer, besides localhost and the host's


def serve(
    options: ServeOptions,
    say: Callable[[str], None] = print,
    opened: Callable[[str], None] | None = None,
) -> int:
    """Serves until SIGINT or SIGTERM; returns 0 then, and 1 if the server ended by itself.

    Args:
        options: What is served, and where.
        say: Takes the lines for the screen.
        opened: Takes the playground's address, once it answers.

    Raises:
        ServingError: There is nothing to serve, or the address cannot be used.
    """
    models = _models(options)
    options, shown_host = _checked(options)
    private = _private_directory()
    code = 0
    try:
        code = _serve(options, shown_host, models, private, say, opened)
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
    on_open: Callable[[str], None] | None,
) -> int:
    log_path = private / LOG_FILE
    playground = _playground(options, models)
    page_port = playground.port if playground else None
    start = command(
        _flags(options, _models_config(options, models, private, say), page_port),
        _own_flags(options, page_port),
        tensorflow_serving=options.tensorflow_serving,
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
            cwd=ROOT,  # the folder one stands in may be somebody else's
        )
        shown_lines = _UPSTREAMS if upstream else _OURS
        opened: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        copying = threading.Thread(
            target=_copy, args=(process.stdout, log, shown_lines, opened), daemon=True
        )
        copying.start()
        try:
            say(f"Starting {server} for {', '.join(models)}; its log: {log_path}")
            if upstream:
                ports = _wait_for_models(process, stop, models, options)
            else:
                ports = _wait_for_ours(process, stop, opened)
            if ports:
                if playground:
                    playground.start(ports[1])
                for line in _where(options, shown_host, ports, page_port):
                    say(line)
                if on_open:
                    on_open(_page(options, shown_host, page_port))
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


def _playground(options: ServeOptions, models: Sequence[str]) -> "Playground | None":
    if options.playground_port is None:
        return None
    from serving.playground.server import Playground

    return Playground(
        options.serving_dir,
        options.host,
        options.playground_port,
        models,
        _access(options),
        _tls(options),
    )


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
    if options.verify_key:
        from serving.signing import public_keys

        public_keys(options.verify_key)  # raises if it holds none
        if options.tensorflow_serving:
            raise ServingError(
                "TensorFlow Serving checks no signatures; leave out --verify-key or "
                "--tensorflow-serving. On a cluster, kubernetes/components/signed checks them."
            )
    own = {name: getattr(options, name) for name in _OWN_FILES}
    own["allowed_host"] = options.allowed_hosts
    of_ours = [*options.bounds, *(name for name, value in own.items() if value)]
    if options.tensorflow_serving and of_ours:
        given = " and ".join(f"--{name.replace('_', '-')}" for name in of_ours)
        raise ServingError(
            f"TensorFlow Serving has no {given}; leave that out, or leave out --tensorflow-serving."
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
    if bool(options.tls_cert) != bool(options.tls_key):
        raise ServingError("--tls-cert and --tls-key belong together; give both, or neither.")
    _access(options), _tls(options)  # mistakes in their files are told before anything starts
    names = (*options.allowed_hosts, options.host, shown_host)
    options = dataclasses.replace(options, host=address, allowed_hosts=names)
    if options.tensorflow_serving:  # ours finds free ports itself, and says which
        chosen = [options.port, options.rest_port]
        found = iter(free_ports(chosen.count(0), address, ports.values()))
        port, rest_port = (port or next(found) for port in chosen)
        options = dataclasses.replace(options, port=port, rest_port=rest_port)
    return options, shown_host


def _access(options: ServeOptions) -> Access:
    """What the playground asks of those who open it."""
    token = read_token(options.token_file) if options.token_file else ""
    hosts = frozenset(name.lower() for name in options.allowed_hosts)
    return Access(token, None if "*" in hosts else hosts, is_encrypted=bool(options.tls_cert))


def _tls(options: ServeOptions) -> Tls | None:
    if options.tls_cert and options.tls_key:
        return read_tls(options.tls_cert, options.tls_key)
    return None


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
        return write_config(options.serving_dir, models, directory=private).resolve()


def _flags(options: ServeOptions, models_config: Path, page_port: int | None) -> list[str]:
    """For both servers; upstream's cannot tell the playground's pages from others."""
    is_any_page = options.tensorflow_serving and page_port is not None
    return [
        f"--port={options.port}",
        f"--rest_api_port={options.rest_port}",
        f"--model_config_file={models_config}",
        "--model_config_file_poll_wait_seconds=1",
        "--file_system_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={_MONITORING}",
        *(["--rest_api_enable_cors_support=true"] if is_any_page else []),
    ]


def _own_flags(options: ServeOptions, page_port: int | None) -> list[str]:
    """For our server alone."""
    paths = {name: getattr(options, name) for name in _OWN_FILES}
    return [
        *(f"--host={options.host}", "--free_ports", "--enable_batching"),
        f"--allowed_host={','.join(options.allowed_hosts)}",
        *([] if page_port is None else [f"--page_port={page_port}"]),
        *(f"--{name}={path.absolute()}" for name, path in paths.items() if path),
        *(f"--{name}={value}" for name, value in options.bounds.items()),
    ]


def _copy(
    output: BinaryIO,
    log: BinaryIO,
    shown_lines: re.Pattern[bytes],
    opened: queue.SimpleQueue[tuple[int, int]],
) -> None:
    """Copies the server's output to the log, warnings and errors to the screen too.

    Never stops, as a server whose output is not read would block. ``opened`` gets the ports for
    gRPC and REST from the line by which our server says that it serves.
    """
    for line in output:
        if found := _SERVING.match(line):
            opened.put((int(found[1]), int(found[2])))
        with contextlib.suppress(OSError):  # a full disk
            log.write(line)
        with contextlib.suppress(OSError, ValueError):  # a screen that is closed
            if shown_lines.match(line):
                print(safe(line.decode(errors="replace")), end="", file=sys.stderr, flush=True)


def _page(options: ServeOptions, host: str, port: int | None) -> str:
    """Address of the playground, from this computer."""
    scheme = "https" if options.tls_cert else "http"
    return f"{scheme}://{LOCAL if options.host == EVERY else host}:{port}"


def _where(
    options: ServeOptions, host: str, ports: tuple[int, int], page_port: int | None
) -> list[str]:
    """Sentences that name the addresses, and what it means to listen there."""
    scheme = "https" if options.tls_cert else "http"
    if options.host == EVERY:
        lines = [f"gRPC on port {ports[0]} and REST on port {ports[1]} of every address."]
        page = f"Playground on port {page_port}; from here: {_page(options, host, page_port)}"
    else:
        lines = [f"gRPC {host}:{ports[0]}, REST {scheme}://{host}:{ports[1]}"]
        page = f"Playground {_page(options, host, page_port)}"
    if options.tensorflow_serving:
        lines.append(
            "Whoever reaches this computer, and any page in a browser on it, may use the models; "
            "programs that reach it may make it load others, and a model is a program: there is "
            "no login."
        )
    elif means := exposure(options.host, bool(options.token_file), bool(options.tls_cert)):
        lines.append(means)
    return lines if page_port is None else [*lines, page]


def _wait_for_ours(
    process: subprocess.Popen, stop: threading.Event, opened: queue.SimpleQueue[tuple[int, int]]
) -> tuple[int, int] | None:
    """The ports, once our server says that it serves every model; None as below."""
    end = time.monotonic() + _START_SECONDS
    while not stop.is_set() and process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(queue.Empty):
            return opened.get(timeout=0.2)
    return None


def _wait_for_models(
    process: subprocess.Popen, stop: threading.Event, models: Sequence[str], options: ServeOptions
) -> tuple[int, int] | None:
    """The ports, once every model answers; None if time ran out, or the server or user ended it."""
    end = time.monotonic() + _START_SECONDS
    waiting = list(models)
    while waiting and not stop.wait(0.2):
        if process.poll() is not None or time.monotonic() > end:
            return None
        with Client(waiting[0], f"{LOCAL}:{options.rest_port}", timeout_s=0.5) as client:
            try:
                client.version()
            except RequestError:
                continue
            waiting.pop(0)
    return None if stop.is_set() else (options.port, options.rest_port)
