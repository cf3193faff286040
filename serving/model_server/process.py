"""A model server as a child process: ours, or ``tensorflow_model_server`` on request.

Contract: a context manager that returns once the model answers as AVAILABLE and always ends the
process it started, by its handle. Both servers get the same calls. Ours listens on two Unix sockets
in a directory that only this user may enter, and on no port; upstream's cannot serve REST so, has
no flag for an address, and listens on every one while it runs.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import grpc

from core.processors import THREADS_OF_ONE
from serving.errors import ServingError
from serving.model_server.grpc_client import GrpcClient
from serving.model_server.starting import (
    LOCAL,
    ROOT,
    TENSORFLOW_SERVING,
    command,
    environment,
    free_ports,
    how_it_ended,
    last_line,
    terminate,
)

INKWELL_SERVER = "inkwell model server"

_POLL_SECONDS = 0.1
_STATUS_TIMEOUT_SECONDS = 2.0
_END_SECONDS = 10.0
_LONGEST_SOCKET = 107  # bytes of a path that Linux takes for a socket
_SHORT_DIRECTORIES = (None, "/tmp", "/dev/shm")  # noqa: S108 - TMPDIR first; each is made private


def _environment() -> dict[str, str]:
    """That of a server which a user starts: all threads, not the share that suits training."""
    return {name: value for name, value in environment().items() if name != THREADS_OF_ONE}


class StartError(Exception):
    """The server could not serve the model; the message says why."""


class ServerProcess:
    """A running model server; ``kind``, ``endpoint`` and ``load_seconds`` describe it."""

    def __init__(
        self,
        model_name: str,
        model_base_path: str | Path,
        start_timeout_s: float,
        *,
        tensorflow_serving: bool = False,
    ):
        """Starts nothing yet.

        Args:
            model_name: Name it is served under.
            model_base_path: Holds the numbered versions.
            start_timeout_s: Seconds from the start of the process to AVAILABLE.
            tensorflow_serving: Use upstream's binary instead of our server.
        """
        self._model_name = model_name
        self._base_path = Path(model_base_path).absolute()
        self._timeout_s = start_timeout_s
        self._tensorflow_serving = tensorflow_serving
        self.kind = TENSORFLOW_SERVING if tensorflow_serving else INKWELL_SERVER
        self.endpoint = ""  # of gRPC: unix: and a path, or host:port
        self.rest = ""  # of REST
        self.load_seconds = 0.0
        self._process: subprocess.Popen | None = None
        self._sockets: Path | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - ``stop`` closes it
        self._started = 0.0

    def start(self) -> None:
        """Starts the process and returns at once; ``wait_available`` waits for the model.

        Raises:
            ServingError: Upstream's binary is requested and not on PATH, no port is free, or no
                directory takes a socket.
        """
        if self._tensorflow_serving:
            port, rest_port = free_ports(2)
            self.endpoint, self.rest = f"{LOCAL}:{port}", f"{LOCAL}:{rest_port}"
            addresses = [f"--port={port}", f"--rest_api_port={rest_port}"]
        else:
            self._sockets = _private_directory()
            grpc_path, rest_path = self._sockets / "grpc", self._sockets / "rest"
            self.endpoint, self.rest = f"unix:{grpc_path}", f"unix:{rest_path}"
            addresses = [
                *("--port=0", f"--grpc_socket_path={grpc_path}"),
                f"--rest_api_socket_path={rest_path}",
            ]
        self._started = time.monotonic()
        flags = [
            *addresses,
            f"--model_name={self._model_name}",
            f"--model_base_path={self._base_path}",
            "--max_num_load_retries=0",  # a broken candidate is refused at once, not in 5 minutes
        ]
        self._process = subprocess.Popen(
            command(flags, tensorflow_serving=self._tensorflow_serving),
            stdin=subprocess.PIPE,  # ours ends when this end of it closes
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=_environment(),
            cwd=ROOT,  # the folder one stands in may be somebody else's
        )

    def wait_available(self) -> None:
        """Waits until the model answers as AVAILABLE.

        Raises:
            StartError: The process ended, the model failed to load, or time ran out.
        """
        deadline = self._started + self._timeout_s
        with GrpcClient(self.endpoint, self._model_name) as client:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    raise StartError(self._reason())
                try:
                    states = set(client.states(_STATUS_TIMEOUT_SECONDS).values())
                except grpc.RpcError:
                    states = set()  # the port is still closed
                if "AVAILABLE" in states:
                    self.load_seconds = time.monotonic() - self._started
                    return
                if states == {"END"}:
                    raise StartError(self._reason())
                time.sleep(_POLL_SECONDS)
        raise StartError(f"it did not serve within {self._timeout_s:g} s; {self._reason()}")

    def peak_mib(self) -> float:
        """Peak memory of the process so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024

    def stop(self) -> None:
        """Ends the process: terminates it, then kills it."""
        if self._process is not None:
            terminate(self._process, _END_SECONDS)
            self._process = None
        self._log.close()
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_available()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _reason(self) -> str:
        """The last line that the server wrote, where both servers name a failure, or its signal."""
        words = last_line(self._log)
        status = self._process.poll()
        if status is not None and (status < 0 or not words):
            return f"it {how_it_ended(status)}; its last line: {words or 'none'}"
        return words or "no output"


def _private_directory() -> Path:
    """A directory for sockets that only this user may enter, with a path short enough for them.

    Raises:
        ServingError: There is none.
    """
    for parent in _SHORT_DIRECTORIES:
        try:
            path = Path(tempfile.mkdtemp(prefix="inkwell-", dir=parent))
        except OSError:
            continue
        if len(bytes(path / "grpc")) <= _LONGEST_SOCKET:
            return path
        path.rmdir()
    raise ServingError(
        f"No temporary directory takes a Unix socket, whose path has {_LONGEST_SOCKET} bytes at "
        "most; name one with a short path, that can be written, in TMPDIR."
    )
