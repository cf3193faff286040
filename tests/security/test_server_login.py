"""A server that asks for a token and encrypts, called by clients of ours and of others.

Each test tries what somebody without the token, without the certificate or in between can do.
"""

import contextlib
import dataclasses
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import Client, Server
from serving.errors import RequestError, ServingError
from serving.model_server.tls import read_tls
from serving.serve import ServeOptions
from serving.serve import serve as start_serving
from tests.browser import needs_chromium, open_browser, violations
from tests.certificates import write_certificate
from tests.serving.conftest import inkwell, model_server
from tests.serving.test_serve import Running, serve
from tests.serving.toy_models import save_gan

TOKEN = "c0ffee-c0ffee-c0ffee-c0ffee"
ANOTHER = "c0ffee-c0ffee-c0ffee-decaf!"
GENERATE = '{"signature_name": "generate", "inputs": {"seed": 1, "count": 1}}'
WRONG = [None, "", TOKEN, f"Basic {TOKEN}", f"Bearer {ANOTHER}", f"Bearer {TOKEN}x", "Bearer", "B"]
TIMEOUT = 30
OLD = ssl.TLSVersion.TLSv1_1


@dataclasses.dataclass(frozen=True)
class Secured:
    """``inkwell serve --playground`` with a token and a certificate for localhost."""

    running: Running
    folder: Path
    page: str

    @property
    def rest(self) -> str:
        return f"localhost:{self.running.rest_port}"

    @property
    def rpc(self) -> str:
        return f"localhost:{self.running.grpc_port}"

    def channel(self) -> grpc.Channel:
        certificate = (self.folder / "server.pem").read_bytes()
        return grpc.secure_channel(self.rpc, grpc.ssl_channel_credentials(certificate))

    def http(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.folder / "server.pem")
        return httpx.Client(verify=context, base_url=f"https://{self.rest}", timeout=TIMEOUT)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    write_certificate(folder / "server.pem", folder / "server.key")
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "token").chmod(0o644)
    save_gan(folder / "models" / "gan" / "1")
    options = [
        *("--serving", "models", "--playground", "--playground-port", "0", "--host", "localhost"),
        *("--token-file", "token", "--tls-cert", "server.pem", "--tls-key", "server.key"),
    ]
    with serve(*options, cwd=folder) as running:
        found = re.search(r"Playground (https://localhost:\d+)", running.said)
        assert found, (running.said, running.process.stderr.read())
        yield Secured(running, folder, found[1])


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/gan:predict"),
        ("GET", "/v1/models/gan"),
        ("GET", "/v1/models/gan/metadata"),
        ("GET", "/monitoring/prometheus/metrics"),
        ("GET", "/none"),
    ],
)
def test_rest_answers_nobody_without_the_token(secured, method, path, given):
    headers = {} if given is None else {"Authorization": given}
    with secured.http() as client:
        answer = client.request(method, path, headers=headers, content=GENERATE)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert "asks for a token" in answer.json()["error"] and TOKEN not in answer.text


def calls(channel: grpc.Channel) -> list[tuple]:
    """Every call of both services, and the one that lists them."""
    predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    return [
        (predictions.Predict, predict_pb2.PredictRequest()),
        (predictions.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest()),
        (models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()),
        (models.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()),
        (lambda r, **o: list(reflection.ServerReflectionInfo(iter([r]), **o)), listing),
    ]


@pytest.mark.parametrize("given", WRONG)
def test_grpc_answers_nobody_without_the_token(secured, given):
    metadata = [] if given is None else [("authorization", given)]
    with secured.channel() as channel:
        for call, request in calls(channel):
            with pytest.raises(grpc.RpcError) as caught:
                call(request, metadata=metadata, timeout=TIMEOUT)
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert "asks for a token" in caught.value.details()


def test_grpc_refuses_who_has_no_token_before_the_request_comes(secured):
    """Else strangers would fill the memory with requests that are refused once they are whole."""
    is_answered = threading.Event()

    def never():
        is_answered.wait(2 * TIMEOUT)
        yield b""

    with secured.channel() as channel:
        call = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as caught:
            call(never(), timeout=TIMEOUT / 2)
        is_answered.set()
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_the_right_token_is_taken_by_both(secured):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "gan"
    for scheme in ("Bearer", "bearer"):
        with secured.channel() as channel, secured.http() as client:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            metadata = [("authorization", f"{scheme} {TOKEN}")]
            answer = stub.GetModelStatus(request, metadata=metadata, timeout=TIMEOUT)
            assert [status.version for status in answer.model_version_status] == [1]
            headers = {"Authorization": f"{scheme} {TOKEN}"}
            answer = client.post("/v1/models/gan:predict", headers=headers, content=GENERATE)
            assert answer.status_code == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_checks_the_certificate_and_gets_nothing_in_clear_text(secured):
    url = f"{secured.rest}/v1/models/gan"
    curl = ["curl", "-s", "--max-time", "20", "-H", f"Authorization: Bearer {TOKEN}"]

    def ask(*options: str) -> tuple[int, str]:
        done = subprocess.run([*curl, *options], capture_output=True, text=True)
        return done.returncode, done.stdout

    code, text = ask("--cacert", str(secured.folder / "server.pem"), f"https://{url}")
    assert code == 0 and json.loads(text)["model_version_status"][0]["state"] == "AVAILABLE"
    assert ask(f"https://{url}")[0] == 60  # its authority is not known
    address = url.replace("localhost", "127.0.0.1")
    cacert = ("--cacert", str(secured.folder / "server.pem"))
    assert ask(*cacert, f"https://{address}")[0] == 60  # another name than the certificate's
    code, text = ask(f"http://{url}")
    assert code != 0 and text == ""


def old_client() -> ssl.SSLContext:
    """One that would speak TLS 1.1, whatever is thought of it since."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, OLD
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    return context


def shake_hands(server: ssl.SSLContext) -> str | None:
    """The version of TLS that the old client and a server agree on; ``SSLError`` if on none."""
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        old_client().wrap_bio(*wires),
        server.wrap_bio(*reversed(wires), server_side=True),
    )
    for _ in range(4):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return sides[0].version()


def test_old_tls_is_refused_by_our_bound_and_nothing_else(tmp_path):
    write_certificate(tmp_path / "a.pem", tmp_path / "a.key")
    context = read_tls(tmp_path / "a.pem", tmp_path / "a.key").context()
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # OpenSSL would refuse as well
    with pytest.raises(ssl.SSLError, match="(?i)version|protocol"):
        shake_hands(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = OLD
    assert shake_hands(context) == "TLSv1.1"


def test_no_port_speaks_old_tls(secured):
    for address in (secured.rest, secured.rpc, secured.page.removeprefix("https://")):
        place = address.partition(":")[0], int(address.rpartition(":")[2])
        context = old_client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(place, TIMEOUT) as plain, context.wrap_socket(plain) as new:
            assert new.version() == "TLSv1.2"
        with (
            socket.create_connection(place, TIMEOUT) as plain,
            pytest.raises((ssl.SSLError, ConnectionError)),  # some fronts close without a word
        ):
            old_client().wrap_socket(plain)


def test_rest_refuses_who_has_no_token_before_the_body_comes(secured):
    """Else strangers would fill the memory with bodies of requests that are refused."""
    context = ssl.create_default_context(cafile=secured.folder / "server.pem")
    host, port = secured.rest.split(":")
    head = f"POST /v1/models/gan:predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
    with (
        socket.create_connection((host, int(port)), timeout=TIMEOUT / 2) as plain,
        context.wrap_socket(plain, server_hostname=host) as client,
    ):
        client.sendall(head.encode())
        assert client.recv(100).split()[1] == b"401"


def test_clients_of_ours_send_token_and_check_certificate(secured):
    ca = secured.folder / "server.pem"
    for protocol, address in (("rest", secured.rest), ("grpc", secured.rpc)):
        with Client("gan", Server(address, TOKEN, ca), protocol=protocol) as client:
            assert client.version() == 1 and client.generate(2).shape == (2, 28, 28, 1)
        with (
            Client("gan", Server(address, ANOTHER, ca), protocol=protocol) as client,
            pytest.raises(RequestError, match="asks for a token") as caught,
        ):
            client.version()
        assert caught.value.code == "UNAUTHENTICATED"
        write_certificate(secured.folder / "other.pem", secured.folder / "other.key")
        others = Server(address, TOKEN, secured.folder / "other.pem")
        another = Server(address.replace("localhost", "127.0.0.1"), TOKEN, ca)
        for server in (others, another):  # the certificate is of another authority, or name
            with (
                Client("gan", server, protocol=protocol) as client,
                pytest.raises(ServingError, match="is not to be trusted"),
            ):
                client.version()
    assert TOKEN not in repr(server)


def test_commands_take_the_token_from_a_file(secured, tmp_path):
    options = ("--token-file", secured.folder / "token", "--tls-ca", secured.folder / "server.pem")
    server = ("--server", secured.rest)
    serving = ("--serving", secured.folder / "models")
    done = inkwell("generate", "gan", "-o", tmp_path / "a.png", *server, *options)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    done = inkwell("models", *serving, *server, *options)
    assert done.returncode == 0 and "AVAILABLE" in done.stdout, done.stdout + done.stderr
    done = inkwell("promote", "gan", "1", *serving, *server, *options[2:])
    assert done.returncode == 2 and "asks for a token" in done.stderr
    assert not (secured.folder / "models" / "releases.json").exists()


def test_the_token_is_in_no_argument_no_log_and_no_environment(secured):
    assert TOKEN not in secured.running.said + secured.running.log.read_text()
    process = psutil.Process(secured.running.process.pid)
    for each in (process, *process.children()):
        assert TOKEN not in " ".join([*each.cmdline(), *each.environ().values()])


def test_a_token_that_others_can_read_is_told(secured):
    assert "Others than its owner may use the token file" in secured.running.log.read_text()


@needs_chromium
def test_the_playground_asks_for_the_token(secured, tmp_path):
    with open_browser(tmp_path, ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(secured.page)
        for given, words in ((ANOTHER, "does not take this token"), (TOKEN, "")):
            page.wait_for_selector("#access:not([hidden])")
            assert page.is_hidden("#parts")
            assert violations(page) == []
            page.fill("#token", given)
            page.click("#access button")
            if words:
                page.wait_for_selector(f"#error:has-text('{words}')")
        page.wait_for_selector("body[data-ready]")
        assert "gan 1" in page.text_content("#served") and page.is_hidden("#access")
        page.wait_for_selector("#wall canvas")
        page.close()


def test_a_connection_that_begins_no_handshake_holds_nobody_up(secured):
    host, port = secured.rest.split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(50)]
    with secured.http() as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/v1/models/gan", headers=headers).status_code == 200
    for each in idle:
        each.close()


@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("token_file", "short", "must hold one word of 16 to 4096 ASCII characters"),
        ("token_file", "two words of sixteen letters", "must hold one word"),
        ("token_file", None, "cannot be read (No such file or directory)"),
        ("tls_cert", "no certificate", "belong together; give both, or neither"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(tmp_path, option, content, words):
    (tmp_path / "gan" / "1").mkdir(parents=True)
    (tmp_path / "gan" / "1" / "saved_model.pb").touch()
    if content is not None:
        (tmp_path / "file").write_text(content)
    options = ServeOptions(tmp_path, (), port=0, rest_port=0, **{option: tmp_path / "file"})
    with pytest.raises(ServingError, match=re.escape(words)) as caught:
        start_serving(options)
    assert str(content) not in str(caught.value)


def test_a_key_that_is_not_the_certificates_is_refused(tmp_path):
    for name in ("a", "b"):
        write_certificate(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
    (tmp_path / "c.pem").write_text("junk")
    for certificate, key in (("a.pem", "b.key"), ("a.pem", "a.pem"), ("c.pem", "a.key")):
        with pytest.raises(ServingError, match="cannot be used for TLS"):
            read_tls(tmp_path / certificate, tmp_path / key)
    with pytest.raises(ServingError, match="cannot be read"):
        read_tls(tmp_path / "a.pem", tmp_path / "none")
    assert read_tls(tmp_path / "a.pem", tmp_path / "a.key").authority is None


def test_upstreams_configuration_may_ask_clients_for_a_certificate_too(tmp_path):
    """client_verify: whoever has no key of the authority does not even get a connection.

    Health needs no token, as Kubernetes' probes have none.
    """
    for name in ("server", "client", "stranger"):
        write_certificate(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
    read = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    config = {"server_key": "server.key", "server_cert": "server.pem", "custom_ca": "client.pem"}
    text = "".join(
        f"{field}: {json.dumps(read[name].decode())}\n" for field, name in config.items()
    )
    (tmp_path / "ssl.config").write_text(text + "client_verify: true\n")
    (tmp_path / "ssl.config").chmod(0o600)
    save_gan(tmp_path / "gan" / "1")
    flags = [
        *("--model_name=gan", f"--model_base_path={tmp_path / 'gan'}"),
        *("--enable_grpc_healthcheck_service", f"--ssl_config_file={tmp_path / 'ssl.config'}"),
        f"--token_file={tmp_path / 'token'}",
    ]
    (tmp_path / "token").write_text(TOKEN)
    with model_server(*flags) as (address, _):
        target = f"localhost:{address.rpartition(':')[2]}"

        def channel(name: str | None) -> grpc.Channel:
            pair = (read[f"{name}.key"], read[f"{name}.pem"]) if name else ()
            return grpc.secure_channel(
                target, grpc.ssl_channel_credentials(read["server.pem"], *pair)
            )

        def health(channel: grpc.Channel) -> int:
            stub = health_pb2_grpc.HealthStub(channel)
            return stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status

        with channel("client") as known:
            assert health(known) == health_pb2.HealthCheckResponse.SERVING
            for call, request in calls(known):
                with pytest.raises(grpc.RpcError, match="asks for a token"):
                    call(request, timeout=TIMEOUT)
        for name in (None, "stranger"):
            with channel(name) as unknown, pytest.raises(grpc.RpcError) as caught:
                health(unknown)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
