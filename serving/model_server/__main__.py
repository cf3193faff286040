"""Serves models with TensorFlow Serving's flags, over gRPC and REST.

    python -m serving.model_server --model_name=gan --model_base_path=serving_models/gan

The ports open once every model is AVAILABLE, and one line on standard output says where;
``--free_ports --port=0`` takes a free one. Starting takes 5 to 10 s, nearly all of it the import of
TensorFlow.
"""

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import typing
from collections.abc import Callable
from pathlib import Path

from serving.access import Access, doubt_about, exposure, is_loopback, read_token
from serving.model_server import flags as command_line
from serving.model_server.flags import WITHOUT_EFFECT, Flags
from serving.model_server.starting import PortError, bind_errno

if typing.TYPE_CHECKING:
    from serving.model_server.limits import Limits
    from serving.model_server.metrics import Metrics
    from serving.model_server.repository import Repository
    from serving.model_server.running import Running
    from serving.model_server.tls import Tls

_GRACE_SECONDS = 5.0
_ANSWER_SECONDS = 2.0
_COLLECTOR_THRESHOLD = 50_000  # new containers between collections; Python's own is 700
# Seconds after which a thread gives way to others; Python's 0.005 adds up where dozens compute, and
# a probe would wait for all of them.
_SWITCH_SECONDS = 0.001
# glibc gives memory of this size back once it is free. By itself it raises the bound to the largest
# size that was ever freed, and keeps the bodies of large requests in each of its many arenas.
_GIVEN_BACK_BYTES = 1 << 20
_M_MMAP_THRESHOLD = -3  # of malloc.h
_LOGGER = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; 1 if a model or file cannot be read or a port is taken."""
    flags = command_line.parse(arguments, __doc__)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once while nothing is served yet
    if flags.stop_at_end_of_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, daemon=True).start()
    for name in flags.without_effect:
        _LOGGER.info("--%s has no effect in this server: %s", name, WITHOUT_EFFECT[name])
    for argument in flags.unknown:
        _LOGGER.warning("unknown argument: %s", argument)

    for flag, port in (("--port", flags.port), ("--rest_api_port", flags.rest_api_port)):
        if port and (number := bind_errno(flags.host, port)):
            print(PortError(flags.host, port, flag, number), file=sys.stderr)
            return 1
    # After the flags are checked: TensorFlow takes seconds, and --help needs none of it.
    from serving.errors import ServingError
    from serving.model_server.config import ConfigError
    from serving.model_server.errors import LoadError, StatusError

    try:
        return _serve(flags)
    except PortError as error:  # taken while the models were loading
        print(error, file=sys.stderr)
        return 1
    except (ServingError, ConfigError, StatusError, LoadError, OSError) as error:
        what = flags.model_config_file or flags.model_name
        print(f"Cannot serve {what}: {error}", file=sys.stderr)
        return 1


def _access(flags: Flags) -> Access:
    """What callers are asked for; says where that is little.

    Raises:
        ServingError: The token cannot be read.
    """
    token = ""
    if flags.token_file:
        token = read_token(flags.token_file)
        if doubt := doubt_about(flags.token_file):
            _LOGGER.warning("%s", doubt)
    is_open = flags.port is not None or flags.rest_api_port is not None
    if is_open and (means := exposure(flags.host, bool(token), flags.tls_cert is not None)):
        _LOGGER.info("%s", means)
    if flags.ssl_config_file and flags.rest_api_port is not None:
        _LOGGER.warning(
            "--ssl_config_file encrypts gRPC alone, as in TensorFlow Serving; REST is not "
            "encrypted; --tls_cert and --tls_key encrypt both"
        )
    hosts = flags.allowed_host
    if hosts is None:  # no page reaches other servers by a name of its own: clients have theirs
        hosts = frozenset() if is_loopback(flags.host) else frozenset("*")
    return Access(
        token, None if "*" in hosts else hosts, flags.page_port, flags.tls_cert is not None
    )


def _tls(flags: Flags) -> "Tls | None":
    """What both fronts encrypt with; raises ``ServingError`` for what cannot be used."""
    from serving.model_server.tls import read_tls

    if flags.tls_cert and flags.tls_key:
        return read_tls(flags.tls_cert, flags.tls_key)
    return None


def _serve(flags: Flags) -> int:
    access, tls = _access(flags), _tls(flags)  # before TensorFlow takes its seconds
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _GIVEN_BACK_BYTES)
    from serving.model_server import config
    from serving.model_server.grpc_server import GrpcSettings, start_server
    from serving.model_server.http_server import ConnectionBounds
    from serving.model_server.limits import MIB, Budget, Limits
    from serving.model_server.metrics import Metrics
    from serving.model_server.rest import RestServer, RestSettings
    from serving.model_server.running import Running

    metrics_path = None
    if flags.monitoring_config_file:
        metrics_path = config.metrics_path(flags.monitoring_config_file)
    limits = Limits(
        flags.max_instances, flags.max_count, flags.max_steps, flags.max_request_mib * MIB
    )
    metrics, running = Metrics(), Running()
    repository = _repository(flags, metrics, limits, running)
    servables = repository.start(flags.file_system_poll_wait_seconds)
    # Requests are thousands of short-lived lists: without this, each triggers collections that
    # traverse all of TensorFlow, a third of a second each.
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTOR_THRESHOLD)
    budget = Budget(flags.max_requests_mib * MIB)
    server, port = start_server(
        repository,
        flags.host,
        flags.port,
        metrics,
        limits,
        GrpcSettings(
            threads=flags.grpc_max_threads,
            reload_root=flags.reload_config_root,
            with_health=flags.enable_grpc_healthcheck_service,
            tensor_content=flags.enable_serialization_as_tensor_content,
            channel_arguments=flags.grpc_channel_arguments,
            socket_path=flags.grpc_socket_path,
            tls=config.read_ssl(flags.ssl_config_file) if flags.ssl_config_file else tls,
            access=access,
            connections=flags.max_connections,
        ),
        budget,
    )
    rest = None
    if flags.rest_api_port is not None or flags.rest_api_socket_path:
        settings = RestSettings(
            threads=flags.rest_api_num_threads,
            timeout_seconds=flags.rest_api_timeout_in_ms / 1e3,
            max_body_bytes=limits.max_bytes,
            cors=flags.rest_api_enable_cors_support,
            metrics_path=metrics_path,
            socket_path=flags.rest_api_socket_path,
            tls=tls,
            access=access,
            connections=ConnectionBounds(most=flags.max_connections),
        )
        rest = RestServer(flags.host, flags.rest_api_port, repository, metrics, settings, budget)
        rest.start()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    names = ", ".join(f"{servable.name} version {servable.version}" for servable in servables)
    also = f", REST at {rest.address}" if rest else ""
    where = f"{flags.host}:{port}" if port else f"unix:{flags.grpc_socket_path}"
    print(f"Serving {names} at {where}{also}", flush=True)
    _watch(flags, repository, stop)
    # What runs has time to end; then it is ended, and has time to say so.
    threading.Timer(_GRACE_SECONDS, running.stop).start()
    grpc_ended = server.stop(_GRACE_SECONDS + _ANSWER_SECONDS)
    if rest:
        rest.stop(_GRACE_SECONDS + _ANSWER_SECONDS)
    grpc_ended.wait()
    return 0


def _fault(path: Path) -> Callable[[Path, str, int], str]:
    """Why a version is not one that the owners of the keys in ``path`` made."""
    from serving import signing

    keys = signing.public_keys(path)
    return lambda folder, model, number: signing.fault(folder, model, number, keys)


def _repository(
    flags: Flags, metrics: "Metrics", limits: "Limits", running: "Running"
) -> "Repository":
    """The models of the flags, none of which is loaded yet; sets TensorFlow's threads."""
    import tensorflow as tf

    from serving.model_server import config
    from serving.model_server.batching import BatchScheduler
    from serving.model_server.repository import Repository

    intra, inter = flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism
    if not intra and not inter:
        intra = inter = flags.tensorflow_session_parallelism
    tf.config.threading.set_intra_op_parallelism_threads(intra)
    # A long loop holds one of these threads: with one a core, as TensorFlow has by default, a few
    # such requests would hold up all others until their deadline.
    most_requests = flags.rest_api_num_threads + flags.grpc_max_threads
    tf.config.threading.set_inter_op_parallelism_threads(inter or most_requests)
    scheduler = None
    if flags.enable_batching:
        file = flags.batching_parameters_file
        scheduler = BatchScheduler(
            config.read_batching(file) if file else config.BatchingParameters(), metrics
        )
    if flags.model_config_file:
        models = config.read_models(flags.model_config_file)
    else:
        models = [config.ModelConfig(flags.model_name, flags.model_base_path)]
    return Repository(
        models,
        retries=flags.max_num_load_retries,
        retry_seconds=flags.load_retry_interval_micros / 1e6,
        unavailable_labels=flags.allow_version_labels_for_unavailable_models,
        warm_up=flags.enable_model_warmup,
        metrics=metrics,
        scheduler=scheduler,
        limits=limits,
        running=running,
        **({"fault": _fault(flags.verify_key)} if flags.verify_key else {}),
    )


def _watch(flags: Flags, repository, stop: threading.Event) -> None:
    """Looks for new versions and for a new models.config until ``stop`` is set."""
    from serving.model_server.config import read_models
    from serving.model_server.errors import words_of

    def look() -> None:
        if flags.file_system_poll_wait_seconds > 0:
            repository.watch(flags.file_system_poll_wait_seconds, stop)

    def read() -> None:
        seconds, said = flags.model_config_file_poll_wait_seconds, ""
        while flags.model_config_file and seconds > 0:
            if stop.wait(seconds):
                return
            try:
                repository.configure(read_models(flags.model_config_file))
                said = ""
            except Exception as error:  # noqa: BLE001 - served versions stay served
                if words_of(error) != said:
                    _LOGGER.error("%s", words_of(error))
                said = words_of(error)

    for work in (look, read):
        threading.Thread(target=work, daemon=True).start()
    stop.wait()


def _stop_at_end_of_stdin() -> None:
    """Ends the process at once if its parent has died, even while TensorFlow loads."""
    # Unbuffered: a daemon thread inside sys.stdin makes the interpreter crash as it ends.
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a request that outlived the grace would hold the interpreter's own exit
