"""The model server as a real process over real gRPC: answers, errors, start and end."""

import concurrent.futures
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from serving.client import Client
from serving.errors import ServingError
from serving.model_server import process as process_module
from serving.model_server.grpc_client import GrpcClient, predict_request
from serving.model_server.process import INKWELL_SERVER, ServerProcess, StartError
from serving.model_server.starting import free_ports
from tests.serving.fake_tensorflow_serving import LAST_WORDS, install_fake
from tests.serving.toy_model import save_toy

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 30.0
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
FAILED, UNIMPLEMENTED = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture(scope="module")
def base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions that differ, and a directory that a server must not take for one."""
    base = tmp_path_factory.mktemp("toy")
    save_toy(base / "5", seed=5)
    save_toy(base / "12", seed=12)
    shutil.copytree(base / "5", base / ".staging-99")
    return base


@pytest.fixture(scope="module")
def client(base_path: Path) -> Iterator[GrpcClient]:
    """A client of one server that all tests here share."""
    with (
        ServerProcess("toy", base_path, start_timeout_s=120) as server,
        GrpcClient(server.endpoint, "toy") as client,
    ):
        assert server.load_seconds > 0
        yield client


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((6, 28, 28, 1), dtype="float32")


def failure(call, *args, **kwargs) -> tuple[grpc.StatusCode, str]:
    """Code and text of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code(), caught.value.details()


def test_predict_answers_as_the_saved_model_for_any_batch(client, images):
    for batch in (images[:1], images):
        np.testing.assert_array_equal(
            client.predict("serving_default", {"image": batch}, TIMEOUT)["image"], 1 - batch
        )


def test_newest_numbered_version_is_served(client, base_path, images):
    codes = {
        number: tf.saved_model.load(str(base_path / number)).signatures["encode"](
            image=tf.constant(images)
        )["code"]
        for number in ("5", "12")
    }
    served = client.predict("encode", {"image": images}, TIMEOUT)["code"]
    np.testing.assert_allclose(served, codes["12"], atol=1e-6)
    assert np.abs(served - codes["5"]).max() > 1e-3


def test_png_files_travel_in_and_out(client, images):
    grey = (images * 255).astype("uint8")
    files = np.array([tf.io.encode_png(image).numpy() for image in grey], dtype=object)
    answered = client.predict("invert_png", {"image_bytes": files}, TIMEOUT)["image_bytes"]
    np.testing.assert_array_equal(
        np.stack([tf.io.decode_png(file).numpy() for file in answered]), 255 - grey
    )


def test_response_names_the_version_and_signature_that_answered(client, images):
    request = predict_request("toy", "", {"image": images})
    spec = client.predictions.Predict(request, timeout=TIMEOUT).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 12, "serving_default")


def test_output_filter_selects_outputs(client, images):
    inputs = {"image": images}
    assert set(client.predict("discriminate", inputs, TIMEOUT)) == {"score", "ink"}
    assert set(client.predict("discriminate", inputs, TIMEOUT, ["ink"])) == {"ink"}


def test_messages_above_four_mebibytes_pass_both_ways(client):
    images = np.zeros((2000, 28, 28, 1), "float32")
    answered = client.predict("serving_default", {"image": images}, TIMEOUT)["image"]
    assert answered.shape == images.shape and answered.min() == 1.0


def test_concurrent_requests_get_their_own_answers(client):
    def ask(value: int) -> float:
        image = np.full((1, 28, 28, 1), value / 100, "float32")
        return float(client.predict("discriminate", {"image": image}, TIMEOUT)["score"][0])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(ask, range(64)))
    np.testing.assert_allclose(answered, np.arange(64) / 100, atol=1e-6)


@pytest.mark.parametrize(
    ("signature", "inputs", "output_filter", "code", "text"),
    [
        ("x", ["image"], [], FAILED, 'Serving signature key "x" not found.'),
        (
            "denoise",
            ["image", "extra", "noise"],
            [],
            INVALID,
            "input size does not match signature: 3!=2 len({extra,image,noise}) != "
            "len({image,noise_level}). Sent extra: {extra,noise}. "
            "Missing but required: {noise_level}.",
        ),
        (
            "",
            ["picture"],
            [],
            INVALID,
            "input tensor alias not found in signature: picture. "
            "Inputs expected to be in the set {image}.",
        ),
        (
            "",
            ["image"],
            ["score"],
            INVALID,
            "output tensor alias not found in signature: score "
            "Outputs expected to be in the set {image}.",
        ),
        ("", ["image"], ["image"] * 2, INVALID, "duplicate output tensor alias: image"),
    ],
)
def test_wrong_names_get_the_codes_and_texts_of_tensorflow_serving(
    client, images, signature, inputs, output_filter, code, text
):
    values = dict.fromkeys(inputs, images)
    assert failure(client.predict, signature, values, TIMEOUT, output_filter) == (code, text)


def test_wrong_types_and_shapes_are_invalid_arguments(client, images):
    wrong_type = {"image": images.astype("float64")}
    assert failure(client.predict, "", wrong_type, TIMEOUT) == (
        INVALID,
        "Expects arg[0] to be float but double is provided",
    )
    code, text = failure(client.predict, "", {"image": images[:, 1:]}, TIMEOUT)
    assert code == INVALID and "[6, 27, 28, 1]" in text and "[-1, 28, 28, 1]" in text
    damaged = {"image_bytes": np.array([b"not a png"], dtype=object)}
    assert failure(client.predict, "invert_png", damaged, TIMEOUT)[0] == INVALID
    request = predict_request("toy", "", {"image": images})
    request.inputs["image"].tensor_content = b"odd"
    code, text = failure(client.predictions.Predict, request, timeout=TIMEOUT)
    assert (code, text) == (INVALID, "tensor parsing error: image")


def test_model_specs_that_nothing_answers_to(client, images):
    def ask(**spec):
        request = predict_request("toy", "", {"image": images})
        request.model_spec.Clear()
        for name, value in spec.items():
            if name == "version":
                request.model_spec.version.value = value
            else:
                setattr(request.model_spec, name, value)
        return failure(client.predictions.Predict, request, timeout=TIMEOUT)

    assert ask(name="other") == (NOT_FOUND, "Servable not found for request: Latest(other)")
    not_served = "Servable not found for request: Specific(toy, 5)"
    assert ask(name="toy", version=5) == (NOT_FOUND, not_served)
    unknown_label = "Unrecognized servable version label: stable"
    assert ask(name="toy", version_label="stable") == (INVALID, unknown_label)
    assert ask(signature_name="encode") == (INVALID, "ModelSpec has no name specified.")
    empty = predict_pb2.PredictRequest()
    missing = failure(client.predictions.Predict, empty, timeout=TIMEOUT)
    assert missing == (INVALID, "Missing ModelSpec")


def test_status_tells_the_state_of_the_loaded_version(client):
    assert client.states(TIMEOUT) == {12: "AVAILABLE"}
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    request.model_spec.version.value = 12
    [status] = client.models.GetModelStatus(request, timeout=TIMEOUT).model_version_status
    assert (status.version, status.status.error_code) == (12, 0)
    request.model_spec.version.value = 5
    assert failure(client.models.GetModelStatus, request, timeout=TIMEOUT) == (
        NOT_FOUND,
        "Could not find version 5 of model toy",
    )
    request.model_spec.name = "other"
    request.model_spec.ClearField("version")
    assert failure(client.models.GetModelStatus, request, timeout=TIMEOUT) == (
        NOT_FOUND,
        "Could not find any versions of model other",
    )


def test_metadata_holds_every_signature(client):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "toy"
    ask = client.predictions.GetModelMetadata
    assert failure(ask, request, timeout=TIMEOUT) == (
        INVALID,
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    request.metadata_field.append("signature_def")
    response = ask(request, timeout=TIMEOUT)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == 12
    denoise = signatures.signature_def["denoise"]
    assert set(denoise.inputs) == {"image", "noise_level"}
    assert denoise.method_name == "tensorflow/serving/predict"
    assert [d.size for d in denoise.inputs["image"].tensor_shape.dim] == [-1, 28, 28, 1]
    request.metadata_field.append("assets")
    assert failure(ask, request, timeout=TIMEOUT) == (
        INVALID,
        "Metadata field assets is not supported",
    )


def test_other_calls_are_unimplemented_in_a_sentence(client):
    request = classification_pb2.ClassificationRequest()
    code, text = failure(client.predictions.Classify, request, timeout=TIMEOUT)
    assert code == UNIMPLEMENTED and "Predict" in text


def test_a_checked_server_has_as_many_threads_as_one_that_a_user_starts(base_path, monkeypatch):
    """A run gives an operation half of the processors, which suits trainings alone."""
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    with ServerProcess("toy", base_path, start_timeout_s=120) as server:
        found = Path(f"/proc/{server._process.pid}/environ").read_text().split("\0")
    assert "TF_CPP_MIN_LOG_LEVEL=2" in found
    assert not [one for one in found if one.startswith("TF_NUM_INTRAOP_THREADS")]


def test_process_has_ended_once_the_context_is_left(base_path):
    with ServerProcess("toy", base_path, start_timeout_s=120) as server:
        sockets = Path(server.endpoint.removeprefix("unix:")).parent
        assert sockets.stat().st_mode & 0o777 == 0o700
        pid = server._process.pid
        os.kill(pid, 0)  # raises if there is no such process
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not sockets.exists()


def test_process_is_ours_and_on_no_port_whatever_folder_and_path(base_path, tmp_path, monkeypatch):
    path, record = install_fake(tmp_path / "bin")
    monkeypatch.setenv("PATH", path)
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "__init__.py").touch()
    (tmp_path / "orjson.py").write_text("open('run', 'w')\n", "utf-8")
    (tmp_path / "toy").symlink_to(base_path)
    monkeypatch.chdir(tmp_path)
    with ServerProcess("toy", "toy", start_timeout_s=120) as server:
        assert server.kind == INKWELL_SERVER
        connections = psutil.Process(server._process.pid).net_connections("all")
        assert {c.laddr for c in connections if c.family != socket.AF_UNIX} == set()
        with Client("toy", server.rest) as client:
            assert client.version() == 12
    assert not record.exists() and not (tmp_path / "run").exists()


def test_process_of_upstream_gets_the_same_flags_without_an_address(
    base_path, tmp_path, monkeypatch
):
    path, record = install_fake(tmp_path / "bin")
    monkeypatch.setenv("PATH", path)
    server = ServerProcess("toy", base_path, start_timeout_s=30, tensorflow_serving=True)
    with pytest.raises(StartError, match=LAST_WORDS), server:
        pass
    assert server.kind == "tensorflow_model_server"
    flags = [flag.partition("=")[0] for flag in record.read_text("utf-8").splitlines()]
    assert flags == [
        *("--port", "--rest_api_port", "--model_name", "--model_base_path"),
        "--max_num_load_retries",
    ]


def test_broken_saved_model_is_told_and_leaves_no_process(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\x0ajunk" * 9)
    server = ServerProcess("toy", tmp_path, start_timeout_s=120)
    with pytest.raises(StartError, match="saved_model.pb"), server:
        pass
    assert server._process is None


def test_port_zero_is_printed_and_closing_stdin_ends_the_server(base_path):
    process = command(
        "--port=0", "--free_ports", f"--model_base_path={base_path}", "--stop_at_end_of_stdin"
    )
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"Serving default version 12 at 127\.0\.0\.1:(\d+)\n", line)
        assert found, line
        with GrpcClient(f"127.0.0.1:{found[1]}", "default") as client:
            assert client.states(TIMEOUT) == {12: "AVAILABLE"}
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("flag", ["--port", "--rest_api_port"])
def test_taken_port_is_an_error_in_one_sentence(base_path, flag):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = command(
            "--port=0", "--free_ports", f"{flag}={port}", f"--model_base_path={base_path}"
        )
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out == ""
    assert err == (
        f"Cannot listen on 127.0.0.1:{port} (Address already in use); choose another port with "
        f"{flag}.\n"
    )


def test_a_port_taken_while_the_models_load_is_the_same_error(base_path):
    """REST would open the port that gRPC has just opened."""
    [port] = free_ports(1)
    flags = (f"--port={port}", f"--rest_api_port={port}", f"--model_base_path={base_path}")
    process = command(*flags)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.splitlines()[-1] == (
        f"Cannot listen on 127.0.0.1:{port} (Address already in use); choose another port with "
        "--rest_api_port."
    )


def test_a_temporary_directory_with_a_long_path_still_takes_sockets(
    base_path, tmp_path, monkeypatch
):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with ServerProcess("toy", base_path, start_timeout_s=120) as server:
        assert str(long) not in server.endpoint
        with GrpcClient(server.endpoint, "toy") as client:
            assert client.states(TIMEOUT) == {12: "AVAILABLE"}
    assert list(long.iterdir()) == []
    monkeypatch.setattr(process_module, "_SHORT_DIRECTORIES", (None,))
    server = ServerProcess("toy", base_path, start_timeout_s=120)
    with pytest.raises(ServingError, match="107 bytes at most"):
        server.start()
    server.stop()


def command(*flags: str) -> subprocess.Popen:
    """The server as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "serving.model_server", *flags],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
