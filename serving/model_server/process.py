"""A model server as a child process: ``tensorflow_model_server`` if installed, else ours.

Contract: a context manager that returns once the model answers as AVAILABLE and always ends the
process it started, by its handle. Both servers get the same flags and the same calls.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from serving.model_server.grpc_client import GrpcClient
from serving.model_server.starting import TENSORFLOW_SERVING, environment, free_port

INKWELL_SERVER = "inkwell model server"

_POLL_SECONDS = 0.1
_STATUS_TIMEOUT_SECONDS = 2.0
_END_SECONDS = 10.0
_REASON_CHARACTERS = 400


class StartError(Exception):
    """The server did not get to serve the model; the message says why."""


class ServerProcess:
    """A running model server; ``kind``, ``endpoint`` and ``load_seconds`` describe it."""

    def __init__(self, model_name: str, model_base_path: str | Path, start_timeout_s: float):
        self._model_name = model_name
        self._base_path = Path(model_base_path)
        self._timeout_s = start_timeout_s
        self._binary = shutil.which(TENSORFLOW_SERVING)
        self.kind = TENSORFLOW_SERVING if self._binary else INKWELL_SERVER
        self.endpoint = ""  # host:port of gRPC
        self.rest = ""  # host:port of REST
        self.load_seconds = 0.0
        self._process: subprocess.Popen | None = None
        self._resources = contextlib.ExitStack()
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the other resources
        self._log = self._resources.enter_context(log)
        self._started = 0.0

    def start(self) -> None:
        """Starts the process and returns at once; ``wait_available`` waits for the model."""
        port, rest_port = free_port(), free_port()
        self.endpoint, self.rest = f"127.0.0.1:{port}", f"127.0.0.1:{rest_port}"
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            self._command(port, rest_port),
            stdin=subprocess.PIPE,  # ours ends when this end of it closes
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment(),
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
        """Most memory that the process has held so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024

    def stop(self) -> None:
        """Ends the process: asked first, then killed."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdin.close()
            self._process = None
        self._resources.close()

    def __enter__(self) -> ServerProcess:
        self.start()
        try:
            self.wait_available()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _command(self, port: int, rest_port: int) -> Sequence[str]:
        flags = [
            f"--port={port}",
            f"--rest_api_port={rest_port}",
            f"--model_name={self._model_name}",
            f"--model_base_path={self._base_path}",
            "--max_num_load_retries=0",  # a broken candidate is told at once, not after 5 minutes
        ]
        if self._binary:
            return [self._binary, *flags]
        return [sys.executable, "-m", "serving.model_server", *flags, "--stop_at_end_of_stdin"]

    def _reason(self) -> str:
        """The last line that the server wrote: both servers name the failure there."""
        log = self._log.fileno()
        # pread: the process writes through the same file position, which must not move.
        lines = os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace").splitlines()
        words = [line.strip() for line in lines if line.strip()]
        if words:
            return words[-1][:_REASON_CHARACTERS]
        status = self._process.poll()
        return "it says nothing" if status is None else f"it ended with status {status}, silent"
