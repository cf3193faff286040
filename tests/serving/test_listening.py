"""Which host and ports ``inkwell serve`` takes, on this computer's own sockets."""

import socket

import pytest

from serving.errors import ServingError
from serving.listening import EVERY, listening_host
from serving.model_server.starting import LOCAL


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ({"--rest-port": -1}, "--rest-port must be between 0 and 65535, not -1."),
        ({"--rest-port": 28_500, "--playground-port": 28_500}, "are both 28500"),
    ],
)
def test_mistakes_are_found_before_ports_are_tried(ports, words):
    with socket.create_server((LOCAL, 0)) as taken, pytest.raises(ServingError, match=words):
        listening_host(LOCAL, {"--port": taken.getsockname()[1]} | ports)


def test_a_name_of_one_address_is_shown_and_its_address_listened_on():
    assert listening_host("localhost", {"--port": 0}) == (LOCAL, "localhost")
    assert listening_host(EVERY, {"--port": 0}) == (EVERY, EVERY)


def test_of_a_name_with_two_addresses_one_is_checked_shown_and_listened_on(monkeypatch):
    """As a computer with two network cards has it; only the name service is replaced."""
    found = ("two", [], ["127.0.0.2", "127.0.0.3"])
    monkeypatch.setattr(socket, "gethostbyname_ex", lambda name: found)
    with socket.create_server(("127.0.0.3", 0)) as elsewhere:
        port = elsewhere.getsockname()[1]
        assert listening_host("two", {"--port": port}) == ("127.0.0.2", "127.0.0.2")
    words = "is taken; choose another port with --port"
    with socket.create_server(("127.0.0.2", 0)) as taken, pytest.raises(ServingError, match=words):
        listening_host("two", {"--port": taken.getsockname()[1]})
