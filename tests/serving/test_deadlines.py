"""Work ends with its request: at the deadline, when the client leaves, when the server stops."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import psutil
import pytest

from serving.model_server.batching import BatchScheduler
from serving.model_server.config import BatchingParameters
from serving.model_server.errors import StatusError
from serving.model_server.grpc_client import GrpcClient, predict_request
from serving.model_server.running import Running, Work
from serving.model_server.servable import Servable
from serving.model_server.starting import free_ports
from tests.serving.conftest import ROOT
from tests.serving.numbered import save_numbered

CODE = grpc.StatusCode
FOR_EVER = 2**31 - 1  # turns: half an hour
BODY = json.dumps({"signature_name": "loop", "inputs": FOR_EVER})


def turns(count: int, rows: int = 0) -> dict[str, np.ndarray]:
    return {"turns": np.full((rows, 1) if rows else (), count, "int32")}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("served") / "toy"
    save_numbered(base / "1", 1)
    return base


def is_idle(process: psutil.Process, seconds: float = 1.0) -> bool:
    """Whether the process uses less than a tenth of a core for ``seconds``."""
    before = sum(process.cpu_times()[:2])
    time.sleep(seconds)
    return sum(process.cpu_times()[:2]) - before < 0.1 * seconds


def assert_idle_soon(process: psutil.Process) -> None:
    assert any(is_idle(process) for _ in range(5))


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "batched"])
def servable(request, base) -> Iterator[Servable]:
    scheduler = BatchScheduler(BatchingParameters(num_batch_threads=2)) if request.param else None
    yield Servable("toy", 1, base / "1", scheduler, running=Running())
    if scheduler:
        scheduler.close()


@pytest.mark.parametrize("rows", [0, 1])  # only inputs with rows share a batch
def test_the_deadline_ends_a_loop_in_the_graph(servable, rows):
    signature = "loop_rows" if rows else "loop"
    started = time.monotonic()
    with pytest.raises(StatusError, match=r"The deadline of the request passed\.") as caught:
        servable.run(signature, turns(FOR_EVER, rows), timeout_s=0.3)
    assert caught.value.code == CODE.DEADLINE_EXCEEDED
    assert 0.2 < time.monotonic() - started < 5
    assert_idle_soon(psutil.Process())
    assert servable.run(signature, turns(50, rows), timeout_s=30)["y"].ravel()[0] == 2.0


def test_threads_have_deadlines_of_their_own(servable):
    """TensorFlow's own context of cancellation is shared by all threads."""
    results: list[object] = []

    def run(count: int, timeout_s: float | None) -> None:
        try:
            results.append(float(servable.run("loop", turns(count), (), timeout_s)["y"]))
        except StatusError as error:
            results.append(error.code)

    threads = [threading.Thread(target=run, args=(FOR_EVER, 0.5)) for _ in range(2)]
    threads += [threading.Thread(target=run, args=(60_000, None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, results)) == ["2.0"] * 2 + [str(CODE.DEADLINE_EXCEEDED)] * 2


def test_work_of_a_client_that_left_ends(servable):
    client = Work()
    threading.Timer(0.3, client.end, [StatusError(CODE.CANCELLED, "")]).start()
    with pytest.raises(StatusError, match="client has left") as caught:
        servable.run("loop_rows", turns(FOR_EVER, 1), on_leave=client.on_end)
    assert caught.value.code == CODE.CANCELLED
    with pytest.raises(StatusError, match="client has left"):
        servable.run("loop", turns(FOR_EVER), on_leave=lambda _: False)
    assert_idle_soon(psutil.Process())


def test_a_batch_goes_on_for_those_who_still_wait(base):
    scheduler = BatchScheduler(
        BatchingParameters(batch_timeout_micros=300_000, num_batch_threads=1)
    )
    servable = Servable("toy", 1, base / "1", scheduler)
    found = []

    def wait_for_it() -> None:
        found.append(servable.run("loop_rows", turns(300_000, 1))["y"].tolist())

    waiting = threading.Thread(target=wait_for_it)
    waiting.start()
    with pytest.raises(StatusError, match="deadline"):
        servable.run("loop_rows", turns(300_000, 1), timeout_s=0.5)
    waiting.join()
    assert found == [[[2.0]]]
    scheduler.close()


def test_work_that_is_stopped_does_not_begin(servable, base):
    with pytest.raises(StatusError, match="deadline"):
        servable.run("", {"x": np.zeros(1, "float32")}, timeout_s=-1.0)
    running = Running()
    stopped = Servable("toy", 1, base / "1", running=running)
    threading.Timer(0.3, running.stop).start()
    for count in (FOR_EVER, 1):
        with pytest.raises(StatusError, match="The server is stopping") as caught:
            stopped.run("loop", turns(count))
        assert caught.value.code == CODE.UNAVAILABLE


@contextlib.contextmanager
def server(base: Path, *flags: str) -> Iterator[tuple[psutil.Process, str, str]]:
    """A server process, and its addresses of gRPC and REST."""
    port, rest_port = free_ports(2)
    process = psutil.Popen(
        [
            *(sys.executable, "-m", "serving.model_server", "--stop_at_end_of_stdin"),
            *(f"--port={port}", f"--rest_api_port={rest_port}", "--model_name=toy"),
            *(f"--model_base_path={base}", *flags),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "Serving" in process.stdout.readline(), process.stderr.read()
        yield process, f"127.0.0.1:{port}", f"http://127.0.0.1:{rest_port}/v1/models/toy"
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_requests_that_ran_out_of_time_leave_the_server_free(base):
    flags = ("--rest_api_timeout_in_ms=2000", "--rest_api_num_threads=4", "--grpc_max_threads=4")
    with server(base, *flags) as (process, address, url), GrpcClient(address, "toy") as client:
        assert is_idle(process)
        threads, codes = [], []
        for _ in range(4):
            ask = lambda: codes.append(httpx.post(f"{url}:predict", content=BODY, timeout=60))  # noqa: E731
            threads.append(threading.Thread(target=ask))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert [response.status_code for response in codes] == [504] * 4
        assert_idle_soon(process)
        assert httpx.get(url, timeout=1).status_code == 200
        request = predict_request("toy", "loop", turns(FOR_EVER))
        calls = [client.predictions.Predict.future(request, timeout=20.0) for _ in range(3)]
        time.sleep(0.5)  # loops of no end run, and others do not wait for them
        began = time.monotonic()
        for _ in range(20):
            httpx.post(f"{url}:predict", json={"instances": [1.0]}, timeout=30).raise_for_status()
        assert time.monotonic() - began < 10 and not any(call.done() for call in calls)
        for call in calls:
            call.cancel()
        assert_idle_soon(process)
        for _ in range(4):
            with pytest.raises(grpc.RpcError) as caught:
                client.predictions.Predict(request, timeout=1.0)
            assert caught.value.code() == CODE.DEADLINE_EXCEEDED
        assert_idle_soon(process)
        call = client.predictions.Predict.future(request)  # without a deadline
        time.sleep(0.5)
        assert not is_idle(process, 0.3)
        call.cancel()
        assert_idle_soon(process)
        assert client.states(1.0) == {1: "AVAILABLE"}


def test_work_of_a_rest_client_that_hangs_up_ends(base):
    """Whether it closes the connection, or the connection breaks, or its process is gone."""
    with server(base) as (process, _, url):
        port = int(url.partition("//")[2].partition("/")[0].rpartition(":")[2])
        head = "POST /v1/models/toy:predict HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Length: {len(BODY)}"
        for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):  # FIN, then RST
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.sendall(f"{head}\r\n\r\n{BODY}".encode())
                time.sleep(0.5)
                assert not is_idle(process, 0.3)
            assert_idle_soon(process)


def test_sigterm_drains_then_says_unavailable(base):
    flags = ("--rest_api_timeout_in_ms=60000",)
    short = 100_000
    with server(base, *flags) as (process, address, url), GrpcClient(address, "toy") as client:
        began = time.monotonic()
        httpx.post(f"{url}:predict", content=BODY.replace(str(FOR_EVER), str(short)), timeout=60)
        short = int(short * 2 / (time.monotonic() - began))  # two seconds of turns
        answers: dict[str, object] = {}

        def rest(name: str, count: int) -> None:
            body = BODY.replace(str(FOR_EVER), str(count))
            answers[name] = httpx.post(f"{url}:predict", content=body, timeout=60).status_code

        def over_grpc(name: str, count: int) -> None:
            try:
                answers[name] = float(client.predict("loop", turns(count), 60)["y"])
            except grpc.RpcError as error:
                answers[name] = error.code()

        threads = [
            threading.Thread(target=ask, args=(f"{ask.__name__} {count}", count))
            for ask in (rest, over_grpc)
            for count in (short // 20, FOR_EVER)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        process.terminate()
        for thread in threads:
            thread.join()
        assert process.wait(30) == 0
        assert answers == {
            f"rest {short // 20}": 200,
            f"rest {FOR_EVER}": 503,
            f"over_grpc {short // 20}": 2.0,
            f"over_grpc {FOR_EVER}": CODE.UNAVAILABLE,
        }
        assert "Traceback" not in process.stderr.read()
