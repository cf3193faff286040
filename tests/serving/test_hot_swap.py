"""Versions come, break and go back while 32 clients call: no request fails."""

import shutil
import threading
import time
from typing import Self

import httpx
import numpy as np
import pytest

from components.pusher.push import push
from serving.client import Client
from serving.model_server.grpc_client import GrpcClient, predict_request
from tests.serving.conftest import Served, serving_of
from tests.serving.toy_models import save_autoencoder

SWAPS, CLIENTS = 12, 32
IMAGE = np.full((1, 28, 28, 1), 0.25, "float32")


class Callers:
    """Half of them over REST, half over gRPC; none tries again. Answers tell the version."""

    def __init__(self, served: Served):
        self.versions: list[list[int]] = [[] for _ in range(CLIENTS)]
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(served, number)) for number in range(CLIENTS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, served: Served, number: int) -> None:
        ask = self._rest(served) if number % 2 else self._grpc(served)
        while not self._stop.is_set():
            try:
                score = ask()
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                time.sleep(0.01)
            else:
                self.versions[number].append(round(score - 0.25))
                time.sleep(0.05)  # leaves some of the processor to the swaps

    def _rest(self, served: Served):
        client = httpx.Client(timeout=30)
        url = f"http://{served.rest}/v1/models/autoencoder:predict"
        body = {"signature_name": "anomaly_score", "instances": IMAGE.tolist()}
        return lambda: client.post(url, json=body).raise_for_status().json()["predictions"][0]

    def _grpc(self, served: Served):
        client = GrpcClient(served.grpc, "autoencoder")
        request = predict_request("autoencoder", "anomaly_score", {"image": IMAGE})

        def ask() -> float:
            response = client.predictions.Predict(request, timeout=30)
            return response.outputs["anomaly_score"].float_val[0]

        return ask


@pytest.mark.extended
def test_no_request_fails_while_versions_change(tmp_path):
    save_autoencoder(tmp_path / "serving" / "autoencoder" / "2", shift=2.0)
    saved = [
        save_autoencoder(tmp_path / str(version), shift=version) for version in range(3, 3 + SWAPS)
    ]
    with (
        serving_of(tmp_path / "serving") as served,
        Client("autoencoder", served.rest) as client,
        Callers(served) as callers,
    ):
        serving = served.serving / "autoencoder"

        def wait_for(version: int) -> None:
            end = time.monotonic() + 60
            while client.version() != version:
                assert time.monotonic() < end, version
                time.sleep(0.05)

        for number, model in enumerate(saved, 3):
            pushed = push(model, serving, keep_versions=2, clock=lambda n=number: n)
            assert pushed.version == str(number)
            wait_for(number)
        newest = 2 + SWAPS
        # A version that does not load is left aside, and a roll-back leads past it.
        broken = tmp_path / "broken"
        shutil.copytree(saved[-1], broken)
        (broken / "saved_model.pb").write_bytes(b"junk")
        push(broken, serving, keep_versions=3, clock=lambda: newest + 1)
        end = time.monotonic() + 60
        while newest + 1 not in client.states():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert client.version() == newest
        base = ("--serving", str(served.serving))
        done = served.inkwell("rollback", "autoencoder", *base)
        assert f"stable is version {newest}" in done.stdout, done.stderr
        done = served.inkwell("rollback", "autoencoder", *base)
        assert f"stable is version {newest - 1}" in done.stdout, done.stderr
        wait_for(newest - 1)
        counted = sum(map(len, callers.versions))
        while sum(map(len, callers.versions)) < counted + CLIENTS:
            time.sleep(0.01)
    assert callers.failures == []
    for versions in callers.versions:
        going = versions.index(newest)  # nobody was given an older version on the way there
        assert versions[: going + 1] == sorted(versions[: going + 1])
        assert set(versions[going:]) == {newest, newest - 1} and versions[-1] == newest - 1
    seen = {version for versions in callers.versions for version in versions}
    assert seen >= set(range(3, newest + 1)) and len(seen) <= SWAPS + 1
