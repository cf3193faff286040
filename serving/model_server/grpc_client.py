"""Calls a model server over gRPC: TensorFlow Serving or ours, arrays in and arrays out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_INT32_MAX = 2**31 - 1
_OPTIONS = [
    ("grpc.max_receive_message_length", _INT32_MAX),  # 4 MiB by default: 1,300 float images
    ("grpc.max_send_message_length", _INT32_MAX),
    ("grpc.enable_http_proxy", 0),
    # A server that is still loading refuses connections; the default waits up to 2 minutes then.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


def predict_request(
    model_name: str,
    signature_name: str,
    inputs: Mapping[str, np.ndarray],
    version: int | None = None,
    label: str | None = None,
) -> predict_pb2.PredictRequest:
    """A request to ``model_name``: its newest version, or one by number or label."""
    request = predict_pb2.PredictRequest()
    request.model_spec.CopyFrom(_spec(model_name, version, label))
    request.model_spec.signature_name = signature_name
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


class _WithToken(grpc.UnaryUnaryClientInterceptor):
    """Sends the token with every call."""

    def __init__(self, token: str):
        self._metadata = [("authorization", f"Bearer {token}")]

    def intercept_unary_unary(self, continuation, client_call_details, request):
        """gRPC's own."""
        details = _Details(client_call_details.method, client_call_details.timeout, self._metadata)
        return continuation(details, request)


class _Details(NamedTuple):
    """gRPC's grpc.ClientCallDetails."""

    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str]]
    credentials: None = None
    wait_for_ready: bool | None = None
    compression: None = None


class GrpcClient:
    """A connection to one model of one server; a context manager."""

    def __init__(self, endpoint: str, model_name: str, token: str = "", ca: bytes | None = None):
        """Opens no connection yet.

        Args:
            endpoint: ``host:port``, or ``unix:`` and the path of a socket.
            model_name: Name it is served under.
            token: What the server asks for; empty for nothing.
            ca: Whose certificate the server shows, in PEM; None if it does not encrypt.
        """
        self.model_name = model_name
        if ca is None:
            self._channel = grpc.insecure_channel(endpoint, options=_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(ca)
            self._channel = grpc.secure_channel(endpoint, credentials, options=_OPTIONS)
        if token:
            self._channel = grpc.intercept_channel(self._channel, _WithToken(token))
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._channel.close()

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        timeout_s: float,
        output_filter: Sequence[str] = (),
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Raises:
            grpc.RpcError: With the code and the text of the server, or DEADLINE_EXCEEDED.
        """
        request = predict_request(self.model_name, signature_name, inputs, version, label)
        request.output_filter.extend(output_filter)
        response = self.predictions.Predict(request, timeout=timeout_s)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def metadata(
        self, timeout_s: float, version: int | None = None, label: str | None = None
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Number and signatures of the version that answers.

        Raises:
            grpc.RpcError: NOT_FOUND if no version answers.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.CopyFrom(_spec(self.model_name, version, label))
        request.metadata_field.append("signature_def")
        return self.predictions.GetModelMetadata(request, timeout=timeout_s)

    def states(self, timeout_s: float) -> dict[int, str]:
        """State by version, as AVAILABLE.

        Raises:
            grpc.RpcError: NOT_FOUND for an unknown model, UNAVAILABLE while the port is closed.
        """
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self.model_name
        response = self.models.GetModelStatus(request, timeout=timeout_s)
        name = get_model_status_pb2.ModelVersionStatus.State.Name
        return {status.version: name(status.state) for status in response.model_version_status}


def _spec(name: str, version: int | None, label: str | None) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name)
    if version is not None:
        spec.version.value = version
    elif label:
        spec.version_label = label
    return spec
