"""TensorFlow Serving's flags, and the effect of each.

Contract: a Deployment's arguments start this server unchanged: every flag of upstream's main.cc is
obeyed, or accepted with a line that says why it has no effect. An unknown flag is printed, and the
start goes on, as upstream does.
"""

import argparse
import dataclasses
import importlib.metadata
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from serving.model_server.bounds import BOUNDS
from serving.model_server.starting import LOCAL

_LAST_PORT = 65535
_THREADS = 64  # nearly all of them wait: for a batch, or for TensorFlow's own threads
# Upstream's flags that are accepted and have no effect here, and why.
WITHOUT_EFFECT = {
    **dict.fromkeys(("num_load_threads", "num_unload_threads"), "versions load one by one"),
    "flush_filesystem_caches": "files are read through the system's cache",
    "remove_unused_fields_from_bundle_metagraph": "the graph is kept as it is",
    "tensorflow_session_config_file": "functions run without a session",
    "per_process_gpu_memory_fraction": "models run on the CPU",
    "saved_model_tags": "models are loaded by the tag serve",
    "enable_per_model_batching_parameters": "all models share --batching_parameters_file",
    "platform_config_file": "the only platform is tensorflow",
    "thread_pool_factory_config_file": "TensorFlow's own threads run the models",
    "num_request_iterations_for_warmup": "each warm-up request runs once",
    "enable_signature_method_name_check": "it concerns classify and regress",
    "enable_profiler": "there is no profiler service",
    **dict.fromkeys(
        ("prefer_tflite_model", "num_tflite_pools", "num_tflite_interpreters_per_pool"),
        "models run in TensorFlow, not in TensorFlow Lite",
    ),
    **dict.fromkeys(
        ("xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled", "mixed_precision"),
        "graphs are not recompiled",
    ),
    "skip_initialize_tpu": "there is no TPU",
}
# Upstream's flags without which a server would be less secure than was asked for.
REFUSED = {"use_alts_credentials": "use --ssl_config_file for an encrypted port"}


_OWN = "(not TensorFlow Serving's)"


@dataclasses.dataclass(frozen=True)
class Flags:
    """The flags that have an effect, and what else was given."""

    port: Annotated[int | None, "gRPC port; 0 for none", "PORT"] = 8500
    rest_api_port: Annotated[int | None, "REST port; 0 for none, as by default", "PORT"] = None
    free_ports: Annotated[bool, f"a port of 0 is a free one, not none {_OWN}"] = False
    grpc_socket_path: Annotated[str, "Unix socket for gRPC", "PATH"] = ""
    ssl_config_file: Annotated[Path | None, "SSLConfig: encrypt gRPC, not REST", "FILE"] = None
    tls_cert: Annotated[Path | None, f"certificate, PEM: encrypt gRPC and REST {_OWN}", "FILE"] = (
        None
    )
    tls_key: Annotated[Path | None, f"its key, PEM {_OWN}", "FILE"] = None
    token_file: Annotated[
        Path | None, f"a token that every client must send, as Bearer {_OWN}", "FILE"
    ] = None
    allowed_host: Annotated[
        frozenset[str] | None,
        f"names that REST may be called by, besides localhost and addresses; * for all {_OWN}",
        "NAME,...",
    ] = None
    grpc_channel_arguments: Annotated[
        Mapping[str, int | str], "gRPC server arguments", "NAME=VALUE,..."
    ] = dataclasses.field(default_factory=dict)
    rest_api_socket_path: Annotated[
        str, f"Unix socket for REST in place of a port {_OWN}", "PATH"
    ] = ""
    host: Annotated[str, "address to listen on; 0.0.0.0 for all"] = LOCAL
    model_name: Annotated[str, "name that clients use"] = "default"
    model_base_path: Annotated[Path | None, "directory of the numbered versions", "DIR"] = None
    model_config_file: Annotated[Path | None, "models.config; replaces both", "FILE"] = None
    model_config_file_poll_wait_seconds: Annotated[
        float, "interval to reread models.config; 0 reads it once", "SECONDS"
    ] = 0.0
    file_system_poll_wait_seconds: Annotated[
        float, "interval to look for new versions; 0 looks once", "SECONDS"
    ] = 1.0
    enable_batching: Annotated[bool, "run concurrent requests as one batch"] = False
    batching_parameters_file: Annotated[Path | None, "batching parameters", "FILE"] = None
    monitoring_config_file: Annotated[Path | None, "switch metrics on", "FILE"] = None
    allow_version_labels_for_unavailable_models: Annotated[bool, "labels of unloaded versions"] = (
        False
    )
    enable_model_warmup: Annotated[bool, "run a version's warm-up requests before it answers"] = (
        True
    )
    enable_grpc_healthcheck_service: Annotated[bool, "answer grpc.health.v1.Health"] = False
    max_num_load_retries: Annotated[int, "attempts after a failed load", "N"] = 5
    load_retry_interval_micros: Annotated[int, "time between them", "MICROSECONDS"] = 60_000_000
    enable_serialization_as_tensor_content: Annotated[
        bool, "answer over gRPC with tensor_content in place of float_val and its like"
    ] = False
    grpc_max_threads: Annotated[int, "concurrent gRPC calls", "N"] = _THREADS
    tensorflow_session_parallelism: Annotated[int, "both of the following", "N"] = 0
    tensorflow_intra_op_parallelism: Annotated[int, "threads of one operation", "N"] = 0
    tensorflow_inter_op_parallelism: Annotated[int, "concurrent operations", "N"] = 0
    rest_api_num_threads: Annotated[int, "concurrent REST requests", "N"] = _THREADS
    rest_api_timeout_in_ms: Annotated[int, "deadline of a REST request", "MILLISECONDS"] = 30_000
    rest_api_enable_cors_support: Annotated[bool, "allow requests from pages of other origins"] = (
        False
    )
    page_port: Annotated[
        int | None, f"allow requests from pages of this host at this port {_OWN}", "PORT"
    ] = None
    max_request_mib: Annotated[
        int, f"maximum size of a request, and of its tensors in memory {_OWN}", "MIB"
    ] = BOUNDS["max_request_mib"]
    max_requests_mib: Annotated[
        int, f"maximum size of all requests in flight together {_OWN}", "MIB"
    ] = BOUNDS["max_requests_mib"]
    max_connections: Annotated[
        int, f"maximum REST connections, and gRPC ones; 0 for what open files allow {_OWN}", "N"
    ] = 0
    max_instances: Annotated[int, f"maximum instances per request {_OWN}", "N"] = BOUNDS[
        "max_instances"
    ]
    max_count: Annotated[int, f"maximum input `count`: images to generate {_OWN}", "N"] = BOUNDS[
        "max_count"
    ]
    max_steps: Annotated[int, f"maximum input `steps`: of the reverse process {_OWN}", "N"] = (
        BOUNDS["max_steps"]
    )
    reload_config_root: Annotated[
        Path | None,
        "parent directory of the models that HandleReloadConfigRequest may name; the call is off "
        f"by default, and needs --token_file {_OWN}",
        "DIR",
    ] = None
    verify_key: Annotated[
        Path | None, f"load only versions signed with one of these public keys {_OWN}", "FILE"
    ] = None
    stop_at_end_of_stdin: Annotated[bool, "end when the other end of standard input closes"] = False
    without_effect: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def parse(arguments: list[str] | None, description: str) -> Flags:
    """Reads the command line; argparse ends the process on a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.model_server", description=description, allow_abbrev=False
    )
    hints = typing.get_type_hints(Flags, include_extras=True)
    defaults = Flags()
    for field in dataclasses.fields(Flags):
        if field.name not in ("without_effect", "unknown"):
            hint, text, *metavar = typing.get_args(hints[field.name])
            kind = (typing.get_args(hint) or (hint,))[0]  # without None
            switch: dict[str, Any] = {"nargs": "?", "const": True} if kind is bool else {}
            parser.add_argument(
                f"--{field.name}",
                type=_READERS.get(field.name) or (_boolean if kind is bool else kind),
                default=getattr(defaults, field.name),
                help=text,
                metavar="true" if kind is bool else next(iter(metavar), None),
                **switch,
            )
    for name, why in WITHOUT_EFFECT.items():
        parser.add_argument(f"--{name}", nargs="?", const="true", help=f"no effect here: {why}")
    for name, instead in REFUSED.items():
        parser.add_argument(f"--{name}", nargs="?", const=True, type=_boolean, help=instead)
    parser.add_argument("--version", nargs="?", const=True, type=_boolean, help="print it and end")
    found, unknown = parser.parse_known_args(arguments)
    given = vars(found)
    if given.pop("version"):
        print(_versions())
        parser.exit()
    for name, instead in REFUSED.items():
        if given.pop(name):
            parser.error(f"--{name} is not supported by this server; {instead}")
    if not given["free_ports"]:
        given |= {name: given[name] or None for name in ("port", "rest_api_port")}
    ignored = tuple(name for name in WITHOUT_EFFECT if given.pop(name) is not None)
    flags = Flags(**given, without_effect=ignored, unknown=tuple(unknown))
    if mistake := _mistake(flags):
        parser.error(mistake)
    return flags


def _mistake(flags: Flags) -> str:
    """What is wrong with the flags as a whole; empty if nothing is."""
    if flags.batching_parameters_file and not flags.enable_batching:
        return "--batching_parameters_file supplied without --enable_batching"
    if not flags.model_config_file and not flags.model_base_path:
        return "give --model_base_path or --model_config_file"
    if flags.port is None and not flags.grpc_socket_path:
        return "--port=0 leaves no gRPC port; give another port, or --grpc_socket_path"
    is_rest = flags.rest_api_port is not None
    if is_rest and flags.rest_api_socket_path:
        return "give --rest_api_port or --rest_api_socket_path, not both"
    if flags.monitoring_config_file and not is_rest and not flags.rest_api_socket_path:
        return "--monitoring_config_file needs --rest_api_port, which serves the metrics"
    if bool(flags.tls_cert) != bool(flags.tls_key):
        return "--tls_cert and --tls_key belong together; give both"
    if flags.tls_cert and flags.ssl_config_file:
        return "give --ssl_config_file, or --tls_cert and --tls_key, not both"
    path = None if flags.model_config_file else flags.model_base_path
    scheme, is_remote, _ = str(path).partition(":/")  # Path joins the two slashes
    if is_remote:
        return (
            f"--model_base_path lies in {scheme}:// storage, which this server cannot read; copy "
            "the model to a local directory, or mount the storage"
        )
    root = flags.reload_config_root
    if root and not root.is_dir():
        return f"--reload_config_root: {root} is not a directory"
    if root and not flags.token_file:
        return "--reload_config_root needs --token_file: who loads a model runs a program here"
    return ""


def _versions() -> str:
    version = importlib.metadata.version
    return f"Inkwell's model server: {version('inkwell')}\nTensorFlow: {version('tensorflow')}"


def _channel_arguments(text: str) -> dict[str, int | str]:
    """Upstream's form: name=value, separated by commas; whole numbers become integers."""
    found: dict[str, int | str] = {}
    for argument in filter(None, text.split(",")):
        name, has_value, value = argument.partition("=")
        if not has_value:
            raise argparse.ArgumentTypeError(f"must be name=value, not {argument!r}")
        try:
            number = int(value)
        except ValueError:
            found[name] = value
            continue
        if not -(2**31) <= number < 2**31:
            raise argparse.ArgumentTypeError(f"{name} must fit 32 bits, not be {number}")
        found[name] = number
    return found


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"must be true or false, not {text!r}")
    return known[text.lower()]


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"must be between 0 and {_LAST_PORT}, not {text!r}")
    return int(text)


# How the text of a flag is read, where it is neither a word, a number nor true or false.
_READERS = {
    **dict.fromkeys(BOUNDS, _positive),
    **dict.fromkeys(("port", "rest_api_port", "page_port"), _port),
    "allowed_host": _names,
    "grpc_channel_arguments": _channel_arguments,
}
