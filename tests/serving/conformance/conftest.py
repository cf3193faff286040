"""The server under test: ours, or the one that INKWELL_SERVING_ENDPOINT=host:grpc,rest names."""

import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from serving.model_server.grpc_client import GrpcClient
from tests.serving.conformance import model
from tests.serving.conftest import model_server


@dataclasses.dataclass(frozen=True)
class Server:
    """Addresses, and short ways of asking over REST."""

    grpc: str
    rest: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.rest + path, timeout=30)

    def post(self, path: str, content: Any, **headers: str) -> httpx.Response:
        body = {"content": content} if isinstance(content, (str, bytes)) else {"json": content}
        return httpx.post(self.rest + path, headers=headers, timeout=30, **body)

    def predict(self, content: Any, where: str = "") -> httpx.Response:
        return self.post(f"/v1/models/{model.NAME}{where}:predict", content)

    def error(self, content: Any, where: str = "", code: int = 400) -> str:
        """The text of a predict that must fail with this HTTP status."""
        return error_of(self.predict(content, where), code)


def error_of(response: httpx.Response, code: int) -> str:
    """The error of an answer, whose whole form is checked."""
    assert response.status_code == code, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert list(document) == ["error"]
    return document["error"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    given = os.environ.get("INKWELL_SERVING_ENDPOINT")
    if given:
        found = re.fullmatch(r"([^:]+):(\d+),(\d+)", given)
        assert found, "INKWELL_SERVING_ENDPOINT is host:grpc_port,rest_port"
        yield Server(f"{found[1]}:{found[2]}", f"http://{found[1]}:{found[3]}")
        return
    store = model.write_store(tmp_path_factory.mktemp("conformance"))
    with model_server(*model.flags(store)) as (grpc_address, rest_address):
        yield Server(grpc_address, f"http://{rest_address}")


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[GrpcClient]:
    with GrpcClient(server.grpc, model.NAME) as client:
        yield client


@pytest.fixture(scope="session")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel
