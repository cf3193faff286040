"""TensorFlow Serving's flags, and the effect of each.

Contract: a Deployment's arguments start this server unchanged. Flags of ``WITHOUT_EFFECT`` are
accepted and logged; any other unknown flag is an error.
"""

import argparse
import dataclasses
from pathlib import Path

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


@dataclasses.dataclass(frozen=True)
class Flags:
    """The flags that have an effect, and the names of those given that have none."""

    port: int
    rest_api_port: int | None
    host: str
    model_name: str
    model_base_path: Path | None
    model_config_file: Path | None
    model_config_file_poll_wait_seconds: float
    file_system_poll_wait_seconds: float
    enable_batching: bool
    batching_parameters_file: Path | None
    monitoring_config_file: Path | None
    allow_version_labels_for_unavailable_models: bool
    enable_model_warmup: bool
    enable_grpc_healthcheck_service: bool
    max_num_load_retries: int
    load_retry_interval_micros: int
    grpc_max_threads: int
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    rest_api_num_threads: int
    rest_api_timeout_in_ms: int
    rest_api_enable_cors_support: bool
    max_request_mib: int
    max_instances: int
    max_count: int
    max_steps: int
    reload_config_root: Path | None
    stop_at_end_of_stdin: bool
    without_effect: tuple[str, ...]


def parse(arguments: list[str] | None, description: str) -> Flags:
    """Reads the command line; argparse ends the process on a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.model_server", description=description, allow_abbrev=False
    )
    add = parser.add_argument

    def switch(name: str, default: bool, text: str) -> None:
        add(name, type=_boolean, nargs="?", const=True, default=default, metavar="true", help=text)

    add("--port", type=int, default=8500, help="gRPC port; 0 for a free one")
    add("--rest_api_port", type=int, metavar="PORT", help="REST port; no REST by default")
    add("--host", default=LOCAL, help="address to listen on; 0.0.0.0 for all")
    add("--model_name", default="default", help="name that clients use")
    add("--model_base_path", type=Path, metavar="DIR", help="directory of the numbered versions")
    add("--model_config_file", type=Path, metavar="FILE", help="models.config; replaces both")
    add("--model_config_file_poll_wait_seconds", type=float, default=0, metavar="SECONDS",
        help="interval to reread models.config; 0 reads it once")  # fmt: skip
    add("--file_system_poll_wait_seconds", type=float, default=1, metavar="SECONDS",
        help="interval to look for new versions; 0 looks once")  # fmt: skip
    switch("--enable_batching", False, "run concurrent requests as one batch")
    add("--batching_parameters_file", type=Path, metavar="FILE", help="batching parameters")
    add("--monitoring_config_file", type=Path, metavar="FILE", help="switch metrics on")
    switch("--allow_version_labels_for_unavailable_models", False, "labels of unloaded versions")
    switch("--enable_model_warmup", True, "run a version's warm-up requests before it answers")
    switch("--enable_grpc_healthcheck_service", False, "answer grpc.health.v1.Health")
    add("--max_num_load_retries", type=int, default=5, metavar="N")
    add("--load_retry_interval_micros", type=int, default=60_000_000, metavar="MICROSECONDS")
    add("--grpc_max_threads", type=int, default=_THREADS, metavar="N")
    add("--tensorflow_intra_op_parallelism", type=int, default=0, metavar="N")
    add("--tensorflow_inter_op_parallelism", type=int, default=0, metavar="N")
    add("--rest_api_num_threads", type=int, default=_THREADS, metavar="N")
    add("--rest_api_timeout_in_ms", type=int, default=30_000, metavar="MILLISECONDS")
    switch("--rest_api_enable_cors_support", False, "allow requests from pages of other origins")
    own = "(not TensorFlow Serving's)"
    add("--max_request_mib", type=_positive, default=BOUNDS["max_request_mib"], metavar="MIB",
        help=f"maximum size of a request, and of its tensors in memory {own}")  # fmt: skip
    add("--max_instances", type=_positive, default=BOUNDS["max_instances"], metavar="N",
        help=f"maximum instances per request {own}")  # fmt: skip
    add("--max_count", type=_positive, default=BOUNDS["max_count"], metavar="N",
        help=f"maximum input `count`: images to generate {own}")  # fmt: skip
    add("--max_steps", type=_positive, default=BOUNDS["max_steps"], metavar="N",
        help=f"maximum input `steps`: of the reverse process {own}")  # fmt: skip
    add("--reload_config_root", type=Path, metavar="DIR",
        help=f"parent directory of the models that HandleReloadConfigRequest may name; "
        f"the call is off by default {own}")  # fmt: skip
    add("--stop_at_end_of_stdin", action="store_true",
        help="end when the other end of standard input closes")  # fmt: skip
    for name in WITHOUT_EFFECT:
        add(f"--{name}", nargs="?", const="true", help="no effect here")
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
