"""The gRPC front: PredictionService and ModelService of TensorFlow Serving's API.

Contract: Predict, GetModelMetadata, GetModelStatus and HandleReloadConfigRequest answer as
TensorFlow Serving does, errors included. Every other call of the two services is UNIMPLEMENTED, in
a sentence. The health service says SERVING to all, as upstream's does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.model_server.config import ConfigError, models_of
from serving.model_server.errors import StatusError, invalid
from serving.model_server.metrics import Metrics
from serving.model_server.repository import Repository
from serving.model_server.servable import DEFAULT_SIGNATURE

_INT32_MAX = 2**31 - 1
_OPTIONS = [
    ("grpc.max_receive_message_length", _INT32_MAX),
    ("grpc.max_send_message_length", _INT32_MAX),
    ("grpc.so_reuseport", 0),  # two servers on one port would share its clients unnoticed
]
_SIGNATURE_DEF = "signature_def"
_LONGEST_SECONDS = 1e6


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata over a repository."""

    def __init__(self, repository: Repository, metrics: Metrics):
        self._repository = repository
        self._metrics = metrics

    def Predict(self, request, context):
        started, status = time.monotonic(), "OK"
        try:
            return self._predict(request, _remaining(context))
        except StatusError as error:
            status = error.code.name
            context.abort(error.code, error.message)
        finally:
            taken = time.monotonic() - started
            self._metrics.request(request.model_spec.name, "GRPC", status, taken)

    def GetModelMetadata(self, request, context):
        return _answer(context, self._metadata, request)

    def Classify(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, _only_predict("Classify"))

    def Regress(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, _only_predict("Regress"))

    def MultiInference(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, _only_predict("MultiInference"))

    def _predict(
        self, request: predict_pb2.PredictRequest, timeout_s: float | None
    ) -> predict_pb2.PredictResponse:
        _require_model_spec(request)
        servable = self._repository.find(request.model_spec)
        inputs = {}
        for name, proto in request.inputs.items():
            try:
                inputs[name] = tf.make_ndarray(proto)
            except (TypeError, ValueError) as error:
                raise invalid(f"tensor parsing error: {name}") from error
        signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        outputs = servable.run(signature_name, inputs, request.output_filter, timeout_s)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.model_spec.signature_name = signature_name
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_model_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        servable = self._repository.find(request.model_spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in servable.signature_defs.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus over a repository."""

    def __init__(self, repository: Repository):
        self._repository = repository

    def GetModelStatus(self, request, context):
        return _answer(context, self._status, request)

    def HandleReloadConfigRequest(self, request, context):
        return _answer(context, self._reload, request)

    def _reload(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        try:
            self._repository.configure(models_of(request.config, "ReloadConfigRequest"))
        except ConfigError as error:
            raise invalid(str(error)) from error
        self._repository.poll()
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()  # OK
        return response

    def _status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_model_spec(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state in sorted(self._repository.states(request.model_spec).items()):
            # The status of a version stays OK (0): one that failed to load ends the process.
            response.model_version_status.add(version=version, state=state).status.SetInParent()
        return response


class _Health(grpc.GenericRpcHandler):
    """grpc.health.v1.Health/Check, without its proto: field 1, the status, is 1, SERVING."""

    def service(self, handler_call_details):
        if handler_call_details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")


def start_server(
    repository: Repository,
    address: str,
    threads: int,
    metrics: Metrics,
    with_health: bool = False,
) -> tuple[grpc.Server, int]:
    """Opens ``address`` (``host:port``, port 0 for a free one); returns the server and its port.

    Raises:
        OSError: The port is taken or may not be used.
    """
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=threads), options=_OPTIONS)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(repository, metrics), server
    )
    if with_health:
        server.add_generic_rpc_handlers((_Health(),))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(repository), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"Cannot listen on {address}; choose another port with --port.") from error
    server.start()
    return server, port


def _answer(context: grpc.ServicerContext, handler: Callable[[Any], Any], request: Any) -> Any:
    try:
        return handler(request)
    except StatusError as error:
        context.abort(error.code, error.message)


def _remaining(context: grpc.ServicerContext) -> float | None:
    """Seconds until the call's deadline; None without one, which gRPC tells as a vast number."""
    seconds = context.time_remaining()
    return None if seconds is None or seconds > _LONGEST_SECONDS else seconds


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _only_predict(call: str) -> str:
    return f"{call} is not implemented by this server; call Predict."
