"""The REST front: predict, status, metadata and metrics, as TensorFlow Serving answers them.

Contract: paths, codes and bodies of http_rest_api_handler.cc and http_server.cc; an error is
{"error": "..."}. Every request is bounded in size and time, and so are the number that wait and
the bytes that all take together. Status and metrics never wait for a prediction.
"""

import asyncio
import dataclasses
import functools
import json
import logging
import re
import socket
import time
import urllib.parse
import zlib
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
from aiohttp import ClientError, web
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.access import Access
from serving.model_server import codec
from serving.model_server.callers import cors_headers, refusal
from serving.model_server.errors import StatusError, invalid, unavailable
from serving.model_server.http_server import (
    ConnectionBounds,
    HttpServer,
    TooLarge,
    error_response,
    read_body,
    target_path,
    too_large,
    unix_socket,
)
from serving.model_server.limits import MIB, Budget, converting
from serving.model_server.metrics import UNKNOWN_MODEL, Metrics
from serving.model_server.repository import Repository
from serving.model_server.running import Work
from serving.model_server.starting import PortError
from serving.model_server.tls import Tls

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
_INT64_MAX = 2**63 - 1
_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RestSettings:
    """Bounds of the REST front, and its metrics and CORS options."""

    threads: int = 64
    timeout_seconds: float = 30.0
    max_body_bytes: int = 64 << 20
    max_waiting: int = 1024
    cors: bool = False  # any page may call
    metrics_path: str | None = None
    socket_path: str = ""  # a Unix socket in place of the port
    tls: Tls | None = None
    access: Access = Access()  # noqa: RUF009 - it cannot change
    connections: ConnectionBounds = ConnectionBounds()  # noqa: RUF009 - it cannot change


class RestServer:
    """Answers on ``host:port`` from a thread of its own, between ``start`` and ``stop``."""

    def __init__(
        self,
        host: str,
        port: int | None,
        repository: Repository,
        metrics: Metrics,
        settings: RestSettings,
        budget: Budget | None = None,
    ):
        """Opens the port, 0 for a free one.

        Args:
            host: Address to listen on.
            port: Its port; None where the settings name a Unix socket.
            repository: The models.
            metrics: Where calls are counted.
            settings: Bounds and options.
            budget: Bytes that requests in flight may take; 1 GiB by default.

        Raises:
            PortError: The port is taken or may not be used.
        """
        if port is None:
            listening = unix_socket(settings.socket_path)
            self.address = f"unix:{settings.socket_path}"
        else:
            try:
                listening = socket.create_server((host, port), backlog=2048)
            except OSError as error:
                raise PortError(host, port, "--rest_api_port", error.errno or 0) from error
            self.address = f"{host}:{listening.getsockname()[1]}"
        self._app = _App(repository, metrics, settings, budget or Budget(1024 * MIB))
        tls = settings.tls.context() if settings.tls else None
        self._server = HttpServer(listening, self._app.answer, settings.connections, tls)

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Closes the port and finishes running requests; 503 for those that take longer."""
        self._server.stop(grace_seconds)
        self._app.close()


class _App:
    """Answers requests; predictions run in threads, as TensorFlow blocks."""

    def __init__(
        self, repository: Repository, metrics: Metrics, settings: RestSettings, budget: Budget
    ):
        self._repository, self._metrics = repository, metrics
        self._settings, self._budget = settings, budget
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="rest")
        self._probes = ThreadPoolExecutor(2, thread_name_prefix="rest-probe")
        self._waiting = 0

    def close(self) -> None:
        for pool in (self._threads, self._probes):
            pool.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        headers = cors_headers(request, self._settings.access, self._settings.cors)
        refused = refusal(request, self._settings.access, self._settings.cors)
        if refused is not None:
            refused.headers.update(headers)
            return refused
        path = target_path(request)
        if path == self._settings.metrics_path:
            return web.Response(text=self._metrics.text())
        if not path.lower().startswith("/v1/") and path.lower() != "/v1":
            page = "<html><head><title>404 Not Found</title></head><body>Not Found</body></html>"
            return web.Response(text=page, status=404, content_type="text/html")
        try:
            content = await self._within_time(self._route(request, path))
        except Exception as error:  # noqa: BLE001 - the edge: every request is answered
            code, message = _failure(error, f"{request.method} {path}")
            # The traceback holds the frame of _call, that the thread's job, and that this error: a
            # circle that would keep the body until the next collection.
            error.__traceback__ = None
            return error_response(code, message, headers)
        return web.Response(body=content, headers=headers, content_type="application/json")

    async def _within_time(self, work: Coroutine[Any, Any, bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await work
        except TimeoutError:
            raise StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"The request took longer than {self._settings.timeout_seconds:g} s.",
            ) from None

    async def _route(self, request: web.BaseRequest, path: str) -> bytes:
        call, about = _CALL.fullmatch(path), _ABOUT.fullmatch(path)
        if request.method == "OPTIONS":
            if not re.search("https?://", request.headers.get("Origin", "")):
                raise StatusError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "Origin header is missing in CORS preflight",
                )
            return b""
        if request.method == "POST" and call:
            return await self._call(request, _spec(call), call["method"])
        if request.method == "GET" and about:
            if not about["name"]:
                raise invalid("Missing model name in request.")
            if not about["metadata"]:
                return self._status(about)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._probes, self._metadata, about)
        raise invalid(f"Malformed request: {request.method} {path}")

    async def _call(self, request: web.BaseRequest, spec: model_pb2.ModelSpec, what: str) -> bytes:
        if what.lower() != "predict":
            raise StatusError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{what} is not implemented by this server; call predict.",
            )
        if self._waiting >= self._settings.max_waiting:
            raise unavailable(f"{self._waiting} requests are waiting already; try again later.")
        self._waiting += 1
        started, work = time.monotonic(), Work()
        try:
            body = await read_body(request, self._settings.max_body_bytes, self._budget)
            is_gzip = request.headers.get("Content-Encoding", "").lower() == "gzip"
            job = self._threads.submit(self._predict, spec, body, is_gzip, started, work)
            # The body is held until the thread has ended, which may be after the deadline.
            job.add_done_callback(functools.partial(self._end, spec, len(body), started))
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:  # its time is over, or its client has left
            work.end(unavailable("Nobody waits for the answer."))
            raise
        finally:
            self._waiting -= 1

    def _end(self, spec: model_pb2.ModelSpec, size: int, started: float, job: Future) -> None:
        self._budget.give(size)
        if job.cancelled():  # it waited for a thread until its time was over, or its client left
            self._count(spec, "DEADLINE_EXCEEDED", started)

    def _count(self, spec: model_pb2.ModelSpec, status: str, started: float) -> None:
        model = spec.name if self._repository.knows(spec.name) else UNKNOWN_MODEL
        self._metrics.request(model, "predict", "REST", status, time.monotonic() - started)

    def _predict(
        self, spec: model_pb2.ModelSpec, body: bytes, is_gzip: bool, started: float, work: Work
    ) -> bytes:
        end = started + self._settings.timeout_seconds
        status = "INTERNAL"
        try:
            with self._budget.parts() as take:
                if is_gzip:
                    body = _unpack(body, self._settings.max_body_bytes, take)
                answer = self._answer(spec, body, end, work)
            status = "OK" if time.monotonic() < end else "DEADLINE_EXCEEDED"
            return answer
        except TooLarge:
            status = "INVALID_ARGUMENT"
            raise
        except StatusError as error:
            status = error.code.name
            raise
        finally:
            self._count(spec, status, started)

    def _answer(self, spec: model_pb2.ModelSpec, body: bytes, end: float, work: Work) -> bytes:
        """The answer to a predict request, by ``end`` of time.monotonic() or that of ``work``."""
        servable = self._repository.find(spec)
        with converting(len(body), end):
            name, inputs, is_row = codec.read_request(
                body, servable.signature_defs, servable.limits
            )
        began = time.monotonic()
        outputs = servable.run(name, inputs, timeout_s=end - began, on_leave=work.on_end)
        self._metrics.runtime(servable.name, time.monotonic() - began)
        with converting(sum(array.nbytes for array in outputs.values()), end):
            return codec.write_response(outputs, is_row)

    def _status(self, match: re.Match) -> bytes:
        status = self._repository.status(_spec(match))
        newest_first = get_model_status_pb2.GetModelStatusResponse(
            model_version_status=reversed(status.model_version_status)
        )
        return json.dumps(_document(newest_first), indent=1).encode()

    def _metadata(self, match: re.Match) -> bytes:
        servable = self._repository.find(_spec(match))
        spec = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
        signatures = _document(servable.signature_map())
        document = {"model_spec": spec, "metadata": {"signature_def": signatures}}
        return json.dumps(document, indent=1).encode()


def _unpack(body: bytes, most: int, take: Callable[[int], None]) -> bytes:
    """What a gzip body holds; of several members only the first is read, as upstream does.

    Args:
        body: As it was sent.
        most: Bytes it may hold.
        take: Is called with the size of each part.

    Raises:
        StatusError: INVALID_ARGUMENT: it is not gzip; what ``take`` raises.
        TooLarge: It holds more than ``most`` bytes.
    """
    unpacker = zlib.decompressobj(wbits=31)
    parts, size = [], 0
    while body:
        try:
            part = unpacker.decompress(body, MIB)
        except zlib.error as error:
            raise invalid(f"The body is not gzip: {error}") from None
        take(len(part))
        size += len(part)
        if size > most:
            raise too_large(most)
        parts.append(part)
        body = unpacker.unconsumed_tail
    return b"".join(parts)


def _failure(error: Exception, what: str) -> tuple[int, str]:
    """HTTP status and message for the error of ``what``; unexpected errors go to the log."""
    if isinstance(error, StatusError):
        return _HTTP.get(error.code.name, 500), error.message
    if isinstance(error, TooLarge):
        return 413, str(error)
    if isinstance(error, web.RequestPayloadError):
        return 400, "The body is not as its headers say."
    if isinstance(error, (ClientError, ConnectionError)):
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
