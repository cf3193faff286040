"""The gRPC front: PredictionService and ModelService of TensorFlow Serving's API.

Contract: Predict, GetModelMetadata and GetModelStatus answer as TensorFlow Serving does, errors
included. Every other call of the two services is UNIMPLEMENTED, in a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.model_server.repository import Repository
from serving.model_server.servable import DEFAULT_SIGNATURE, StatusError

_INT32_MAX = 2**31 - 1
_OPTIONS = [
    ("grpc.max_receive_message_length", _INT32_MAX),
    ("grpc.max_send_message_length", _INT32_MAX),
    ("grpc.so_reuseport", 0),  # two servers on one port would share its clients unnoticed
]
_SIGNATURE_DEF = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata over a repository."""

    def __init__(self, repository: Repository):
        self._repository = repository

    def Predict(self, request, context):
        return _answer(context, self._predict, request)

    def GetModelMetadata(self, request, context):
        return _answer(context, self._metadata, request)

    def Classify(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, _only_predict("Classify"))

    def Regress(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, _only_predict("Regress"))

    def MultiInference(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, _only_predict("MultiInference"))

    def _predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        _require_model_spec(request)
        servable = self._repository.find(request.model_spec)
        inputs = {}
        for name, proto in request.inputs.items():
            try:
                inputs[name] = tf.make_ndarray(proto)
            except (TypeError, ValueError) as error:
                raise StatusError(
                    grpc.StatusCode.INVALID_ARGUMENT, f"tensor parsing error: {name}"
                ) from error
        signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        outputs = servable.run(signature_name, inputs, request.output_filter)
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
            raise StatusError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise StatusError(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Metadata field {field} is not supported"
                )
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
        context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "This server serves the one model it was started with; start it anew for another.",
        )

    def _status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_model_spec(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state in sorted(self._repository.states(request.model_spec).items()):
            # The status of a version stays OK (0): one that failed to load ends the process.
            response.model_version_status.add(version=version, state=state).status.SetInParent()
        return response


def start_server(repository: Repository, address: str, threads: int) -> tuple[grpc.Server, int]:
    """Opens ``address`` (``host:port``, port 0 for a free one); returns the server and its port.

    Raises:
        OSError: The port is taken or may not be used.
    """
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=threads), options=_OPTIONS)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(repository), server
    )
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


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")


def _only_predict(call: str) -> str:
    return f"{call} is not implemented by this server; call Predict."
