"""Faults, swaps and hostile clients against a model server under load: does anybody notice?

    python -m benchmarks.serving_chaos                 ten minutes
    python -m benchmarks.serving_chaos --seconds 60    one

Contract: well-behaved clients ask two small models over REST and gRPC; each answer tells the
version that gave it. Meanwhile versions come, go, break and are repaired, storage fails in the ways
of ``benchmarks.serving_faults``, and other clients send bad requests, endless loops and half a
request. It held if no good request failed or was answered by a version that could not be served
then, no bad one was answered with 200 or an internal error, the newest version served after each
fault, and memory grew by less than ``_GROWTH_MIB``; the exit code is 1 otherwise. The same seed
gives the same order of faults, not the same moments.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import psutil

from benchmarks.serving_faults import Model, Stores, dice, save_numbered
from serving.model_server.starting import (
    LOCAL,
    ROOT,
    command,
    environment,
    free_ports,
    how_it_ended,
)

_CLIENTS = 8
_TIMEOUT_S = 30.0
_REST_TIMEOUT_S = 8.0  # of the server: endless loops end then
_GROWTH_MIB = 300.0
_FOR_EVER = 2**31 - 1  # turns of a loop
_GRPC_BAD = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
# Bodies of requests that must be refused, and the HTTP status of each.
_BAD = [
    (b"{", 400),
    (b"[" * 2000, 400),
    (b'{"instances": []}', 400),
    (b'{"instances": ["text"]}', 400),
    (b'{"instances": [[1.0], [2.0, 3.0]]}', 400),
    (b'{"signature_name": "none", "instances": [1.0]}', 400),
    (b'{"signature_name": "loop", "inputs": 1.5}', 400),
    (b'{"inputs": {"y": [1.0]}}', 400),
    (b"\xff\xfe" * 50, 400),
]


class Tally:
    """What happened; safe to use from several threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.wrong: list[str] = []
        self.slowest_probe = 0.0  # seconds

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def failed(self, what: str) -> None:
        """A failure that nobody asked for."""
        with self._lock:
            self.failures.append(f"{time.strftime('%X')} {what}")

    def answered_wrongly(self, what: str) -> None:
        with self._lock:
            self.wrong.append(f"{time.strftime('%X')} {what}")

    def probed(self, seconds: float) -> None:
        with self._lock:
            self.slowest_probe = max(self.slowest_probe, seconds)


@dataclasses.dataclass(frozen=True)
class Server:
    """The process and its addresses."""

    process: psutil.Popen
    grpc: str
    rest: str

    def mib(self) -> float:
        """Its resident memory."""
        return self.process.memory_info().rss / 2**20


def main(arguments: list[str] | None = None) -> int:
    """Runs and prints the table; 1 if it did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="inkwell-chaos-") as folder:
        return run(Path(folder), options.seconds, options.seed)


def run(folder: Path, seconds: float, seed: int) -> int:
    """``main`` in a directory."""
    tally, stop = Tally(), threading.Event()
    stores = Stores(folder, save_numbered(folder / "template"), dice(seed))
    log = folder / "server.log"
    with _server(stores.config, log) as server:
        stores.process = server.process
        workers = [
            *(lambda i=i: _good(server, stores.models[i % 2], i, tally) for i in range(_CLIENTS)),
            lambda: _probe(server, tally),
            lambda: _bad_rest(server, tally, dice(seed + 1)),
            lambda: _bad_grpc(server, tally, dice(seed + 2)),
            lambda: _half_requests(server, tally, dice(seed + 3)),
        ]
        threads = [threading.Thread(target=_repeat, args=(make, stop, tally)) for make in workers]
        for thread in threads:
            thread.start()
        time.sleep(min(5.0, seconds / 10))
        at_start, end = server.mib(), time.monotonic() + seconds
        while time.monotonic() < end and server.process.poll() is None:
            kind, trouble = stores.fault(lambda m, version: _is_served(server, m, version))
            tally.count(f"fault: {kind}")
            if trouble:
                tally.failed(f"{kind}: {trouble}")
        died = server.process.poll() is not None
        at_end = 0.0 if died else server.mib()
        stop.set()
        for thread in threads:
            thread.join()
    if died or server.process.returncode:
        tally.failed(f"The server {how_it_ended(server.process.returncode)}.")
    code = _report(tally, seconds, at_start, at_end)
    if code:
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace")[-5000:])
    return code


def _report(tally: Tally, seconds: float, at_start: float, at_end: float) -> int:
    for title, found in (("Failure", tally.failures), ("Wrong answer", tally.wrong)):
        for what in found[:20]:
            print(f"{title}: {what}", file=sys.stderr)
    counts = tally.counts
    rows = {
        "seconds": f"{seconds:g}",
        "good requests": f"{counts['good']:,}",
        "bad requests": f"{counts['bad']:,}",
        "half requests and idle connections": f"{counts['half']:,}",
        "faults and swaps": str(sum(n for what, n in counts.items() if what.startswith("fault"))),
        "failures not asked for": str(len(tally.failures)),
        "wrong answers": str(len(tally.wrong)),
        "memory at start, MiB": f"{at_start:.0f}",
        "memory at end, MiB": f"{at_end:.0f}",
        "slowest probe, ms": f"{1000 * tally.slowest_probe:.0f}",
    }
    rows |= {f"  {what}": str(n) for what, n in sorted(counts.items()) if what.startswith("fault")}
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value:>9}")
    held = not tally.failures and not tally.wrong and at_end - at_start < _GROWTH_MIB
    print("It held." if held else "It did not hold.")
    return 0 if held else 1


@contextlib.contextmanager
def _server(config: Path, log: Path) -> Iterator[Server]:
    grpc_port, rest_port = free_ports(2)
    flags = [
        *(f"--port={grpc_port}", f"--rest_api_port={rest_port}", f"--model_config_file={config}"),
        *("--file_system_poll_wait_seconds=0.2", "--model_config_file_poll_wait_seconds=1"),
        *("--max_num_load_retries=2", "--load_retry_interval_micros=200000"),
        f"--rest_api_timeout_in_ms={1000 * _REST_TIMEOUT_S:.0f}",
    ]
    with open(log, "wb") as output:
        process = psutil.Popen(
            command(flags, [f"--host={LOCAL}", "--enable_batching"]),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
        try:
            line = process.stdout.readline()
            if "Serving" not in line:
                raise RuntimeError(f"The server did not start: {line}")
            yield Server(process, f"{LOCAL}:{grpc_port}", f"http://{LOCAL}:{rest_port}")
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
            process.wait(30)


def _repeat(make: Callable, stop: threading.Event, tally: Tally) -> None:
    """Calls what ``make`` gives until ``stop`` is set."""
    with make() as ask:
        while not stop.is_set():
            try:
                ask()
            except Exception as error:  # noqa: BLE001 - counted
                tally.failed(f"{type(error).__name__}: {error}"[:300])
                time.sleep(0.1)


def _is_served(server: Server, model: Model, version: int) -> bool:
    """Whether the newest answer of a model is of ``version``; true if the server is dead."""
    if server.process.poll() is not None:
        return True
    url = f"{server.rest}/v1/models/{model.name}:predict"
    try:
        response = httpx.post(url, json={"instances": [0.0]}, timeout=_TIMEOUT_S)
    except httpx.HTTPError:  # a new connection, while the table of files is full
        return False
    return response.status_code == 200 and response.json()["predictions"] == [version]


@contextlib.contextmanager
def _good(server: Server, model: Model, number: int, tally: Tally) -> Iterator[Callable]:
    """A client whose requests must be answered, by a version that may be served."""
    rng = dice(number)

    def check(x: float, y: float, before: set[int]) -> None:
        tally.count("good")
        may = before | model.may_answer()
        if y - x not in may:
            tally.answered_wrongly(f"{model.name}: version {y - x}, not of {sorted(may)}")
        time.sleep(0.02)

    def over_rest() -> None:
        before, x = model.may_answer(), float(rng.randrange(1000))
        response = client.post(f"/v1/models/{model.name}:predict", json={"instances": [x]})
        check(x, response.raise_for_status().json()["predictions"][0], before)

    def over_grpc() -> None:
        before, x = model.may_answer(), float(rng.randrange(1000))
        found = caller.predict("", {"x": np.array([x], "float32")}, _TIMEOUT_S)
        check(x, float(found["y"][0]), before)

    from serving.model_server.grpc_client import GrpcClient

    with (
        httpx.Client(base_url=server.rest, timeout=_TIMEOUT_S) as client,
        GrpcClient(server.grpc, model.name) as caller,
    ):
        yield over_rest if number % 4 < 2 else over_grpc


@contextlib.contextmanager
def _probe(server: Server, tally: Tally) -> Iterator[Callable]:
    """A readiness probe, five times a second."""

    def ask() -> None:
        began = time.monotonic()
        client.get("/v1/models/a").raise_for_status()
        tally.probed(time.monotonic() - began)
        time.sleep(0.2)

    with httpx.Client(base_url=server.rest, timeout=_TIMEOUT_S) as client:
        yield ask


@contextlib.contextmanager
def _bad_rest(server: Server, tally: Tally, rng: random.Random) -> Iterator[Callable]:
    """Requests that must be refused, and now and then one that would never end."""
    loop = json.dumps({"signature_name": "loop", "inputs": _FOR_EVER}).encode()

    def ask() -> None:
        body, code = (loop, 504) if rng.random() < 0.03 else rng.choice(_BAD)
        name = "a" if rng.random() < 0.9 else "nobody"
        response = client.post(f"/v1/models/{name}:predict", content=body)
        if response.status_code != (404 if name == "nobody" else code):
            raise RuntimeError(f"{body[:60]!r} to {name}: {response.status_code} {response.text}")
        tally.count("bad")
        time.sleep(0.05)

    with httpx.Client(base_url=server.rest, timeout=_TIMEOUT_S) as client:
        yield ask


@contextlib.contextmanager
def _bad_grpc(server: Server, tally: Tally, rng: random.Random) -> Iterator[Callable]:
    """Wrong tensors, short deadlines, and calls that are cancelled."""
    from serving.model_server.grpc_client import GrpcClient, predict_request

    x = {"x": np.zeros(1, "float32")}
    turns = {"turns": np.array(_FOR_EVER, "int32")}
    requests = [
        predict_request("a", "", {"x": np.zeros((2, 2), "float32")}),
        predict_request("a", "", {"x": np.zeros(1, "int64")}),
        predict_request("a", "none", x),
        predict_request("a", "", x, version=999_999),
        predict_request("nobody", "", x),
    ]
    loop = predict_request("b", "loop", turns)

    def ask() -> None:
        is_loop = rng.random() < 0.1
        call = caller.predictions.Predict.future(
            loop if is_loop else rng.choice(requests), timeout=1.0 if is_loop else _TIMEOUT_S
        )
        if is_loop and rng.random() < 0.5:
            time.sleep(0.2)
            call.cancel()
        try:
            call.result()
        except grpc.FutureCancelledError:
            pass
        except grpc.RpcError as error:
            if error.code() not in _GRPC_BAD:
                raise
        else:
            raise RuntimeError("a bad gRPC request was answered")
        tally.count("bad")
        time.sleep(0.05)

    with GrpcClient(server.grpc, "a") as caller:
        yield ask


@contextlib.contextmanager
def _half_requests(server: Server, tally: Tally, rng: random.Random) -> Iterator[Callable]:
    """Connections that say nothing, or half a request, and are then cut or reset."""
    import socket
    import struct

    host, _, port = server.rest.removeprefix("http://").partition(":")
    whole = (
        b"POST /v1/models/a:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n"
        b'{"instances": [1.0]}'
    )
    held: collections.deque[socket.socket] = collections.deque()

    def ask() -> None:
        address = (host, int(port)) if rng.random() < 0.8 else server.grpc.split(":")
        with contextlib.suppress(OSError):  # while the server's table of files is full
            sock = socket.create_connection((address[0], int(address[1])), timeout=5)
            sock.send(whole[: rng.randrange(len(whole))])
            if rng.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            held.append(sock)
            tally.count("half")
        while len(held) > 50:
            held.popleft().close()
        time.sleep(0.05)

    yield ask
    for sock in held:
        sock.close()


if __name__ == "__main__":
    sys.exit(main())
