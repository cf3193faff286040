"""Clients that we did not write: Java, curl, requests, httpx, and gRPC's standard services."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from prometheus_client.parser import text_string_to_metric_families
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.model_server.metrics import REQUESTS, UNKNOWN_MODEL
from tests.certificates import write_certificate
from tests.serving.conformance import model
from tests.serving.conftest import model_server

TIMEOUT = 30.0
BODY = '{"instances": [1.0, 3.0]}'
ANSWER = {"predictions": [3.5, 4.5]}
JAVA = """
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpResponse.BodyHandlers;
public class Main {
  public static void main(String[] arguments) throws Exception {
    HttpClient client = HttpClient.newHttpClient();  // offers HTTP/2, as by default
    for (int i = 0; i < 2; i++) {
      HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
          .POST(HttpRequest.BodyPublishers.ofString(arguments[1])).build();
      HttpResponse<String> response = client.send(request, BodyHandlers.ofString());
      System.out.println(response.statusCode() + " " + response.body());
    }
  }
}
"""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """gRPC and REST."""
    store = model.write_store(tmp_path_factory.mktemp("foreign"))
    arguments = "grpc.max_connection_age_ms=2000,grpc.http2.min_ping_interval_without_data_ms=100"
    flags = [*model.flags(store), f"--grpc_channel_arguments={arguments}", "--unknown_flag=1"]
    with model_server(*flags) as found:
        yield found


@pytest.fixture(scope="module")
def url(addresses) -> str:
    return f"http://{addresses[1]}/v1/models/{model.NAME}:predict"


@pytest.fixture
def channel(addresses) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(addresses[0]) as channel:
        yield channel


def request_of(dtype: int | None = None) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model.NAME
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([1.0, 3.0], "float32")))
    if dtype is not None:
        request.inputs["x"].dtype = dtype
    return request


def test_java(url, tmp_path):
    java = shutil.which("java")
    if not java:
        pytest.skip("java is not installed")
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True).stdout
    if "jdk.compiler" not in modules or "java.net.http" not in modules:
        pytest.skip("java has no compiler or no HTTP client; install a JDK from 11")
    source = tmp_path / "Main.java"
    source.write_text(JAVA)
    run = subprocess.run(
        [java, str(source), url, BODY], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        code, _, body = line.partition(" ")
        assert (code, json.loads(body)) == ("200", ANSWER)


@pytest.mark.parametrize(
    "options",
    [
        ["--http2"],
        ["--http1.1"],
        ["--http1.0"],
        ["-H", "Expect: 100-continue"],
        ["-H", "Transfer-Encoding: chunked"],
        ["-H", "Content-Type: text/plain"],
    ],
    ids=lambda options: options[-1],
)
def test_curl(url, options):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", "-w", " %{http_code}", "-d", BODY, *options, url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    body, _, code = run.stdout.rpartition(" ")
    assert (code, json.loads(body)) == ("200", ANSWER)


def test_requests_and_httpx(url):
    for post in (requests.post, httpx.post):
        response = post(url, json=json.loads(BODY), timeout=TIMEOUT)
        assert (response.status_code, response.json()) == (200, ANSWER)
    with requests.Session() as session:  # one connection
        for _ in range(3):
            assert session.post(url, data=BODY, timeout=TIMEOUT).json() == ANSWER


def test_the_typed_fields_hold_the_answer(channel):
    """As upstream's example/mnist_client.py reads it."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    output = stub.Predict(request_of(), timeout=TIMEOUT).outputs["y"]
    assert list(output.float_val) == [3.5, 4.5] and not output.tensor_content
    assert np.array(output.float_val).argmax() == 1


def test_every_number_of_a_type_is_answered_with_a_code_and_never_counted_as_ok(addresses, channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    before = counts(addresses[1])
    numbers = [*range(140), 2**31 - 1]
    failed = 0
    for number in numbers:
        try:
            stub.Predict(request_of(number), timeout=TIMEOUT)
        except grpc.RpcError as error:
            failed += 1
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, number
            assert error.details()
    assert failed == len(numbers) - 1
    after = counts(addresses[1])
    assert after[model.NAME, "OK"] - before.get((model.NAME, "OK"), 0) == 1
    name = (model.NAME, "INVALID_ARGUMENT")
    assert after[name] - before.get(name, 0) == failed
    assert types_pb2.DT_FLOAT in numbers


def counts(rest: str) -> dict[tuple[str, str], float]:
    page = httpx.get(f"http://{rest}/monitoring/prometheus/metrics", timeout=TIMEOUT)
    assert page.status_code == 200
    [family] = [f for f in text_string_to_metric_families(page.text) if f.name == REQUESTS]
    return {(s.labels["model_name"], s.labels["status"]): s.value for s in family.samples}


def test_names_of_others_cannot_break_or_fill_the_metrics(addresses, channel, url):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    httpx.post(url, content=BODY)
    before = counts(addresses[1])
    for name in ("a%22b", "a%0Ab", "a%5Cb", "x" * 2000, "..%2F", "%FF"):
        response = httpx.post(f"http://{addresses[1]}/v1/models/{name}:predict", content=BODY)
        assert response.status_code == 404
        labelled = f"http://{addresses[1]}/v1/models/{name}/labels/{name}:predict"
        assert httpx.post(labelled, content=BODY).status_code == 400
        request = request_of()
        request.model_spec.name = name
        with pytest.raises(grpc.RpcError):
            stub.Predict(request, timeout=TIMEOUT)
    after = counts(addresses[1])
    assert {name for name, _ in after} == {model.NAME, UNKNOWN_MODEL}
    unknown = (UNKNOWN_MODEL, "NOT_FOUND")
    assert after[unknown] - before.get(unknown, 0) == 12


def test_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)

    def check(service: str) -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        return stub.Check(request, timeout=TIMEOUT).status

    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", "PredictionService", "ModelService"):  # upstream's names (server.cc)
        assert check(service) == serving
    with pytest.raises(grpc.RpcError) as caught:
        check("nope")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    assert next(watch).status == serving
    watch.cancel()
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=TIMEOUT)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_reflection_tells_the_services_and_their_messages(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    names = set(database.get_services())
    assert {
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "grpc.health.v1.Health",
    } <= names
    pool = descriptor_pool.DescriptorPool(database)
    service = pool.FindServiceByName("tensorflow.serving.PredictionService")
    assert "Predict" in service.methods_by_name
    assert "inputs" in service.methods_by_name["Predict"].input_type.fields_by_name


def test_reflection_by_its_newer_name(channel):
    """As grpcurl asks first."""
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [response] = call(iter([request]), timeout=TIMEOUT)
    names = [service.name for service in response.list_services_response.service]
    assert "tensorflow.serving.PredictionService" in names


def test_open_reflection_streams_hold_no_predictions_up(addresses):
    with grpc.insecure_channel(addresses[0]) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        done = False

        def waiting():
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            while not done:
                time.sleep(0.05)

        streams = [stub.ServerReflectionInfo(waiting(), timeout=5) for _ in range(80)]
        next(streams[0])
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        assert predict(request_of(), timeout=3).outputs["y"].float_val
        done = True
        for stream in streams:
            stream.cancel()


def test_channel_arguments_are_obeyed(addresses):
    """A connection is renewed at 2 s of age, and pings each 200 ms are allowed."""
    options = [
        ("grpc.keepalive_time_ms", 200),
        ("grpc.keepalive_timeout_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    states: list[grpc.ChannelConnectivity] = []
    with grpc.insecure_channel(addresses[0], options) as channel:
        channel.subscribe(states.append)
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        end = time.monotonic() + 6
        while time.monotonic() < end:
            assert predict(request_of(), timeout=TIMEOUT).outputs
            time.sleep(0.1)
    ready = states.count(grpc.ChannelConnectivity.READY)
    # With a jitter of a tenth, the age of 2 s ends at least two connections within 6 s; a server
    # that counts pings would end one in half a second.
    assert 2 <= ready <= 5, states


def test_tls_unix_socket_and_tensor_content(tmp_path: Path):
    write_certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")
    certificate = (tmp_path / "certificate.pem").read_bytes()
    key = (tmp_path / "key.pem").read_text()
    store = model.write_store(tmp_path / "store")
    path = tmp_path / "grpc.socket"
    ssl = tmp_path / "ssl.config"
    ssl.write_text(
        f"server_key: {json.dumps(key)}\nserver_cert: {json.dumps(certificate.decode())}\n"
    )
    flags = [
        *model.flags(store),
        f"--grpc_socket_path={path}",
        f"--ssl_config_file={ssl}",
        "--enable_serialization_as_tensor_content",
    ]
    with model_server(*flags) as (address, _):
        credentials = grpc.ssl_channel_credentials(certificate)
        port = address.rpartition(":")[2]
        for target in (f"localhost:{port}", f"unix:{path}"):
            options = [("grpc.ssl_target_name_override", "localhost")]
            with grpc.secure_channel(target, credentials, options) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                output = stub.Predict(request_of(), timeout=TIMEOUT).outputs["y"]
                assert tf.make_ndarray(output).tolist() == [3.5, 4.5]
                assert output.tensor_content and not output.float_val
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(
                request_of(), timeout=5
            )
