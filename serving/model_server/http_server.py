"""HTTP/1.1 on one port or Unix socket, and bounds on what a connection may cost.

Contract: a connection that is idle, sends its headers slowly or does not read its answer is closed;
too many connections, a long header and a large body are refused. An offer of another protocol is
ignored (RFC 9110, 7.8), but for a WebSocket, which is refused. aiohttp parses and writes HTTP.
"""

import asyncio
import contextlib
import dataclasses
import json
import logging
import math
import os
import socket
import ssl
import stat
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import uvloop
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from serving.model_server.limits import Budget, connections_within_files

_HEADER_BYTES = 8190  # of the request line, and of each header
_HEADERS = 128
_CONNECTION: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,  # bounded where it is done, in a thread
    "lingering_time": 2.0,  # seconds in which the rest of a refused body is read
    "max_line_size": _HEADER_BYTES,
    "max_field_size": _HEADER_BYTES,
    "max_headers": _HEADERS,
}
# No browser shall take an answer for a page, a script or a picture, nor show it in a frame.
_HEADERS_OF_ALL = {
    "Server": "Inkwell",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_CLOSING_SECONDS = 5.0  # after which a closed connection with unread data is aborted
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_LOGGER = logging.getLogger(__name__)

Answer = Callable[[web.BaseRequest], Awaitable[web.Response]]


class TooLarge(Exception):
    """A body above its bound; the message says so."""


@dataclasses.dataclass(frozen=True)
class ConnectionBounds:
    """Seconds and connections; the defaults suit clients behind slow networks."""

    header_seconds: float = 20.0  # from connecting until the first headers are complete
    idle_seconds: float = 75.0  # from an answer until the next headers are complete
    write_seconds: float = 30.0  # for a client to read an answer
    most: int = 0  # open connections; 0 for as many as the limit of open files leaves room for


class HttpServer:
    """Calls ``answer`` for each request, on an event loop in a thread of its own."""

    def __init__(
        self,
        listening: socket.socket,
        answer: Answer,
        bounds: ConnectionBounds,
        tls: ssl.SSLContext | None = None,
    ):
        self._socket, self._answer, self._bounds = listening, answer, bounds
        self._tls = tls
        self._thread = threading.Thread(target=self._run, name="http")
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._grace_seconds = 0.0

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()
        self._ready.wait()

    def stop(self, grace_seconds: float) -> None:
        """Closes the port; requests that are still running after ``grace_seconds`` get 503."""
        self._grace_seconds = grace_seconds
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        connections = _Connections(self._answer, self._bounds)
        is_unix = self._socket.family == socket.AF_UNIX
        create = self._loop.create_unix_server if is_unix else self._loop.create_server
        options: dict[str, Any] = {"sock": self._socket, "backlog": 2048}
        if self._tls:
            options |= {"ssl": self._tls, "ssl_handshake_timeout": self._bounds.header_seconds}
        server = await create(connections, **options)
        sweeping = self._loop.create_task(connections.sweep())
        self._ready.set()
        await self._stop.wait()
        server.close()
        await connections.drain(self._grace_seconds)
        sweeping.cancel()


class _Connections(web.Server):
    """The open connections, those that have been idle longest first."""

    def __init__(self, answer: Answer, bounds: ConnectionBounds):
        super().__init__(self._handle, handler_cancellation=True)
        self._answer, self._bounds, self._most = (
            answer,
            bounds,
            connections_within_files(bounds.most),
        )
        self._open: dict[web.RequestHandler, _Idle] = {}
        self._running: set[asyncio.Task] = set()
        self._is_stopping = False

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            **_CONNECTION,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        now = asyncio.get_running_loop().time()
        if len(self._open) >= self._most:
            longest = next((h for h, idle in self._open.items() if idle.since < math.inf), None)
            if longest is None:
                transport.write(_FULL)
                handler.force_close()
                return
            self._open.pop(longest).transport.abort()
        self._open[handler] = _Idle(transport, now, self._bounds.header_seconds)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        self._open.pop(handler, None)

    async def sweep(self) -> None:
        """Closes idle connections, each second."""
        while True:
            await asyncio.sleep(1.0)
            now = asyncio.get_running_loop().time()
            for handler, idle in list(self._open.items()):
                if now - idle.since > idle.seconds + _CLOSING_SECONDS:
                    idle.transport.abort()
                elif now - idle.since > idle.seconds:
                    handler.force_close()

    async def drain(self, grace_seconds: float) -> None:
        """Ends all connections, and requests that take longer than ``grace_seconds``."""
        self._is_stopping = True
        for handler, idle in list(self._open.items()):
            if idle.since < math.inf:  # the others close after their answer
                handler.force_close()
        if self._running:
            await asyncio.wait(self._running, timeout=grace_seconds)
        for task in self._running:
            task.cancel()
        await self.shutdown(1.0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task, idle = asyncio.current_task(), self._open.get(request.protocol)
        assert task is not None  # noqa: S101 - for the type checker
        self._running.add(task)
        if idle:
            idle.since, idle.seconds = math.inf, self._bounds.idle_seconds
        try:
            response = await self._respond(request, task)
            response.headers.update(_HEADERS_OF_ALL)
            async with asyncio.timeout(self._bounds.write_seconds):
                await response.prepare(request)
                await response.write_eof()
        except (TimeoutError, ConnectionError):  # the client does not read, or it has left
            if request.transport:
                request.transport.abort()
        finally:
            self._running.discard(task)
            if idle:
                idle.since = asyncio.get_running_loop().time()
                if self._open.pop(request.protocol, None):
                    self._open[request.protocol] = idle  # last in the order of idleness
        return response

    async def _respond(self, request: web.BaseRequest, task: asyncio.Task) -> web.Response:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            response = error_response(400, "This server does not speak WebSocket.")
            response.force_close()
            return response
        try:
            response = await self._answer(request)
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise  # the client has gone
            task.uncancel()
            response = error_response(503, "The server is stopping; try again later.")
        if self._is_stopping:
            response.force_close()
        return response


@dataclasses.dataclass(slots=True)
class _Idle:
    """An open connection; while a request is being answered, ``since`` is infinite."""

    transport: asyncio.Transport
    since: float
    seconds: float  # that it may be idle


class _Connection(web.RequestHandler):
    """Answers what is not HTTP, or too long, in the words and form of the other errors."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, LineTooLong):
            status = 431
            text = f"The request line and each header may hold {_HEADER_BYTES} bytes at most."
        elif status < 500:
            text = "The request is not valid HTTP/1.1."
        else:
            # As it was sent: decoded, it may hold line breaks.
            _LOGGER.error("%s %s failed", request.method, target_path(request), exc_info=exc)
            text = "Internal error; see the log of the server."
        response = error_response(status, text, _HEADERS_OF_ALL)
        response.force_close()
        return response


def unix_socket(path: str) -> socket.socket:
    """Listens there, in place of a socket that an earlier server left; raises ``OSError``."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(2048)
    return listening


def error_response(
    status: int, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The answer to a failed request."""
    body = json.dumps({"error": message}, indent=4).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def target_path(request: web.BaseRequest) -> str:
    """The path as it was sent, still encoded, without query and host."""
    target = request.raw_path.partition("?")[0].partition("#")[0]
    if not target.startswith("/"):  # http://host/path, as proxies send it
        target = "/" + target.partition("://")[2].partition("/")[2]
    return target


async def read_body(request: web.BaseRequest, most: int, budget: Budget) -> bytes:
    """Reads the body as it was sent, compressed or not.

    The caller gives the length of the body back to the budget.

    Raises:
        TooLarge: It holds more than ``most`` bytes.
        StatusError: UNAVAILABLE: requests in flight take all of the budget.
    """
    if (request.content_length or 0) > most:
        raise too_large(most)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # an error may still be answered
    chunks, size = [], 0
    try:
        while chunk := await request.content.readany():
            if size + len(chunk) > most:
                raise too_large(most)
            budget.take(len(chunk))
            size += len(chunk)
            chunks.append(chunk)
    except BaseException:
        budget.give(size)
        raise
    return b"".join(chunks)


def too_large(most: int) -> TooLarge:
    """The error for a body of more than ``most`` bytes."""
    return TooLarge(f"The body is larger than {most} bytes; send fewer instances.")
