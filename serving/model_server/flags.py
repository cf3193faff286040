"""TensorFlow Serving's flags, and the effect of each.

Contract: a Deployment's arguments start this server unchanged. Flags of ``WITHOUT_EFFECT`` are
accepted and logged; any other unknown flag is an error.
"""

import argparse
import dataclasses
import typing
from pathlib import Path
from typing import Annotated, Any

from serving.model_server.starting import LOCAL

# Of one request, by flag; the same flags with hyphens are options of ``inkwell serve``.
BOUNDS = {"max_request_mib": 64, "max_instances": 10_000, "max_count": 1000, "max_steps": 100}
_THREADS = 64  # nearly all of them wait: for a batch, or for TensorFlow's own threads
# They tune threads, buffers and batches of the C++ server, which do not exist here.
WITHOUT_EFFECT = (
    "grpc_channel_arguments",
    *("num_load_threads", "num_unload_threads", "flush_filesystem_caches"),
    *("remove_unused_fields_from_bundle_metagraph", "prefer_tflite_model"),
)


_OWN = "(not TensorFlow Serving's)"


@dataclasses.dataclass(frozen=True)
class Flags:
    """The flags that have an effect, and the names of those given that have none."""

    port: Annotated[int, "gRPC port; 0 for a free one"] = 8500
    rest_api_port: Annotated[int | None, "REST port; no REST by default", "PORT"] = None
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
    grpc_max_threads: Annotated[int, "concurrent gRPC calls", "N"] = _THREADS
    tensorflow_intra_op_parallelism: Annotated[int, "threads of one operation", "N"] = 0
    tensorflow_inter_op_parallelism: Annotated[int, "concurrent operations", "N"] = 0
    rest_api_num_threads: Annotated[int, "concurrent REST requests", "N"] = _THREADS
    rest_api_timeout_in_ms: Annotated[int, "deadline of a REST request", "MILLISECONDS"] = 30_000
    rest_api_enable_cors_support: Annotated[bool, "allow requests from pages of other origins"] = (
        False
    )
    max_request_mib: Annotated[
        int, f"maximum size of a request, and of its tensors in memory {_OWN}", "MIB"
    ] = BOUNDS["max_request_mib"]
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
        "parent directory of the models that HandleReloadConfigRequest may name; "
        f"the call is off by default {_OWN}",
        "DIR",
    ] = None
    stop_at_end_of_stdin: Annotated[bool, "end when the other end of standard input closes"] = False
    without_effect: tuple[str, ...] = ()


def parse(arguments: list[str] | None, description: str) -> Flags:
    """Reads the command line; argparse ends the process on a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.model_server", description=description, allow_abbrev=False
    )
    hints = typing.get_type_hints(Flags, include_extras=True)
    for field in dataclasses.fields(Flags):
        if field.name != "without_effect":
            hint, text, *metavar = typing.get_args(hints[field.name])
            [kind] = {*(typing.get_args(hint) or (hint,))} - {type(None)}
            switch: dict[str, Any] = {"nargs": "?", "const": True} if kind is bool else {}
            parser.add_argument(
                f"--{field.name}",
                type=_boolean if kind is bool else _positive if field.name in BOUNDS else kind,
                default=field.default,
                help=text,
                metavar="true" if kind is bool else next(iter(metavar), None),
                **switch,
            )
    for name in WITHOUT_EFFECT:
        parser.add_argument(f"--{name}", nargs="?", const="true", help="no effect here")
    found = vars(parser.parse_args(arguments))
    ignored = tuple(name for name in WITHOUT_EFFECT if found.pop(name) is not None)
    if found["batching_parameters_file"] and not found["enable_batching"]:
        parser.error("--batching_parameters_file supplied without --enable_batching")
    if not found["model_config_file"] and not found["model_base_path"]:
        parser.error("give --model_base_path or --model_config_file")
    if found["model_config_file"] and found["model_base_path"]:
        parser.error("give --model_base_path or --model_config_file, not both")
    if found["monitoring_config_file"] and found["rest_api_port"] is None:
        parser.error("--monitoring_config_file needs --rest_api_port, which serves the metrics")
    root = found["reload_config_root"]
    if root and not root.is_dir():
        parser.error(f"--reload_config_root: {root} is not a directory")
    return Flags(**found, without_effect=ignored)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"must be true or false, not {text!r}")
    return known[text.lower()]
