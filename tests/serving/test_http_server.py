"""Connections as no good client makes them, over real sockets; the answers are an echo."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web

from serving.model_server.errors import StatusError
from serving.model_server.http_server import (
    ConnectionBounds,
    HttpServer,
    TooLarge,
    error_response,
    read_body,
    target_path,
)
from serving.model_server.limits import Budget

MOST = 1000  # bytes of a body
BIG = 20_000_000  # of an answer: more than the buffers of two sockets hold
LEAST_CONNECTIONS = 32
BOUNDS = ConnectionBounds(
    header_seconds=1.0, idle_seconds=2.0, write_seconds=1.0, most=LEAST_CONNECTIONS
)


async def echo(request: web.BaseRequest) -> web.Response:
    path = target_path(request)
    if path == "/big":
        return web.Response(body=b"x" * BIG)
    if path.startswith("/sleep/"):
        await asyncio.sleep(float(path.rpartition("/")[2]))
    try:
        body = await read_body(request, MOST, BUDGET)
    except TooLarge as error:
        return error_response(413, str(error))
    except StatusError as error:
        return error_response(503, error.message)
    BUDGET.give(len(body))
    return web.Response(text=f"{request.method} {path} {body.decode()}")


BUDGET = Budget(MOST + 10)


@contextlib.contextmanager
def serving(bounds: ConnectionBounds = BOUNDS) -> Iterator[tuple[int, HttpServer]]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(listening, echo, bounds)
    server.start()
    try:
        yield listening.getsockname()[1], server
    finally:
        server.stop(0.0)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as (port, _):
        yield port


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.settimeout(20)
    return client


def head(method: str = "POST", target: str = "/x", *headers: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: here", *headers, "", ""]).encode()


def answer(client: socket.socket) -> tuple[int, bytes]:
    """Code and body of one answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65536)
        assert part, data
        data += part
    headers, _, body = data.partition(b"\r\n\r\n")
    [length] = [
        int(line.partition(b":")[2])
        for line in headers.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    while len(body) < length:
        part = client.recv(65536)
        assert part, "the answer was cut"
        body += part
    return int(headers.split()[1]), body


def seconds_until_closed(client: socket.socket) -> float:
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while client.recv(65536):
            pass
    return time.monotonic() - began


def test_an_offer_of_http2_is_ignored_and_the_body_arrives(port):
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    with connect(port) as client:
        for _ in range(2):  # the connection stays usable
            client.sendall(head("POST", "/x", *offer, "Content-Length: 4") + b"body")
            assert answer(client) == (200, b"POST /x body")
        client.sendall(head("GET", "/y", *offer))
        assert answer(client) == (200, b"GET /y ")


def test_another_protocol_may_be_offered_by_name_and_a_websocket_is_refused(port):
    with connect(port) as client:
        upgrade = ("Connection: Upgrade", "Upgrade: TLS/1.0", "Content-Length: 1")
        client.sendall(head("POST", "/x", *upgrade) + b"b")
        assert answer(client) == (200, b"POST /x b")
    with connect(port) as client:
        client.sendall(head("GET", "/x", "Connection: Upgrade", "Upgrade: websocket"))
        code, body = answer(client)
        assert code == 400 and json.loads(body) == {
            "error": "This server does not speak WebSocket."
        }
        seconds_until_closed(client)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (head("GET", "/x", "X-Long: " + "x" * 2**20), 431),
        (head("GET", "/" + "x" * 2**20), 431),
        (head("GET", "/x", *(f"X-{i}: 1" for i in range(1000))), 400),
        (b"\x16\x03\x01\x00\x00 not HTTP\r\n\r\n", 400),
        (head("POST", "/x", "Content-Length: 1", "Content-Length: 2") + b"ab", 400),
    ],
    ids=["header", "target", "headers", "junk", "lengths"],
)
def test_what_is_not_http_or_too_long_is_refused_in_a_sentence(port, request_, code):
    with connect(port) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(request_)
        found, body = answer(client)
        assert found == code
        assert json.loads(body)["error"].endswith(".")


def test_a_header_below_the_bound_passes(port):
    with connect(port) as client:
        client.sendall(head("GET", "/x", "X-Long: " + "x" * 8000))
        assert answer(client)[0] == 200


def test_bodies_are_bounded_by_their_header_and_as_they_arrive(port):
    with connect(port) as client:
        client.sendall(head("POST", "/x", f"Content-Length: {MOST + 1}"))
        code, body = answer(client)  # before any of it is sent
        assert code == 413 and b"larger than 1000 bytes" in body
    with connect(port) as client:
        client.sendall(head("POST", "/x", "Transfer-Encoding: chunked"))
        client.sendall(b"%x\r\n" % (2 * MOST) + b"x" * 2 * MOST + b"\r\n0\r\n\r\n")
        assert answer(client)[0] == 413
    with connect(port) as client:
        client.sendall(head("POST", "/x", "Expect: 100-continue", "Content-Length: 1"))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"b")
        assert answer(client) == (200, b"POST /x b")


def test_bodies_in_flight_are_bounded_together_and_returned(port):
    with connect(port) as first, connect(port) as second:
        first.sendall(head("POST", "/x", f"Content-Length: {MOST}") + b"x" * (MOST - 1))
        time.sleep(0.2)
        second.sendall(head("POST", "/x", "Content-Length: 20") + b"y" * 20)
        code, body = answer(second)
        assert code == 503 and b"--max_requests_mib" in body
        first.sendall(b"x")
        assert answer(first)[0] == 200
    with connect(port) as client:  # leaves in the middle of its body
        client.sendall(head("POST", "/x", f"Content-Length: {MOST}") + b"x" * (MOST - 1))
        time.sleep(0.2)
    with connect(port) as client:
        for _ in range(3):
            client.sendall(head("POST", "/x", f"Content-Length: {MOST}") + b"x" * MOST)
            assert answer(client)[0] == 200


def test_connections_without_a_request_end(port):
    with connect(port) as client:
        assert 0.5 < seconds_until_closed(client) < 5
    with connect(port) as client:  # a header line now and then does not keep it open
        client.sendall(b"GET /x HTTP/1.1\r\n")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 10:
                client.sendall(b"X-Slow: 1\r\n")
                time.sleep(0.3)
        assert time.monotonic() - began < 5
    with connect(port) as client:
        client.sendall(head("GET"))
        answer(client)
        assert 1 < seconds_until_closed(client) < 6


def test_a_request_in_progress_is_no_idle_connection(port):
    with connect(port) as client:
        client.sendall(head("GET", "/sleep/4"))
        assert answer(client)[0] == 200


def test_a_client_that_does_not_read_is_dropped(port):
    with connect(port) as client:
        client.sendall(head("GET", "/big"))
        time.sleep(3)
        read = 0
        with contextlib.suppress(ConnectionError):
            while part := client.recv(2**20):
                read += len(part)
        assert read < BIG


def test_a_client_that_leaves_at_once_is_no_failure(port, caplog):
    for _ in range(100):
        with connect(port) as client:
            client.sendall(head("GET"))
    with connect(port) as client:
        client.sendall(head("GET"))
        assert answer(client)[0] == 200
    assert not caplog.records


def test_idle_connections_beyond_the_bound_make_room_for_new_ones():
    with serving() as (port, _), contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(port)) for _ in range(LEAST_CONNECTIONS)]
        idle[0].sendall(head("GET"))
        assert answer(idle[0])[0] == 200
        with connect(port) as client:
            client.sendall(head("GET"))
            assert answer(client)[0] == 200
        assert seconds_until_closed(idle[1]) < 0.3  # idle longest
        idle[0].sendall(head("GET"))
        assert answer(idle[0])[0] == 200


def test_connections_that_all_work_are_not_dropped_for_new_ones():
    with serving() as (port, _), ThreadPoolExecutor(LEAST_CONNECTIONS) as pool:

        def ask(_: int) -> int:
            with connect(port) as client:
                client.sendall(head("GET", "/sleep/2"))
                return answer(client)[0]

        answers = pool.map(ask, range(LEAST_CONNECTIONS))
        time.sleep(0.7)
        with connect(port) as client:
            assert answer(client)[0] == 503
        assert set(answers) == {200}


def test_stopping_finishes_what_it_can_and_says_503_to_the_rest():
    with (
        serving() as (port, server),
        connect(port) as short,
        connect(port) as long,
        connect(port) as idle,
        ThreadPoolExecutor(1) as pool,
    ):
        short.sendall(head("GET", "/sleep/0.5"))
        long.sendall(head("GET", "/sleep/60"))
        time.sleep(0.2)
        stopping = pool.submit(server.stop, 1.5)
        assert seconds_until_closed(idle) < 0.4
        with pytest.raises(ConnectionError):
            connect(port)
        assert answer(short)[0] == 200
        code, body = answer(long)
        assert code == 503 and "stopping" in json.loads(body)["error"]
        stopping.result(10)
        server.stop = lambda grace_seconds: None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1/models/a%22b?x=1#y", "/v1/models/a%22b"),
        ("http://here:1/v1/models/x?y", "/v1/models/x"),
    ],
)
def test_the_path_is_the_part_that_names_the_model(port, target, path):
    with connect(port) as client:
        client.sendall(head("GET", target))
        assert answer(client) == (200, f"GET {path} ".encode())


def test_requests_may_be_sent_before_the_answers_come(port):
    with connect(port) as client:
        client.sendall(b"".join(head("GET", f"/{i}") for i in range(4)))
        data = b""
        while data.count(b"GET /") < 4:
            data += client.recv(65536)
        assert [data.index(b"GET /%d" % i) for i in range(4)] == sorted(
            data.index(b"GET /%d" % i) for i in range(4)
        )
