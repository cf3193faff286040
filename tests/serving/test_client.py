"""The client against a real server, over both protocols: every signature, errors, trying again."""

import contextlib
import http.server
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving import transports
from serving.client import Client
from serving.errors import NoServerError, RequestError, ServingError
from serving.images import encode_png, to_pil
from serving.model_server.starting import free_ports
from serving.releases import Release, apply
from tests.serving.conftest import start_model_server
from tests.serving.test_model_server import ROOT
from tests.serving.toy_models import save_autoencoder, save_models

IMAGES = np.random.default_rng(0).random((3, 28, 28, 1), dtype="float32")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Address by protocol of a server of the three models; two versions of the autoencoder."""
    serving = save_models(tmp_path_factory.mktemp("serving"))
    save_autoencoder(serving / "autoencoder" / "2", shift=1.0)
    apply(serving, "autoencoder", Release(stable=1, canary=2))
    process = start_model_server(
        f"--model_config_file={serving / 'models.config'}",
        *("--allow_version_labels_for_unavailable_models", "--enable_batching"),
    )
    try:
        found = re.search(r"at (\S+), REST at (\S+)$", process.stdout.readline())
        yield {"grpc": found[1], "rest": found[2]}
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["rest", "grpc"])
def connect(request, addresses):
    """Opens a client of a model by the protocol under test."""
    clients = []

    def open_client(model: str, **options) -> Client:
        client = Client(model, addresses[request.param], protocol=request.param, **options)
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        client.close()


def test_autoencoder(connect):
    model = connect("autoencoder", version=1)
    np.testing.assert_allclose(model.reconstruct(IMAGES), IMAGES * 0.9, atol=1e-6)
    np.testing.assert_allclose(model.denoise(IMAGES), IMAGES * 0.9, atol=1e-6)
    code = model.encode(IMAGES)
    assert code.shape == (3, 3) and code.dtype == np.float32
    assert model.decode(code).shape == IMAGES.shape
    scores = model.anomaly_score(to_pil(IMAGES))
    np.testing.assert_allclose(scores, IMAGES.mean((1, 2, 3)), atol=2e-3)


def test_diffusion(connect):
    model = connect("diffusion")
    np.testing.assert_allclose(model.denoise(IMAGES, 0.25), IMAGES * 0.75, atol=1e-6)
    levels = np.array([0.0, 0.5, 1.0])
    cleaned = model.denoise(IMAGES, levels)
    np.testing.assert_allclose(cleaned, IMAGES * (1 - levels[:, None, None, None]), atol=1e-6)
    first, again = (model.generate(4, seed=5, steps=2) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - model.generate(4, seed=6, steps=2)).max() > 0.01
    np.testing.assert_allclose(model.forward(IMAGES, 0, seed=1), IMAGES, atol=1e-6)


def test_gan(connect):
    model = connect("gan")
    assert model.generate(5, seed=1).shape == (5, 28, 28, 1)
    latents = np.random.default_rng(0).normal(size=(2, 4))
    assert model.decode_latent(latents).shape == (2, 28, 28, 1)
    np.testing.assert_allclose(model.discriminate(IMAGES), IMAGES.mean((1, 2, 3)), atol=1e-6)


def test_versions_and_labels(connect):
    assert connect("autoencoder").version() == 2
    assert connect("autoencoder", label="stable").version() == 1
    assert connect("autoencoder", version=1).version() == 1
    assert connect("autoencoder").states() == {1: "AVAILABLE", 2: "AVAILABLE"}
    difference = connect("autoencoder", label="canary").anomaly_score(IMAGES) - connect(
        "autoencoder", label="stable"
    ).anomaly_score(IMAGES)
    np.testing.assert_allclose(difference, 1, atol=1e-5)


def test_png_and_plain_predict(connect, addresses):
    model = connect("gan")
    outputs = model.predict("generate", {"seed": np.int32(1), "count": np.int32(2)})
    assert set(outputs) == {"image"}
    assert len(encode_png(outputs["image"])) == 2


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (lambda c: c("none").generate(1), "NOT_FOUND", r"Latest\(none\)"),
        (lambda c: c("gan", version=9).generate(1), "NOT_FOUND", r"Specific\(gan, 9\)"),
        (lambda c: c("gan", label="x").generate(1), "INVALID_ARGUMENT", "label: x"),
        (lambda c: c("gan").decode_latent(np.zeros((1, 7))), "INVALID_ARGUMENT", "latent"),
        (lambda c: c("gan").encode(IMAGES), None, "encode"),
    ],
)
def test_errors_of_the_server_come_in_its_words(connect, call, code, words):
    with pytest.raises(RequestError, match=words) as caught:
        call(connect)
    assert code in (None, caught.value.code)


def test_arguments_that_contradict():
    with pytest.raises(ServingError, match="not both"):
        Client("gan", version=1, label="stable")
    with pytest.raises(ServingError, match="rest or grpc"):
        Client("gan", protocol="soap")


def test_signatures_name_their_inputs(connect):
    assert connect("gan").signatures() == {
        "serving_default": ["latent"],
        "generate": ["count", "seed"],
        "discriminate": ["image"],
    }


def test_nan_and_infinity_travel(connect):
    """JSON has neither; TensorFlow Serving reads and writes them all the same."""
    model = connect("diffusion")
    levels = np.array([np.nan, np.inf, 0.5])
    found = model.denoise(np.full_like(IMAGES, 0.5), levels)
    assert np.isnan(found[0]).all() and np.isneginf(found[1]).all()
    np.testing.assert_allclose(found[2], 0.25, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda gan: gan.generate(2**40), "input count is 1099511627776; make it a whole number"),
        (lambda gan: gan.generate(1, seed=0.5), "input seed is 0.5; make it a whole number"),
        (lambda gan: gan.forward(IMAGES, float("nan")), "input step is nan"),
        (lambda gan: gan.denoise(IMAGES, [0.1, 0.2]), "one for each of the 3 images"),
    ],
)
def test_numbers_that_cannot_be_sent_are_refused(call, words):
    with Client("gan", "127.0.0.1:1") as gan, pytest.raises(ServingError, match=words):
        call(gan)


@pytest.mark.parametrize(
    ("protocol", "other", "words"),
    [
        ("rest", "grpc", "speaks gRPC, not REST; give the port for REST, 8501 by default"),
        ("grpc", "rest", "does not speak gRPC, but perhaps REST; give the port for gRPC, 8500"),
    ],
)
def test_the_port_of_the_other_protocol_is_said_at_once(addresses, protocol, other, words):
    client = Client("gan", addresses[other], protocol=protocol, timeout_s=60, wait_s=60)
    started = time.monotonic()
    with client, pytest.raises(ServingError, match=words):
        client.states()
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("address", "protocol"),
    [
        *((text, "rest") for text in ("", "http://", "ftp://localhost:8501", "a:b", "a:65536")),
        *((text, "grpc") for text in ("", "http://localhost:8500", "localhost:65536", "a:0")),
    ],
)
def test_what_is_no_address_is_refused_before_a_request(address, protocol):
    with pytest.raises(ServingError, match="give HOST:PORT with a port from 1 to 65535"):
        Client("gan", address, protocol=protocol)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, "<h1>Not Found</h1>", "is no model server .HTTP 404"),
        (200, "<h1>Welcome</h1>", "is no model server .HTTP 200"),
        (200, '{"status": "fine"}', "is no model server"),
        (301, "", "is no model server .HTTP 301"),
        (401, "<h1>Who are you?</h1>", "HTTP 401 from"),
    ],
)
def test_a_web_site_is_no_model_server(status, body, words):
    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        threading.Thread(target=site.serve_forever).start()
        with Client("gan", f"127.0.0.1:{site.server_port}") as client:
            for call in (client.states, client.version, client.signatures):
                with pytest.raises(ServingError, match=words):
                    call()
        site.shutdown()


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_without_a_server_the_answer_comes_at_once(protocol):
    client = Client("gan", f"127.0.0.1:{free_ports(1)[0]}", protocol=protocol, timeout_s=60)
    with client:
        with pytest.raises(NoServerError):
            client.states()  # imports what gRPC needs
        started = time.monotonic()
        with pytest.raises(NoServerError, match="start one with: inkwell serve") as caught:
            client.generate(1)
    assert time.monotonic() - started < 10  # of the 60
    assert caught.value.code == "UNAVAILABLE"


def test_an_unknown_host_is_no_server_over_rest(monkeypatch):
    """The name service is replaced: one that does not answer would hold up the test."""

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    client = Client("gan", "no-such-host.invalid:8501", timeout_s=60)
    with client, pytest.raises(NoServerError, match="Name or service not known"):
        client.states()


@pytest.mark.parametrize(
    ("words", "is_no_server"),
    [
        (
            "errors resolving no-such-host.invalid:1: [field:hostname lookup error:address lookup "
            "failed for no-such-host.invalid:1: Domain name not found]",
            True,
        ),
        ("DNS resolution failed for no-such-host.invalid:1: Domain name not found", True),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to "
            "connect to remote host: Connection refused",
            True,
        ),
        ("failed to connect to all addresses; last error: UNKNOWN: Timeout occurred: FD", False),
    ],
)
def test_what_grpc_says_where_there_is_no_server(words, is_no_server):
    """As recorded from grpcio; a real look-up may take as long as the name service likes."""
    assert bool(transports._NOT_CONNECTED.match(words)) == is_no_server


def test_a_connection_that_fails_otherwise_is_no_missing_server(addresses):
    """TLS towards a server that has none: it is there, and to start one would not help."""
    started = time.monotonic()
    client = Client("gan", f"https://{addresses['rest']}", timeout_s=1, wait_s=30)
    with client, pytest.raises(RequestError, match="wrong version number") as caught:
        client.states()
    assert not isinstance(caught.value, NoServerError) and caught.value.code == "UNAVAILABLE"
    assert "inkwell serve" not in str(caught.value) and time.monotonic() - started < 15


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_server_too_busy_to_answer_is_tried_until_the_deadline(protocol):
    """The system takes the connection, nobody answers: no sign that there is no server."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        with Client("gan", address, protocol=protocol, timeout_s=2) as client:
            started = time.monotonic()
            with pytest.raises(RequestError) as caught:
                client.states()
    assert not isinstance(caught.value, NoServerError)
    assert time.monotonic() - started > 0.9


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_server_that_starts_late_is_waited_for_if_asked(addresses, protocol):
    [port] = free_ports(1)
    fronts = []

    def open_late():
        time.sleep(1.5)
        fronts.append(socket.create_server(("127.0.0.1", port)))
        relay(fronts[0], addresses[protocol])

    threading.Thread(target=open_late, daemon=True).start()
    address = f"127.0.0.1:{port}"
    # The deadline is shorter than the wait: it runs from the moment that the server is there.
    client = Client("gan", address, protocol=protocol, timeout_s=5, wait_s=0.2)
    with client, pytest.raises(NoServerError):
        client.generate(1)
    with Client("gan", address, protocol=protocol, timeout_s=1, wait_s=30) as client:
        assert client.states() == {1: "AVAILABLE"}
    fronts[0].close()


def test_lost_connections_are_tried_again(addresses):
    dropped = []
    with socket.create_server(("127.0.0.1", 0)) as front:
        arguments = (front, addresses["rest"], dropped, 3)
        threading.Thread(target=relay, args=arguments, daemon=True).start()
        with Client("gan", f"127.0.0.1:{front.getsockname()[1]}", timeout_s=20) as client:
            assert client.generate(2, seed=1).shape == (2, 28, 28, 1)
    assert len(dropped) == 3


def relay(front: socket.socket, address: str, dropped: list | None = None, drop: int = 0) -> None:
    """Passes connections on to ``address``, but for the first ``drop`` of them."""
    host, port = address.split(":")

    def pump(one, other):
        with contextlib.suppress(OSError):  # one end has gone
            while data := one.recv(65536):
                other.sendall(data)

    while True:
        try:
            client, _ = front.accept()
        except OSError:
            return
        if drop > 0 and len(dropped) < drop:
            dropped.append(client.recv(10))
            client.close()
            continue
        back = socket.create_connection((host, int(port)))
        for ends in ((client, back), (back, client)):
            threading.Thread(target=pump, args=ends, daemon=True).start()


def test_rest_client_needs_no_tensorflow():
    code = "import sys, serving.client; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(ROOT)).returncode == 0
