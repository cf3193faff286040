"""The REST front: predict, status, metadata and metrics, as TensorFlow Serving answers them.

Contract: paths, codes and bodies of http_rest_api_handler.cc and http_server.cc; an error is
{"error": "..."}. Every request is bounded in size and time, and so is the number that wait.
"""

import asyncio
import dataclasses
import json
import logging
import re
import socket
import threading
import time
import urllib.parse
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import uvicorn
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.model_server import codec
from serving.model_server.errors import StatusError, invalid, unavailable
from serving.model_server.metrics import Metrics
from serving.model_server.repository import Repository
from serving.model_server.starting import PortError

_MODEL = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_MODEL}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_ABOUT = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_MODEL}(?P<metadata>/metadata)?", re.IGNORECASE
)
_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}  # 500 for all others
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_INT64_MAX = 2**63 - 1
_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RestSettings:
    """Bounds of the REST front, and its metrics and CORS options."""

    threads: int = 64
    timeout_seconds: float = 30.0
    max_body_bytes: int = 64 << 20
    max_waiting: int = 1024
    cors: bool = False
    metrics_path: str | None = None


class RestServer:
    """Answers on ``host:port`` from a thread of its own, between ``start`` and ``stop``."""

    def __init__(
        self,
        host: str,
        port: int,
        repository: Repository,
        metrics: Metrics,
        settings: RestSettings,
    ):
        """Opens the port, 0 for a free one; raises ``PortError`` if that fails."""
        try:
            self._socket = socket.create_server((host, port), backlog=2048)
        except OSError as error:
            raise PortError(host, port, "--rest_api_port", error.errno or 0) from error
        self.port = self._socket.getsockname()[1]
        self._app = _App(repository, metrics, settings)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                http="httptools",
                loop="uvloop",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=5,
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Finishes running requests, for 5 seconds at most, and closes the port."""
        self._server.should_exit = True
        self._thread.join()
        self._app.close()


class _App:
    """The ASGI application; the work is done in threads, as TensorFlow blocks."""

    def __init__(self, repository: Repository, metrics: Metrics, settings: RestSettings):
        self._repository = repository
        self._metrics = metrics
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="rest")
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii", "replace")
        if path == self._settings.metrics_path:
            return Response(self._metrics.text(), media_type="text/plain")
        if not path.lower().startswith("/v1/") and path.lower() != "/v1":
            page = "<html><head><title>404 Not Found</title></head><body>Not Found</body></html>"
            return Response(page, 404, media_type="text/html")
        headers = _CORS if self._settings.cors else {}
        try:
            code, content = 200, await self._work(request, path)
        except Exception as error:  # noqa: BLE001 - the edge: every request is answered
            code, message = _failure(error, f"{request.method} {path}")
            content = json.dumps({"error": message}, indent=4).encode()
            # wait_for's frame holds the task, the task this error, and its traceback that frame:
            # a circle that would keep the body until the next collection.
            error.__traceback__ = None
        return Response(content, code, headers, media_type="application/json")

    async def _work(self, request: Request, path: str) -> bytes:
        if request.method == "OPTIONS":
            if not re.search("https?://", request.headers.get("origin", "")):
                raise StatusError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "Origin header is missing in CORS preflight",
                )
            return b""
        if self._waiting >= self._settings.max_waiting:
            raise unavailable(f"{self._waiting} requests are waiting already; try again later.")
        self._waiting += 1
        try:
            return await asyncio.wait_for(self._run(request, path), self._settings.timeout_seconds)
        except TimeoutError:
            raise StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"The request took longer than {self._settings.timeout_seconds:g} s.",
            ) from None
        finally:
            self._waiting -= 1

    async def _run(self, request: Request, path: str) -> bytes:
        body = await self._read(request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._route, request.method, path, body)

    async def _read(self, request: Request) -> bytes:
        limit = self._settings.max_body_bytes
        is_gzip = request.headers.get("content-encoding", "").lower() == "gzip"
        unpack = zlib.decompressobj(wbits=31) if is_gzip else None
        chunks, size = [], 0
        async for chunk in request.stream():
            if unpack:
                try:
                    chunk = unpack.decompress(chunk, limit + 1 - size)
                except zlib.error as error:
                    raise invalid(f"The body is not gzip: {error}") from None
            size += len(chunk)
            if size > limit:
                raise _TooLarge(f"The body is larger than {limit} bytes; send fewer instances.")
            chunks.append(chunk)
        return b"".join(chunks)

    def _route(self, method: str, path: str, body: bytes) -> bytes:
        call, about = _CALL.fullmatch(path), _ABOUT.fullmatch(path)
        if method == "POST" and call:
            spec = _spec(call)
            if call["method"].lower() != "predict":
                raise StatusError(
                    grpc.StatusCode.UNIMPLEMENTED,
                    f"{call['method']} is not implemented by this server; call predict.",
                )
            return self._predict(spec, body)
        if method == "GET" and about:
            if not about["name"]:
                raise invalid("Missing model name in request.")
            return self._metadata(about) if about["metadata"] else self._status(about)
        raise invalid(f"Malformed request: {method} {path}")

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        started, status = time.monotonic(), "OK"
        try:
            servable = self._repository.find(spec)
            name, inputs, is_row = codec.read_request(
                body, servable.signature_defs, servable.limits
            )
            outputs = servable.run(name, inputs, timeout_s=self._settings.timeout_seconds)
            return codec.write_response(outputs, is_row)
        except StatusError as error:
            status = error.code.name
            raise
        finally:
            taken = time.monotonic() - started
            self._metrics.request(spec.name, "REST", status, taken)

    def _status(self, match: re.Match) -> bytes:
        response = get_model_status_pb2.GetModelStatusResponse()
        states = self._repository.states(_spec(match))
        for version, state in sorted(states.items(), reverse=True):
            response.model_version_status.add(version=version, state=state).status.SetInParent()
        return json.dumps(_document(response), indent=1).encode()

    def _metadata(self, match: re.Match) -> bytes:
        servable = self._repository.find(_spec(match))
        spec = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
        signatures = _document(servable.signature_map())
        document = {"model_spec": spec, "metadata": {"signature_def": signatures}}
        return json.dumps(document, indent=1).encode()


class _TooLarge(Exception):
    """A body above the bound."""


def _failure(error: Exception, what: str) -> tuple[int, str]:
    """HTTP status and message for the error of ``what``; unexpected errors go to the log."""
    if isinstance(error, StatusError):
        return _HTTP.get(error.code.name, 500), error.message
    if isinstance(error, _TooLarge):
        return 413, str(error)
    if isinstance(error, ClientDisconnect):
        return _HTTP["CANCELLED"], "The client disconnected."  # nobody reads it
    _LOGGER.error("%s failed", what, exc_info=error)
    return 500, "Internal error; see the log of the server."


def _document(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _spec(match: re.Match) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(match["name"]))
    if match["version"]:
        if int(match["version"]) > _INT64_MAX:
            raise invalid(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(match["version"])
    elif match["label"]:
        spec.version_label = urllib.parse.unquote(match["label"])
    return spec
