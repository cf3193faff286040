"""No file is left for one more connection: both fronts go on when there are files again."""

import contextlib
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from benchmarks import serving_faults
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


# Loads and runs a model in new threads, with ever more files that can be opened.
FEW_FILES = """
import os, resource, sys, threading
from pathlib import Path
import numpy as np
from serving.model_server.errors import LoadError, StatusError
from serving.model_server.servable import Servable

loaded, answers, refused = Servable("toy", 1, Path(sys.argv[1])), [], []
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)

def run():
    answers.append(loaded.run("", {"x": np.ones(1, np.float32)})["y"].tolist())

def load():
    try:
        Servable("toy", 1, Path(sys.argv[1]))
    except (LoadError, StatusError) as error:
        refused.append(str(error))

for files in range(12):
    for work in (run, load):
        highest, filled = max(map(int, os.listdir("/proc/self/fd"))), [-1]
        while filled[-1] <= highest:  # then no number below is free
            filled.append(os.open(os.devnull, os.O_RDONLY))
        resource.setrlimit(resource.RLIMIT_NOFILE, (filled[-1] + 1 + files, most))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        for file in filled[1:]:
            os.close(file)
assert answers == [[1.0]] * 12, answers
assert len(refused) == 12 and all("limit of open files" in error for error in refused), refused
"""


def test_tensorflow_does_not_end_the_process_for_want_of_a_file(tmp_path):
    """It would at the first graph of a thread, and where another thread takes the last file.

    So a model is loaded only where there is room for many.
    """
    model = serving_faults.save_numbered(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, model], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
