"""The serving check on real SavedModels, a real server process and real gRPC."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.serving_check.check import CheckResult, check_model
from components.serving_check.config import ServingCheckConfig
from components.serving_check.warmup import write_warmup
from core.config import InputError
from core.wording import number
from tests.serving.fake_tensorflow_serving import LAST_WORDS, install_fake
from tests.serving.toy_model import IMAGE, save_toy

IMAGES = np.random.default_rng(3).random((20, 28, 28, 1), dtype="float32")
SIGNATURES = {
    "serving_default",
    "invert_png",
    "encode",
    "decode",
    "sample",
    "generate",
    "denoise",
    "forward",
    "discriminate",
}


def bad_signatures() -> dict[str, tf.types.experimental.GenericFunction]:
    """Each has one fault that clients would meet; the names sort ``stuck`` last."""
    image_batch = IMAGE

    def signature(function, *specs):
        return tf.function(function, input_signature=specs or (image_batch,))

    def busy(seconds):
        """Works by the clock: as long on any machine, and no longer than it must."""

        def work(image):
            end = tf.timestamp() + seconds
            value = image[0, 0, 0, 0]
            while tf.timestamp() < end:
                value = value * 0.5
            return {"image": image + 1e-30 * value}

        return work

    return {
        "b_nan": signature(lambda image: {"image": tf.math.log(image - 0.5)}),
        "b_bright": signature(lambda image: {"image": 2.0 * image}),
        # The clock, as a global seed set by another test would make a random number repeat.
        "b_random": signature(
            lambda image: {
                "score": tf.fill([tf.shape(image)[0]], tf.cast(tf.timestamp() % 1.0, tf.float32))
            }
        ),
        "b_double": signature(lambda image: {"code": tf.cast(image[:, 0, 0], tf.float64)}),
        "b_mean": signature(lambda image: {"code": tf.reduce_mean(image, [0, 1, 2])}),
        "b_text": signature(lambda image: {"image_bytes": tf.fill([tf.shape(image)[0]], "x")}),
        "b_pair": signature(
            lambda image: {"code": tf.ensure_shape(image, [1, 28, 28, 1])[:, 0, 0]}
        ),
        "b_name": signature(
            lambda picture: {"image": picture},
            tf.TensorSpec([None, 28, 28, 1], tf.float32, name="picture"),
        ),
        "b_slow": signature(busy(0.5)),
        "z_stuck": signature(busy(1000)),
    }


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("toy") / "Format-Serving")


@pytest.fixture(scope="module")
def good(model_dir: Path) -> CheckResult:
    return check_model(model_dir, "toy", IMAGES, ServingCheckConfig(latency_requests=5))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> CheckResult:
    model_dir = save_toy(tmp_path_factory.mktemp("bad") / "Format-Serving", bad_signatures)
    config = ServingCheckConfig(latency_requests=3, max_latency_ms=400, request_timeout_s=6)
    return check_model(model_dir, "toy", IMAGES, config)


def test_right_model_passes_with_every_signature_measured(good: CheckResult):
    assert good.passed, good.reason
    assert set(good.latency_ms) == set(good.max_difference) == SIGNATURES
    assert all(0 <= difference <= 1e-5 for difference in good.max_difference.values())
    for latency in good.latency_ms.values():
        assert latency.requests == 5 and 0 < latency.p50 <= latency.p95
    assert good.load_seconds > 0.5
    assert "All 9 signatures" in good.reason
    largest = number(float(max(good.max_difference.values())))
    assert f"(largest difference {largest})" in good.reason


def test_server_that_takes_too_much_memory_is_refused(good: CheckResult, model_dir: Path):
    assert 100 < good.memory_mib < 3072
    config = ServingCheckConfig(latency_requests=3, max_memory_mib=50)
    result = check_model(model_dir, "toy", IMAGES, config)
    assert not result.passed and "MiB, and 50 MiB are allowed" in result.reason


def test_tensorflow_serving_answers_only_if_the_setting_asks_for_it(
    good: CheckResult, model_dir: Path, tmp_path: Path, monkeypatch
):
    assert good.server == "inkwell model server"
    path, record = install_fake(tmp_path / "bin")
    monkeypatch.setenv("PATH", path)
    config = ServingCheckConfig(tensorflow_serving=True)
    result = check_model(model_dir, "toy", IMAGES, config)
    assert record.exists() and result.server == "tensorflow_model_server"
    assert result.reason == f"The tensorflow_model_server cannot serve the model: {LAST_WORDS}."
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="serving_check.tensorflow_serving: .* is not on PATH"):
        check_model(model_dir, "toy", IMAGES, config)


def test_result_as_json_has_what_the_report_reads(good: CheckResult):
    content = good.to_json()
    assert content["model"] == "toy" and content["passed"] is True
    assert set(content["latency_ms"]["encode"]) == {"batch", "requests", "p50", "p95"}
    assert set(content["max_difference"]) == SIGNATURES
    assert "warmup" not in content


def test_warmup_file_replays_on_the_saved_model(good: CheckResult, model_dir: Path, tmp_path: Path):
    from tensorflow_serving.apis import prediction_log_pb2

    path = write_warmup(tmp_path, "toy", good.warmup)
    signatures = tf.saved_model.load(str(model_dir)).signatures
    replayed = set()
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        signatures[request.model_spec.signature_name](
            **{name: tf.constant(value) for name, value in inputs.items()}
        )
        replayed.add(request.model_spec.signature_name)
        assert request.model_spec.name == "toy"
    assert path.name == "tf_serving_warmup_requests" and replayed == SIGNATURES


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("b_nan", "returns image with NaN or infinity in"),
        ("b_bright", "and it must be in [0, 1]."),
        ("b_random", "returns score that differs from the result in process by"),
        ("b_double", "returns code as float64, and it must be float32."),
        ("b_mean", "returns code of shape [1] for a batch of 16, and it must be [16]."),
        ("b_text", "returns bytes that are not PNG files of one size."),
        ("b_pair", "fails with INVALID_ARGUMENT:"),
        ("b_name", "has an unknown input 'picture';"),
        ("b_slow", "and 400 ms are allowed."),
        ("z_stuck", "did not answer within 6 s."),
    ],
)
def test_faulty_signature_is_refused_with_its_reason(bad: CheckResult, signature, words):
    assert not bad.passed
    [sentence] = [s for s in bad.reason.split("Signature ") if s.startswith(f"{signature} ")]
    assert words in sentence


def test_right_signatures_of_a_refused_model_are_not_blamed(bad: CheckResult):
    blamed = {part.split()[0] for part in bad.reason.split("Signature ") if part}
    assert blamed == set(bad_signatures())
    assert set(bad.warmup) == SIGNATURES


def test_saved_model_that_does_not_load_is_refused_with_the_reason(model_dir: Path, tmp_path: Path):
    broken = tmp_path / "Format-Serving"
    shutil.copytree(model_dir, broken)
    [data] = (broken / "variables").glob("variables.data*")
    os.truncate(data, 10)
    result = check_model(broken, "toy", IMAGES, ServingCheckConfig())
    assert not result.passed
    assert "Format-Serving" in result.reason and "load" in result.reason
    assert result.latency_ms == {}


def test_server_that_takes_too_long_to_start_is_a_refusal(model_dir: Path):
    result = check_model(model_dir, "toy", IMAGES, ServingCheckConfig(start_timeout_s=0.2))
    assert not result.passed
    assert "did not serve within 0.2 s" in result.reason
