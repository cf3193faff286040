"""Status, metadata and health answer while predictions take all that the machine has."""

import http.client
import json
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.serving_load import run_clients
from serving.model_server.grpc_client import GrpcClient, predict_request
from tests.serving.conftest import model_server
from tests.serving.toy_model import save_toy

pytestmark = pytest.mark.extended

# Long enough that each client ends its first, slowest request, which is not counted.
CLIENTS, SECONDS = 64, 15.0
# Of half the probes and of 19 in 20, on cores that the clients share with the rest of the tests; a
# probe that waited for predictions would take seconds. Kubernetes' own limit is 1 s by default.
MOST_USUAL_SECONDS, MOST_SECONDS = 0.25, 1.0
# Status over gRPC while tensors come in over gRPC: Python's gRPC takes all messages in one thread,
# so it waits for those before it (0.4 s here). Health checks of Kubernetes ask REST.
MOST_AMONG_TENSORS_SECONDS = 1.0
IMAGES = np.random.default_rng(0).random((500, 28, 28, 1), dtype="float32")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    base: Path = tmp_path_factory.mktemp("probes")
    save_toy(base / "1")
    flags = ["--model_name=toy", f"--model_base_path={base}", "--enable_grpc_healthcheck_service"]
    flags.append("--rest_api_timeout_in_ms=300000")  # the requests may be slow, the probes not
    with model_server(*flags) as found:
        yield found


def generate() -> bytes:
    inputs = {"seed": 1, "count": 1000, "steps": 100}
    return json.dumps({"signature_name": "generate", "inputs": inputs}).encode()


def rows() -> bytes:
    return json.dumps({"instances": IMAGES.tolist()}).encode()


def tensors() -> bytes:
    return predict_request("toy", "", {"image": IMAGES}).SerializeToString()


@pytest.mark.parametrize(
    ("protocol", "body"), [("REST", generate), ("REST", rows), ("gRPC", tensors)]
)
def test_probes_answer_while_heavy_requests_run(addresses, protocol, body):
    grpc_address, rest_address = addresses
    port = int((rest_address if protocol == "REST" else grpc_address).rpartition(":")[2])

    def get(path: str) -> None:
        connection = http.client.HTTPConnection(rest_address, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200 and response.read()
        connection.close()

    with (
        multiprocessing.get_context("spawn").Pool(1) as pool,
        grpc.insecure_channel(grpc_address) as channel,
        GrpcClient(grpc_address, "toy") as client,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        probes = {
            "status": lambda: get("/v1/models/toy"),
            "metadata": lambda: get("/v1/models/toy/metadata"),
            "GetModelStatus": lambda: client.states(30),
            "Check": lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=30),
        }
        path = "/v1/models/toy:predict"
        arguments = (protocol, port, path, body(), CLIENTS, SECONDS)
        load = pool.apply_async(run_clients, arguments)
        time.sleep(2)
        taken: dict[str, list[float]] = {name: [] for name in probes}
        while not load.ready():
            for name, probe in probes.items():
                began = time.perf_counter()
                probe()
                taken[name].append(time.perf_counter() - began)
            time.sleep(0.05)
        latencies, errors = load.get()
    assert latencies or errors  # on few cores some clients give up; the probes are what counts
    for name, seconds in taken.items():
        assert len(seconds) > 5
        usual, most = np.percentile(seconds, [50, 95])
        print(f"{name}: median {usual:.3f} s, 95 % {most:.3f} s, largest {max(seconds):.3f} s")
        if protocol == "gRPC" and name in ("GetModelStatus", "Check"):
            assert most < MOST_AMONG_TENSORS_SECONDS, name
        else:
            assert usual < MOST_USUAL_SECONDS and most < MOST_SECONDS, name
