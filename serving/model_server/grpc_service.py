"""The gRPC front: PredictionService and ModelService of TensorFlow Serving's API.

Contract: Predict, GetModelMetadata, GetModelStatus and HandleReloadConfigRequest answer as
TensorFlow Serving does, errors included; the last is off unless a flag gives it a directory, as a
SavedModel is a program, and the call runs it. Every other call of the two services is
UNIMPLEMENTED, in a sentence. Requests are bounded before they are parsed, and tensors before they
are made.
"""

import dataclasses
import logging
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from serving.model_server import tensors, wire
from serving.model_server.config import ConfigError, ModelConfig, models_of
from serving.model_server.errors import StatusError, invalid
from serving.model_server.limits import Budget, Limits, converting, declared
from serving.model_server.metrics import UNKNOWN_MODEL, Metrics
from serving.model_server.repository import Repository
from serving.model_server.servable import DEFAULT_SIGNATURE, to_array
from serving.versions import list_versions

_SIGNATURE_DEF = "signature_def"
_LONGEST_SECONDS = 1e6
_LOGGER = logging.getLogger(__name__)


class PredictionService:
    """Predict and GetModelMetadata over a repository."""

    def __init__(
        self,
        repository: Repository,
        metrics: Metrics,
        limits: Limits,
        budget: Budget,
        tensor_content: bool,
    ):
        self._repository, self._metrics = repository, metrics
        self._limits, self._budget = limits, budget
        self._tensor_content = tensor_content

    def handlers(self, probes: futures.ThreadPoolExecutor) -> dict[str, grpc.RpcMethodHandler]:
        """By name of the call; ``probes`` runs those that never wait for a model."""
        others = ("Classify", "Regress", "MultiInference")
        return {
            "Predict": _handler(self._timed_predict),
            "GetModelMetadata": _handler(self._metadata, probes),
            **{call: _handler(_only_predict(call), probes) for call in others},
        }

    def _timed_predict(
        self, body: bytes, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        started, status, name = time.monotonic(), "INTERNAL", ""
        try:
            with self._budget.parts() as take:
                take(len(body))
                end = _end_of(context)
                with converting(len(body), end):
                    request = wire.parse_predict(body, self._limits)
                name = request.model_spec.name
                response = self._predict(request, end, context)
            status = "OK" if time.monotonic() < end else "DEADLINE_EXCEEDED"
            return response
        except StatusError as error:
            status = error.code.name
            raise
        finally:
            model = name if self._repository.knows(name) else UNKNOWN_MODEL
            taken = time.monotonic() - started
            self._metrics.request(model, "Predict", "GRPC", status, taken)

    def _predict(
        self, request: predict_pb2.PredictRequest, end: float, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """The answer, by ``end`` of time.monotonic()."""
        _require_model_spec(request)
        servable = self._repository.find(request.model_spec)
        signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        given = {name: declared(name, proto) for name, proto in request.inputs.items()}
        servable.check(signature_name, given, request.output_filter)
        self._limits.check_tensors(request.inputs)
        inputs = {name: to_array(name, proto) for name, proto in request.inputs.items()}
        began = time.monotonic()
        outputs = servable.run(
            signature_name, inputs, request.output_filter, end - began, context.add_callback
        )
        self._metrics.runtime(servable.name, time.monotonic() - began)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.model_spec.signature_name = signature_name
        with converting(sum(value.nbytes for value in outputs.values()), end):
            for name, value in outputs.items():
                response.outputs[name].CopyFrom(tensors.to_proto(value, self._tensor_content))
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

    def handlers(self, probes: futures.ThreadPoolExecutor) -> dict[str, grpc.RpcMethodHandler]:
        """By name of the call; ``probes`` runs those that never wait for a model."""
        return {
            "GetModelStatus": _handler(self._status, probes),
            "HandleReloadConfigRequest": _handler(self._reload),
        }

    def _reload(
        self, body: bytes, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        if self._reload_root is None:
            raise _denied(
                "HandleReloadConfigRequest is off in this server; --reload_config_root=DIR with "
                "--token_file=FILE turns it on for models below DIR."
            )
        request = wire.parse(body, model_management_pb2.ReloadConfigRequest)
        try:
            models = models_of(request.config, "ReloadConfigRequest")
        except ConfigError as error:
            raise invalid(str(error)) from error
        self._repository.reload([_below(self._reload_root, model) for model in models])
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()  # OK
        return response

    def _status(
        self, body: bytes, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        request = wire.parse(body, get_model_status_pb2.GetModelStatusRequest)
        _require_model_spec(request)
        return self._repository.status(request.model_spec)


def _handler(
    answer: Callable[[bytes, grpc.ServicerContext], Message],
    pool: futures.ThreadPoolExecutor | None = None,
) -> grpc.RpcMethodHandler:
    """Passes the raw request to ``answer``, which bounds it before it is parsed."""

    def call(body: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return answer(body, context).SerializeToString()
        except StatusError as error:
            code, message = error.code, error.message
        except Exception as error:
            _LOGGER.error("%s failed", answer.__name__, exc_info=error)
            code, message = grpc.StatusCode.INTERNAL, "Internal error; see the log of the server."
        context.abort(code, message)

    # gRPC's own name; None stands for the server's threads.
    vars(call)["experimental_thread_pool"] = pool
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


def _end_of(context: grpc.ServicerContext) -> float:
    """The call's deadline, of time.monotonic(); days ahead without one."""
    seconds = context.time_remaining()
    return time.monotonic() + min(
        _LONGEST_SECONDS if seconds is None else seconds, _LONGEST_SECONDS
    )


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _only_predict(call: str) -> Callable[[bytes, grpc.ServicerContext], Message]:
    def answer(body: bytes, context: grpc.ServicerContext) -> Message:
        message = f"{call} is not implemented by this server; call Predict."
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, message)

    return answer
