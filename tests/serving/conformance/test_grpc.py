"""gRPC: both services. The cases of upstream's tensorflow_model_server_test.py."""

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    regression_pb2,
)

from serving.model_server.grpc_client import predict_request
from tests.serving.conformance import model

TIMEOUT = 30.0
CODE = grpc.StatusCode
X = np.array([1.0, 3.0], "float32")


def failure(call, *args, **kwargs) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code(), caught.value.details()


def test_predict(client):
    assert client.predict("", {"x": X}, TIMEOUT)["y"].tolist() == [3.5, 4.5]
    assert client.predict("", {"x": X[:, None]}, TIMEOUT)["y"].tolist() == [[3.5], [4.5]]


@pytest.mark.parametrize(
    ("choice", "version"),
    [({"version": model.STABLE}, model.STABLE), ({"label": model.LABEL}, model.STABLE)],
)
def test_predict_by_version_and_by_label(client, choice, version):
    request = predict_request(model.NAME, "", {"x": X})
    if "version" in choice:
        request.model_spec.version.value = choice["version"]
    else:
        request.model_spec.version_label = choice["label"]
    response = client.predictions.Predict(request, timeout=TIMEOUT)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (
        model.NAME,
        version,
        "serving_default",
    )
    assert list(response.outputs["y"].float_val) or response.outputs["y"].tensor_content


def test_labels_that_nobody_set(client):
    request = predict_request(model.NAME, "", {"x": X})
    request.model_spec.version_label = "canary"
    assert failure(client.predictions.Predict, request, timeout=TIMEOUT) == (
        CODE.INVALID_ARGUMENT,
        "Unrecognized servable version label: canary",
    )


def test_every_type_of_tensor(client):
    inputs = {
        "int_tensor": np.array([1, -2], "int32"),
        "float_tensor": np.array([[1.5], [2.0]], "float32"),
        "str_tensor": np.array([b"foo", b"bar"], object),
        "bool_tensor": np.array([True, False]),
    }
    outputs = client.predict("many", inputs, TIMEOUT)
    assert outputs["int"].tolist() == [2, -1]
    assert outputs["float"].tolist() == [[3.0], [4.0]]
    assert outputs["str"].tolist() == [b"FOO", b"BAR"]
    assert outputs["bool"].tolist() == [False, True]
    assert client.predict("scalar", {"number": np.int64(4)}, TIMEOUT)["double"] == 8
    half = client.predict("half_precision", {"x": X}, TIMEOUT)["y"]
    assert half.dtype == np.float16 and half.tolist() == [1.0, 3.0]


def test_unknown_names(client):
    assert failure(client.predict, "x", {"x": X}, TIMEOUT) == (
        CODE.FAILED_PRECONDITION,
        'Serving signature key "x" not found.',
    )
    code, text = failure(client.predict, "", {"z": X}, TIMEOUT)
    assert code == CODE.INVALID_ARGUMENT and text.startswith("input tensor alias not found")
    code, text = failure(client.predict, "", {"x": X, "z": X}, TIMEOUT)
    assert code == CODE.INVALID_ARGUMENT and text.startswith("input size does not match signature")
    code, text = failure(client.predict, "", {"x": X}, TIMEOUT, ["z"])
    assert code == CODE.INVALID_ARGUMENT and text.startswith("output tensor alias not found")
    code, text = failure(client.predict, "", {"x": X}, TIMEOUT, ["y", "y"])
    assert (code, text) == (CODE.INVALID_ARGUMENT, "duplicate output tensor alias: y")


def test_output_filter(client):
    assert set(client.predict("uneven", {"x": X}, TIMEOUT)) == {"all", "first"}
    assert set(client.predict("uneven", {"x": X}, TIMEOUT, ["first"])) == {"first"}


def test_wrong_type(client):
    code, text = failure(client.predict, "", {"x": X.astype("float64")}, TIMEOUT)
    assert code == CODE.INVALID_ARGUMENT and "float" in text and "double" in text


def test_failed_assertion_of_the_model(client):
    code, text = failure(client.predict, "positive", {"x": -X}, TIMEOUT)
    assert code == CODE.INVALID_ARGUMENT and "x must be positive" in text


def test_deadline(client):
    code, _ = failure(client.predict, "work", {"x": np.array([200], "int32")}, 0.1)
    assert code == CODE.DEADLINE_EXCEEDED


def test_messages_above_four_mebibytes(client):
    x = np.zeros((2_000, 1_000), "float32")
    assert client.predict("", {"x": x}, TIMEOUT)["y"].shape == x.shape


def test_status(client):
    assert client.states(TIMEOUT) == {model.STABLE: "AVAILABLE", model.NEWEST: "AVAILABLE"}
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "foo"
    assert failure(client.models.GetModelStatus, request, timeout=TIMEOUT) == (
        CODE.NOT_FOUND,
        "Could not find any versions of model foo",
    )


def test_metadata(client):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = model.NAME
    request.metadata_field.append("signature_def")
    response = client.predictions.GetModelMetadata(request, timeout=TIMEOUT)
    assert response.model_spec.version.value == model.NEWEST
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert "serving_default" in signatures.signature_def
    request.metadata_field.append("other")
    assert failure(client.predictions.GetModelMetadata, request, timeout=TIMEOUT) == (
        CODE.INVALID_ARGUMENT,
        "Metadata field other is not supported",
    )


@pytest.mark.parametrize(
    ("call", "request_class"),
    [
        ("Classify", classification_pb2.ClassificationRequest),
        ("Regress", regression_pb2.RegressionRequest),
        ("MultiInference", inference_pb2.MultiInferenceRequest),
    ],
)
def test_calls_on_examples_do_not_answer_for_these_models(client, call, request_class):
    code, text = failure(getattr(client.predictions, call), request_class(), timeout=TIMEOUT)
    assert code in (CODE.UNIMPLEMENTED, CODE.INVALID_ARGUMENT) and text


def test_health(channel):
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"", timeout=TIMEOUT) == b"\x08\x01"
