"""A server with narrow bounds: what is too large, too slow or too much is told, and it goes on."""

import concurrent.futures
import gzip
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from serving.model_server.errors import StatusError
from serving.model_server.grpc_client import GrpcClient, predict_request
from serving.model_server.limits import Limits
from tests.serving.conformance.model import HalfPlus
from tests.serving.conftest import start_model_server
from tests.serving.test_model_server import failure
from tests.serving.toy_model import save_toy

MIB = 2**20


class Narrow:
    """One such server: its process, and where it answers."""

    def __init__(self, base: Path):
        flags = [
            *("--model_name=toy", f"--model_base_path={base}", "--max_request_mib=1"),
            *("--max_instances=100", "--rest_api_timeout_in_ms=2000"),
            *("--enable_batching", f"--batching_parameters_file={base / 'batching.config'}"),
            "--rest_api_enable_cors_support",
        ]
        (base / "batching.config").write_text(
            "max_batch_size { value: 8 } max_enqueued_batches { value: 2 } "
            "num_batch_threads { value: 1 } batch_timeout_micros { value: 1000 }"
        )
        self.process = start_model_server(*flags)
        line = self.process.stdout.readline()
        self.grpc, self.rest = line.partition(" at ")[2].strip().split(", REST at ")

    def post(self, content, headers: dict | None = None, timeout: float = 30) -> httpx.Response:
        url = f"http://{self.rest}/v1/models/toy:predict"
        body = {"json": content} if isinstance(content, dict) else {"content": content}
        return httpx.post(url, headers=headers, timeout=timeout, **body)

    def is_well(self) -> bool:
        content = {"signature_name": "decode", "instances": [[0.0] * 3]}
        return self.post(content).status_code == 200


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrow]:
    base = tmp_path_factory.mktemp("narrow")
    save_toy(base / "1", extra=lambda: {"slow": HalfPlus(0.0).signatures()["work"]})
    found = Narrow(base)
    yield found
    found.process.terminate()
    assert found.process.wait(30) == 0


@pytest.mark.parametrize(("name", "most"), [("count", 10), ("steps", 20)])
def test_a_request_may_take_what_its_limit_says_and_no_more(name, most):
    limits = Limits(max_count=10, max_steps=20, max_instances=2)
    for value in (1, most):
        limits.check_arrays({name: np.array(value, "int32")})
    for value in (0, most + 1, -1):
        with pytest.raises(StatusError, match=f"between 1 and {most} .--max_{name}."):
            limits.check_arrays({name: np.array(value, "int32")})
    limits.check_arrays({"image": np.zeros((2, 28, 28, 1))})
    with pytest.raises(StatusError, match="holds 3 instances; send at most 2"):
        limits.check_arrays({"image": np.zeros((3, 28, 28, 1))})


def test_body_above_the_limit(narrow):
    response = narrow.post(b'{"instances": [' + b"1," * MIB + b"1]}")
    assert response.status_code == 413
    assert "larger than 1048576 bytes" in response.json()["error"]
    bomb = gzip.compress(b" " * (64 * MIB))
    assert len(bomb) < MIB
    response = narrow.post(bomb, {"Content-Encoding": "gzip"})
    assert response.status_code == 413
    response = narrow.post(b"no gzip", {"Content-Encoding": "gzip"})
    assert response.status_code == 400 and "not gzip" in response.json()["error"]
    assert narrow.is_well()


def test_too_many_instances(narrow):
    content = {"signature_name": "decode", "instances": [[0.0] * 3] * 101}
    response = narrow.post(content)
    assert response.status_code == 400
    assert response.json()["error"] == (
        'The input "code" holds 101 instances; send at most 100 at a time (--max_instances).'
    )
    with GrpcClient(narrow.grpc, "toy") as client:
        images = np.zeros((101, 28, 28, 1), "float32")
        _, text = failure(client.predict, "", {"image": images}, 30)
        assert "at most 100" in text


def test_too_slow_a_request_and_too_many_of_them(narrow):
    content = {"signature_name": "slow", "instances": [1000]}
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(narrow.post, content) for _ in range(40)]
        codes = [answer.result().status_code for answer in answers]
    # One batch runs, two wait; what would wait longer is refused at once.
    assert set(codes) == {503, 504} and codes.count(503) >= 40 - 3 * 8
    deadline = time.monotonic() + 60
    while not narrow.is_well():
        assert time.monotonic() < deadline


def test_clients_that_leave_or_never_finish(narrow):
    host, port = narrow.rest.split(":")
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    for _ in range(20):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head + b'{"inst')
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(20)
        client.sendall(head + b'{"inst')
        assert b"504" in client.recv(1000)
    for junk in (b"\x00" * 100 + b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 200_000):
        with socket.create_connection((host, int(port))) as client:
            client.settimeout(20)
            try:
                client.sendall(junk)
                client.recv(1000)
            except (ConnectionError, TimeoutError):
                pass
    assert narrow.is_well()


def test_a_call_without_deadline_is_answered(narrow):
    request = predict_request("toy", "decode", {"code": np.zeros((1, 3), "float32")})
    with GrpcClient(narrow.grpc, "toy") as client:
        assert client.predictions.Predict(request).outputs["image"]


def test_pages_of_other_origins_may_ask(narrow):
    url = f"http://{narrow.rest}/v1/models/toy:predict"
    response = httpx.options(url, headers={"Origin": "http://page.example"})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-methods"] == "POST, GET"
    assert response.headers["access-control-allow-headers"] == "Content-Type"


@pytest.mark.parametrize(
    ("body", "code"),
    [(b'{"instances": [' + b"[" * 400_000, 400), (b'{"instances": [' + b"1," * MIB, 413)],
)
def test_memory_does_not_grow_with_bad_requests(narrow, body, code):
    process = psutil.Process(narrow.process.pid)
    for _ in range(20):
        assert narrow.post(body).status_code == code
    before = process.memory_info().rss
    for _ in range(200):
        assert narrow.post(body).status_code == code
    assert process.memory_info().rss - before < 50 * MIB
