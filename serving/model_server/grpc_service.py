"""The gRPC front: PredictionService and ModelService of TensorFlow Serving's API.

Contract: Predict, GetModelMetadata, GetModelStatus and HandleReloadConfigRequest answer as
TensorFlow Serving does, errors included; the last is off unless a flag gives it a directory, as a
SavedModel is a program, and the call runs it. Every other call of the two services is
UNIMPLEMENTED, in a sentence. The health service says SERVING to all, as upstream's does. Requests
are bounded before they are parsed, and tensors before they are made.
"""

import dataclasses
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from serving.model_server import wire
from serving.model_server.config import ConfigError, ModelConfig, models_of
from serving.model_server.errors import StatusError, invalid
from serving.model_server.limits import Limits, declared, malformed
from serving.model_server.metrics import Metrics
from serving.model_server.repository import Repository
from serving.model_server.servable import DEFAULT_SIGNATURE
from serving.model_server.starting import PortError, bind_errno
from serving.versions import list_versions

_INT32_MAX = 2**31 - 1
_OPTIONS = [
    ("grpc.max_send_message_length", _INT32_MAX),
    ("grpc.so_reuseport", 0),  # two servers on one port would share its clients unnoticed
]
_SIGNATURE_DEF = "signature_def"
_LONGEST_SECONDS = 1e6


class PredictionService:
    """Predict and GetModelMetadata over a repository."""

    def __init__(self, repository: Repository, metrics: Metrics, limits: Limits):
        self._repository = repository
        self._metrics = metrics
        self._limits = limits

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """By name of the call."""
        others = ("Classify", "Regress", "MultiInference")
        return {
            "Predict": _handler(self._timed_predict),
            "GetModelMetadata": _handler(self._metadata),
            **{call: _handler(_only_predict(call)) for call in others},
        }

    def _timed_predict(
        self, body: bytes, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        started, status, name = time.monotonic(), "OK", ""
        try:
            request = wire.parse_predict(body, self._limits)
            name = request.model_spec.name
            return self._predict(request, _remaining(context))
        except StatusError as error:
            status = error.code.name
            raise
        finally:
            self._metrics.request(name, "GRPC", status, time.monotonic() - started)

    def _predict(
        self, request: predict_pb2.PredictRequest, timeout_s: float | None
    ) -> predict_pb2.PredictResponse:
        _require_model_spec(request)
        servable = self._repository.find(request.model_spec)
        signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        given = {name: declared(name, proto) for name, proto in request.inputs.items()}
        servable.check(signature_name, given, request.output_filter)
        self._limits.check_tensors(request.inputs)
        inputs = {}
        for name, proto in request.inputs.items():
            try:
                inputs[name] = tf.make_ndarray(proto)
            except (TypeError, ValueError) as error:
                raise malformed(name) from error
        outputs = servable.run(signature_name, inputs, request.output_filter, timeout_s)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.model_spec.signature_name = signature_name
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def _metadata(
        self, body: bytes, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        request = wire.parse(body, get_model_metadata_pb2.GetModelMetadataRequest)
        _require_model_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        servable = self._repository.find(request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[_SIGNATURE_DEF].Pack(servable.signature_map())
        return response


class ModelService:
    """GetModelStatus over a repository, and HandleReloadConfigRequest where a flag allows it."""

    def __init__(self, repository: Repository, reload_root: Path | None):
        self._repository = repository
        self._reload_root = reload_root.resolve() if reload_root else None

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """By name of the call."""
        return {
            "GetModelStatus": _handler(self._status),
            "HandleReloadConfigRequest": _handler(self._reload),
        }

    def _reload(
        self, body: bytes, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        if self._reload_root is None:
            raise _denied(
                "HandleReloadConfigRequest is off in this server; "
                "--reload_config_root=DIR turns it on for models below DIR."
            )
        request = wire.parse(body, model_management_pb2.ReloadConfigRequest)
        try:
            models = models_of(request.config, "ReloadConfigRequest")
        except ConfigError as error:
            raise invalid(str(error)) from error
        self._repository.configure([_below(self._reload_root, model) for model in models])
        self._repository.poll()
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()  # OK
        return response

    def _status(
        self, body: bytes, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        request = wire.parse(body, get_model_status_pb2.GetModelStatusRequest)
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
    host: str,
    port: int,
    threads: int,
    metrics: Metrics,
    limits: Limits,
    reload_root: Path | None = None,
    with_health: bool = False,
) -> tuple[grpc.Server, int]:
    """Opens ``host:port``; returns the server and its port.

    Args:
        repository: The models.
        host: Address to listen on.
        port: 0 for a free one.
        threads: Number of concurrent calls.
        metrics: Where calls are counted.
        limits: Bounds of one request.
        reload_root: Directory below which HandleReloadConfigRequest may name models; None
            refuses the call.
        with_health: Whether grpc.health.v1.Health answers.

    Raises:
        PortError: The port is taken or may not be used.
    """
    options = [*_OPTIONS, ("grpc.max_receive_message_length", min(limits.max_bytes, _INT32_MAX))]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=threads), options=options)
    services = {
        "PredictionService": PredictionService(repository, metrics, limits),
        "ModelService": ModelService(repository, reload_root),
    }
    for name, service in services.items():
        full_name = f"tensorflow.serving.{name}"
        handlers = grpc.method_handlers_generic_handler(full_name, service.handlers())
        server.add_generic_rpc_handlers((handlers,))
    if with_health:
        server.add_generic_rpc_handlers((_Health(),))
    try:
        opened = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:  # without the reason
        raise PortError(host, port, "--port", bind_errno(host, port)) from error
    server.start()
    return server, opened


def _handler(answer: Callable[[bytes, grpc.ServicerContext], Message]) -> grpc.RpcMethodHandler:
    """Passes the raw request to ``answer``, which bounds it before it is parsed."""

    def call(body: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return answer(body, context).SerializeToString()
        except StatusError as error:
            context.abort(error.code, error.message)

    return grpc.unary_unary_rpc_method_handler(call)


def _below(root: Path, model: ModelConfig) -> ModelConfig:
    """The model with links in its path followed, so that a link changed later leads nowhere.

    Raises:
        StatusError: PERMISSION_DENIED: it, or a version of it, does not lie below ``root``;
            INVALID_ARGUMENT: it is not a directory that can be read.
    """
    try:
        path = model.base_path.resolve()
        is_below = ".." not in model.base_path.parts and root in path.parents
        if is_below:
            is_below = all(root in v.path.resolve().parents for v in list_versions(path))
    except (OSError, RuntimeError, ValueError):  # a file, links in a circle, a null character
        raise invalid(f"The base_path of {model.name} is not a readable directory.") from None
    if not is_below:
        raise _denied(
            f"The base_path {model.base_path} of {model.name}, or a version in it, is not below "
            f"{root}, the directory of --reload_config_root."
        )
    return dataclasses.replace(model, base_path=path)


def _denied(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.PERMISSION_DENIED, message)


def _remaining(context: grpc.ServicerContext) -> float | None:
    """Seconds until the call's deadline; None without one, which gRPC reports as a vast number."""
    seconds = context.time_remaining()
    return None if seconds is None or seconds > _LONGEST_SECONDS else seconds


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _only_predict(call: str) -> Callable[[bytes, grpc.ServicerContext], Message]:
    def answer(body: bytes, context: grpc.ServicerContext) -> Message:
        message = f"{call} is not implemented by this server; call Predict."
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, message)

    return answer
