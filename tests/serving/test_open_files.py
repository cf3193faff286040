"""No file is left for one more connection: both fronts go on when there are files again."""

import contextlib
import socket
import time
from pathlib import Path

import httpx
import psutil
import pytest

from serving.model_server.grpc_client import GrpcClient
from tests.serving.conftest import start_model_server
from tests.serving.numbered import save_numbered

CLIENTS = 40


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_the_ports_answer_again_once_there_are_files(tmp_path):
    save_numbered(tmp_path / "toy" / "1", 1)
    with start_model_server("--model_name=toy", f"--model_base_path={tmp_path / 'toy'}") as child:
        grpc_address, rest_address = (
            child.stdout.readline().partition(" at ")[2].strip().split(", REST at ")
        )
        url = f"http://{rest_address}/v1/models/toy"
        assert httpx.get(url, timeout=10).status_code == 200
        process = psutil.Process(child.pid)
        before = process.rlimit(psutil.RLIMIT_NOFILE)
        for _ in range(2):
            # Connections, and whatever else the process wants to open, fail from now on.
            process.rlimit(psutil.RLIMIT_NOFILE, (4, before[1]))
            with contextlib.ExitStack() as stack:
                for address in (rest_address, grpc_address):
                    for _ in range(CLIENTS):
                        stack.enter_context(connected(address))
                with pytest.raises(httpx.HTTPError):
                    httpx.get(url, timeout=2)
                time.sleep(1.0)
            process.rlimit(psutil.RLIMIT_NOFILE, before)
            assert httpx.get(url, timeout=10).status_code == 200
            with GrpcClient(grpc_address, "toy") as client:
                assert client.states(10) == {1: "AVAILABLE"}
        child.terminate()
        assert child.wait(30) == 0


def test_new_threads_run_a_model_while_no_file_can_be_opened(tmp_path):
    """TensorFlow opens a file at the first graph of each thread, and ends the process without."""
    save_numbered(tmp_path / "toy" / "1", 1)
    with start_model_server("--model_name=toy", f"--model_base_path={tmp_path / 'toy'}") as child:
        address = child.stdout.readline().partition(", REST at ")[2].strip()
        url = f"http://{address}/v1/models/toy"
        with httpx.Client(timeout=10) as client:
            assert client.get(url).status_code == 200  # this connection stays
            process = psutil.Process(child.pid)
            before = process.rlimit(psutil.RLIMIT_NOFILE)
            highest = max(int(file.name) for file in Path(f"/proc/{child.pid}/fd").iterdir())
            process.rlimit(psutil.RLIMIT_NOFILE, (highest + 1, before[1]))
            answers = [client.post(f"{url}:predict", json={"instances": [1.0]}) for _ in range(3)]
            process.rlimit(psutil.RLIMIT_NOFILE, before)
        assert [answer.json() for answer in answers] == [{"predictions": [2.0]}] * 3
        child.terminate()
        assert child.wait(30) == 0
