"""The command line: every flag of upstream's main.cc, and what wins over what."""

import contextlib
import io
from pathlib import Path

import pytest

from serving.model_server.flags import WITHOUT_EFFECT, Flags, parse

# tensorflow/serving 9d981c5, tensorflow_serving/model_servers/main.cc, in its order.
_MAIN_CC = """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
batching_parameters_file enable_per_model_batching_parameters model_config_file
model_config_file_poll_wait_seconds model_name model_base_path num_load_threads num_unload_threads
max_num_load_retries load_retry_interval_micros file_system_poll_wait_seconds
flush_filesystem_caches tensorflow_session_parallelism tensorflow_session_config_file
tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism use_alts_credentials ssl_config_file
platform_config_file per_process_gpu_memory_fraction saved_model_tags grpc_channel_arguments
grpc_max_threads enable_model_warmup num_request_iterations_for_warmup version
monitoring_config_file remove_unused_fields_from_bundle_metagraph prefer_tflite_model
num_tflite_pools num_tflite_interpreters_per_pool enable_signature_method_name_check
xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler
thread_pool_factory_config_file mixed_precision skip_initialize_tpu enable_grpc_healthcheck_service
enable_serialization_as_tensor_content
"""
UPSTREAM = _MAIN_CC.split()
# A value that differs from the default, where true is none.
VALUES = dict.fromkeys(UPSTREAM, "true") | dict.fromkeys(
    [name for name in UPSTREAM if name.endswith(("_threads", "_seconds", "_parallelism", "_pools"))]
    + ["rest_api_port", "port", "rest_api_timeout_in_ms", "load_retry_interval_micros"]
    + ["max_num_load_retries", "num_tflite_interpreters_per_pool", "grpc_max_threads"],
    "7",
)
VALUES |= {"grpc_channel_arguments": "a=1", "enable_model_warmup": "false"}
# Those that need another flag or end the process, tested below.
APART = ["version", "use_alts_credentials", "batching_parameters_file", "monitoring_config_file"]


def flags(*arguments: str) -> Flags:
    return parse(list(arguments), "")


def mistake(*arguments: str) -> str:
    """The last line of what is printed for a mistake, which ends the process with 2."""
    with contextlib.redirect_stderr(io.StringIO()) as said, pytest.raises(SystemExit) as caught:
        flags(*arguments)
    assert caught.value.code == 2
    return said.getvalue().splitlines()[-1].partition(" error: ")[2]


@pytest.mark.parametrize("name", [name for name in UPSTREAM if name not in APART])
def test_every_flag_of_upstream_is_obeyed_or_is_said_to_have_no_effect(name):
    found = flags("--model_base_path=/m", f"--{name}={VALUES[name]}")
    if name in WITHOUT_EFFECT:
        assert found.without_effect == (name,)
    else:
        assert found.without_effect == ()
        assert getattr(found, name) != getattr(flags("--model_base_path=/m"), name)
    assert found.unknown == ()


def test_all_flags_without_effect_are_upstreams():
    assert set(WITHOUT_EFFECT) <= set(UPSTREAM)


def test_the_version_is_printed():
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as caught:
        flags("--version")
    assert caught.value.code == 0 and "TensorFlow: 2." in said.getvalue()


def test_what_would_leave_a_port_open_to_all_is_refused():
    assert "--ssl_config_file" in mistake("--model_base_path=/m", "--use_alts_credentials")
    assert flags("--model_base_path=/m", "--use_alts_credentials=false")


def test_unknown_arguments_are_kept_and_the_start_goes_on():
    found = flags("--model_base_path=/m", "--foo=bar", "--baz")
    assert found.unknown == ("--foo=bar", "--baz")


def test_a_config_file_wins_over_name_and_path():
    """As tf_serving_entrypoint.sh passes them, with the user's own flag at the end."""
    found = flags("--port=1", "--model_name=m", "--model_base_path=gs://m", "--model_config_file=F")
    assert found.model_config_file == Path("F")


def test_port_zero_is_off():
    assert flags("--model_base_path=/m", "--rest_api_port=0").rest_api_port is None
    assert "--grpc_socket_path" in mistake("--model_base_path=/m", "--port=0", "--rest_api_port=1")
    socket = ("--port=0", "--grpc_socket_path=/s")
    assert flags("--model_base_path=/m", *socket).port is None
    free = flags("--model_base_path=/m", "--free_ports", "--port=0")
    assert (free.port, free.rest_api_port) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --model_base_path or --model_config_file"),
        (["--model_base_path=gs://bucket/m"], "gs:// storage, which this server cannot read"),
        (["--model_base_path=s3://bucket/m"], "s3:// storage, which this server cannot read"),
        (["--model_base_path=/m", "--port=70000"], "must be between 0 and 65535, not '70000'"),
        (["--model_base_path=/m", "--port=-1"], "must be between 0 and 65535, not '-1'"),
        (["--model_base_path=/m", "--grpc_channel_arguments=x"], "must be name=value, not 'x'"),
        (["--model_base_path=/m", "--max_requests_mib=0"], "must be a whole number from 1"),
        (["--model_base_path=/m", "--batching_parameters_file=f"], "without --enable_batching"),
        (["--model_base_path=/m", "--monitoring_config_file=f"], "needs --rest_api_port"),
    ],
)
def test_mistakes_are_told_in_one_sentence(arguments, said):
    assert said in mistake(*arguments)


def test_channel_arguments_are_numbers_where_they_can_be():
    found = flags("--model_base_path=/m", "--grpc_channel_arguments=a.b_ms=2000,c=text,d=-1")
    assert found.grpc_channel_arguments == {"a.b_ms": 2000, "c": "text", "d": -1}
