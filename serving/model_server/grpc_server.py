"""The gRPC front: its port, threads and bounds, and the standard services beside ours.

Contract: status, health and reflection have threads of their own, so that they never wait for a
prediction; connections and calls that send nothing end, and their number is bounded. All messages
on their way take ``--grpc_max_threads`` + 16 times ``--max_request_mib`` at most, and those that
have come ``--max_requests_mib``.
"""

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from serving.access import UNAUTHENTICATED, Access
from serving.model_server.grpc_receiving import Places, Receiving
from serving.model_server.grpc_service import ModelService, PredictionService
from serving.model_server.limits import MIB, Budget, Limits, connections_within_files
from serving.model_server.metrics import Metrics
from serving.model_server.repository import Repository
from serving.model_server.starting import PortError, bind_errno
from serving.model_server.tls import Tls

_INT32_MAX = 2**31 - 1
_OPTIONS = {
    "grpc.max_send_message_length": _INT32_MAX,
    "grpc.so_reuseport": 0,  # two servers on one port would share its clients unnoticed
    "grpc.server_handshake_timeout_ms": 20_000,  # of a connection that sends nothing
    "grpc.max_metadata_size": 16 << 10,
    # Else a connection that has been fast may send 16 MiB of a message before it is waited for.
    "grpc.http2.bdp_probe": 0,
}
_PROBES = 16  # calls other than predictions whose messages are read at a time
_REFLECTION_THREADS = 4
_MOST_CALLS = 1024  # that run or wait; more are RESOURCE_EXHAUSTED


@dataclasses.dataclass(frozen=True)
class GrpcSettings:
    """Options of the gRPC front, each with its flag."""

    threads: int = 64  # calls that run at a time
    reload_root: Path | None = None  # below it HandleReloadConfigRequest may name models
    with_health: bool = False
    tensor_content: bool = False  # of answers, in place of float_val and its like
    channel_arguments: Mapping[str, int | str] = dataclasses.field(default_factory=dict)
    socket_path: str = ""  # a Unix socket to listen on as well
    tls: Tls | None = None
    access: Access = Access()  # noqa: RUF009 - it cannot change
    connections: int = 0  # open ones; 0 for as many as the limit of open files leaves room for
    receive_seconds: float = 30.0  # for a client to send its message


def start_server(
    repository: Repository,
    host: str,
    port: int | None,
    metrics: Metrics,
    limits: Limits,
    settings: GrpcSettings,
    budget: Budget | None = None,
) -> tuple[grpc.Server, int]:
    """Opens ``host:port``; returns the server and its port.

    Args:
        repository: The models.
        host: Address to listen on.
        port: 0 for a free one, None for none.
        metrics: Where calls are counted.
        limits: Bounds of one request.
        settings: Options.
        budget: Bytes that requests in flight may take; 1 GiB by default.

    Raises:
        PortError: The port is taken or may not be used.
    """
    own = {
        "grpc.max_receive_message_length": min(limits.max_bytes, _INT32_MAX),
        "grpc.max_allowed_incoming_connections": connections_within_files(settings.connections),
    }
    options = {**_OPTIONS, **own, **settings.channel_arguments}
    probes = futures.ThreadPoolExecutor(_MOST_CALLS, "grpc-probe")
    server = grpc.server(
        futures.ThreadPoolExecutor(_MOST_CALLS, "grpc"),  # most of them wait
        options=list(options.items()),
        interceptors=[
            *([_TokenCheck(settings.access, probes)] if settings.access.token else []),
            Receiving(
                settings.receive_seconds,
                Places(settings.threads, _MOST_CALLS // 2),
                Places(_PROBES, _MOST_CALLS // 2),
                settings.threads,
            ),
        ],
        maximum_concurrent_rpcs=_MOST_CALLS,
    )
    budget = budget or Budget(1024 * MIB)
    predictions = PredictionService(repository, metrics, limits, budget, settings.tensor_content)
    services = {
        "PredictionService": predictions.handlers(probes),
        "ModelService": ModelService(repository, settings.reload_root).handlers(probes),
    }
    for name, handlers in services.items():
        generic = grpc.method_handlers_generic_handler(f"tensorflow.serving.{name}", handlers)
        server.add_generic_rpc_handlers((generic,))
    names = [f"tensorflow.serving.{name}" for name in services]
    if settings.with_health:
        names.append(health.SERVICE_NAME)
        _add_health(server, services, probes)
    _add_reflection(server, [*names, reflection.SERVICE_NAME])
    opened = _listen(server, host, port, settings)
    server.start()
    return server, opened


def _listen(server: grpc.Server, host: str, port: int | None, settings: GrpcSettings) -> int:
    """Opens the port and the Unix socket; returns the port's number, 0 if there is none."""
    addresses = [] if port is None else [f"{host}:{port}"]
    if settings.socket_path:
        addresses.insert(0, f"unix:{settings.socket_path}")
    opened = 0
    for address in addresses:
        try:
            if settings.tls:
                opened = server.add_secure_port(address, settings.tls.credentials())
            else:
                opened = server.add_insecure_port(address)
        except RuntimeError as error:  # without the reason
            if address.startswith("unix:"):
                raise PortError(address, 0, "--grpc_socket_path", 0) from error
            raise PortError(host, port or 0, "--port", bind_errno(host, port or 0)) from error
    return opened if port is not None else 0


class _TokenCheck(grpc.ServerInterceptor):
    """Ends a call without the token before its request is read; the health service needs none."""

    def __init__(self, access: Access, probes: futures.ThreadPoolExecutor):
        self._access = access

        def refuse(requests: Iterator[Any], context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED)

        vars(refuse)["experimental_thread_pool"] = probes
        self._refusal = grpc.stream_unary_rpc_method_handler(refuse)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """gRPC's own; returns the handler of the call, or that of the refusal."""
        given = [
            value
            for name, value in handler_call_details.invocation_metadata
            if name == "authorization"
        ]
        is_health = handler_call_details.method.startswith(f"/{health.SERVICE_NAME}/")
        if is_health or self._access.is_authorized("".join(map(str, given))):
            return continuation(handler_call_details)
        return self._refusal


def _add_health(
    server: grpc.Server, services: Collection[str], probes: futures.ThreadPoolExecutor
) -> None:
    """The standard health service; upstream sets the same names."""
    servicer = health.HealthServicer(experimental_thread_pool=probes)
    vars(servicer.Check.__func__)["experimental_thread_pool"] = probes
    for name in services:
        servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)


def _add_reflection(server: grpc.Server, names: Sequence[str]) -> None:
    """The standard reflection service, under both of its names, whose messages are the same.

    A client may keep its stream open, so that it takes a thread: they are not those of other calls.
    """
    # Generated for an older protobuf, these modules fail once they have described their service.
    for module in ("prediction_service_pb2", "model_service_pb2"):
        with contextlib.suppress(AttributeError):
            importlib.import_module(f"tensorflow_serving.apis.{module}")
    servicer = reflection.ReflectionServicer(names)
    answer = servicer.ServerReflectionInfo
    vars(answer.__func__)["experimental_thread_pool"] = futures.ThreadPoolExecutor(
        _REFLECTION_THREADS, "grpc-reflection"
    )
    handler = grpc.stream_stream_rpc_method_handler(
        answer,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection"):
        generic = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
        server.add_generic_rpc_handlers((generic,))
