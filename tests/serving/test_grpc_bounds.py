"""What clients may hold of the gRPC front: threads, while a message comes, and memory."""

import contextlib
import multiprocessing
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from benchmarks.serving_load import run_clients
from serving.model_server.config import ModelConfig
from serving.model_server.grpc_client import GrpcClient, predict_request
from serving.model_server.grpc_server import GrpcSettings, start_server
from serving.model_server.limits import Limits
from serving.model_server.metrics import Metrics
from serving.model_server.repository import Repository
from tests.serving.conftest import start_model_server
from tests.serving.numbered import save_numbered
from tests.serving.toy_model import save_toy

THREADS = 4
CALLS = ("PredictionService/Predict", "ModelService/GetModelStatus")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    base: Path = tmp_path_factory.mktemp("toy")
    save_numbered(base / "1", 1)
    found = Repository([ModelConfig("toy", base)])
    found.start(0)
    return found


@contextlib.contextmanager
def serving(repository: Repository, **settings) -> Iterator[str]:
    settings = GrpcSettings(threads=THREADS, **settings)
    server, port = start_server(repository, "127.0.0.1", 0, Metrics(), Limits(), settings)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def open_calls(channel: grpc.Channel, path: str, count: int, end: threading.Event) -> list:
    """Calls that have begun, and whose message comes when ``end`` is set."""

    def late() -> Iterator[bytes]:
        end.wait()
        yield b""

    ask = channel.stream_unary(f"/tensorflow.serving.{path}")
    return [ask.future(late()) for _ in range(count)]


@pytest.mark.parametrize("path", CALLS)
def test_calls_without_a_message_hold_up_nobody_else_and_end(repository, path):
    end = threading.Event()
    with (
        serving(repository, receive_seconds=3.0) as address,
        grpc.insecure_channel(address) as channel,
        GrpcClient(address, "toy") as client,
    ):
        calls = open_calls(channel, path, 40, end)
        time.sleep(0.5)
        began = time.monotonic()
        found = client.predict("", {"x": np.ones(1, "float32")}, timeout_s=2)
        assert found["y"].tolist() == [2.0] and client.states(2) == {1: "AVAILABLE"}
        assert time.monotonic() - began < 2
        # Two had a place; which of them, no order says. The rest wait for one as long, or get it.
        codes = {call.exception(20).code() for call in calls}
        assert grpc.StatusCode.CANCELLED in codes
        assert codes <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        end.set()


def test_many_calls_on_one_connection_are_all_answered(repository):
    """gRPC's own bound on the calls of a connection resets some, which good clients would see."""
    with serving(repository) as address, GrpcClient(address, "toy") as client:

        def ask(value: int) -> float:
            inputs = {"x": np.full(1, value, "float32")}
            return float(client.predict("", inputs, timeout_s=30)["y"][0])

        with ThreadPoolExecutor(32) as pool:
            assert list(pool.map(ask, range(300))) == [value + 1 for value in range(300)]


def test_a_call_may_have_no_message_or_several(repository):
    with serving(repository) as address, grpc.insecure_channel(address) as channel:
        for path in CALLS:
            ask = channel.stream_unary(f"/tensorflow.serving.{path}")
            for messages in ([], [b"", b""]):
                with pytest.raises(grpc.RpcError) as caught:
                    ask(iter(messages), timeout=10)
                assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.extended
@pytest.mark.parametrize(("threads", "in_flight"), [(4, 64), (16, 64), (16, 256)])
def test_many_large_messages_at_once_take_no_more_than_the_flags_say(tmp_path, threads, in_flight):
    """64 clients send 15 MiB each, again and again."""
    save_toy(tmp_path / "1")
    flags = [f"--grpc_max_threads={threads}", f"--max_requests_mib={in_flight}"]
    flags.append("--max_request_mib=16")
    images = {"image": np.ones((5000, 28, 28, 1), "float32")}
    body = predict_request("toy", "discriminate", images).SerializeToString()
    path = "/tensorflow.serving.PredictionService/Predict"
    with (
        start_model_server("--model_name=toy", f"--model_base_path={tmp_path}", *flags) as child,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        address = child.stdout.readline().partition(" at ")[2].partition(",")[0]
        port = int(address.rpartition(":")[2])
        pool.apply(run_clients, ("gRPC", port, path, body, 1, 2.0))
        status = Path(f"/proc/{child.pid}/status")

        def peak_mib() -> float:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024

        before = peak_mib()
        latencies, errors = pool.apply(run_clients, ("gRPC", port, path, body, 64, 10.0))
        grown = peak_mib() - before
        print(f"{threads} threads, {in_flight} MiB in flight: {before:.0f} + {grown:.0f} MiB")
        print(f"{len(latencies)} answered, {errors} refused")
        assert latencies
        # Messages on their way, in gRPC and in Python; those that are answered, five times.
        assert grown < 2 * 16 * threads + 5 * in_flight + 100
        with GrpcClient(address, "toy") as client:
            assert client.states(10) == {1: "AVAILABLE"}
        child.terminate()
        assert child.wait(30) == 0
