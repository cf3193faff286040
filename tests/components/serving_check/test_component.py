"""The node serving-check-*: artifacts in, a blessing with its reason out."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import channel, standard_artifacts

from components.serving_check.component import Executor, ServingCheck
from components.serving_check.config import ServingCheckConfig
from core.artifacts import record_files
from core.config import InputError
from core.files import digests
from tests.serving.toy_model import save_toy

IMAGES = np.random.default_rng(1).random((8, 28, 28, 1), dtype="float32")


def write_examples(directory: Path) -> None:
    """A split ``eval`` as Transform writes it."""

    def floats(values) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def integer(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    directory.mkdir(parents=True)
    path = str(directory / "transformed-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for image in IMAGES:
            feature = {
                "image": floats(image.ravel()),
                "label": integer(3),
                "pixel_mean": floats([0.5]),
                "pixel_std": floats([0.3]),
                "num_classes": integer(10),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def run_executor(tmp_path: Path, config: ServingCheckConfig):
    """One call of the executor, as a runner makes it; returns the InfraBlessing."""
    model, examples = standard_artifacts.Model(), standard_artifacts.Examples()
    blessing = standard_artifacts.InfraBlessing()
    for name, artifact in (("model", model), ("examples", examples), ("blessing", blessing)):
        artifact.uri = str(tmp_path / name)
    write_examples(tmp_path / "examples" / "Split-eval")
    record_files(model)
    Executor().Do(
        {"model": [model], "examples": [examples]},
        {"blessing": [blessing]},
        {"model_name": "toy", "config": json.dumps(dataclasses.asdict(config))},
    )
    return blessing


def test_right_model_is_blessed_with_figures_and_warmup_requests(tmp_path: Path):
    save_toy(tmp_path / "model" / "Format-Serving")
    blessing = run_executor(tmp_path, ServingCheckConfig(images=8, latency_requests=3))
    assert blessing.get_int_custom_property("blessed") == 1
    assert "All 9 signatures" in blessing.get_string_custom_property("reason")
    judged = json.loads(blessing.get_string_custom_property("model_files"))
    assert judged == digests(tmp_path / "model" / "Format-Serving")
    written = {path.name for path in (tmp_path / "blessing").iterdir()}
    assert written == {"INFRA_BLESSED", "serving_check.json", "tf_serving_warmup_requests"}
    result = json.loads((tmp_path / "blessing" / "serving_check.json").read_text())
    assert result["passed"] is True and result["load_seconds"] > 0
    assert result["latency_ms"]["encode"]["p50"] > 0


def test_missing_model_is_refused_without_an_exception(tmp_path: Path):
    blessing = run_executor(tmp_path, ServingCheckConfig(start_timeout_s=60))
    assert blessing.get_int_custom_property("blessed") == 0
    assert "Format-Serving" in blessing.get_string_custom_property("reason")
    written = {path.name for path in (tmp_path / "blessing").iterdir()}
    assert written == {"INFRA_NOT_BLESSED", "serving_check.json"}


def test_a_model_that_changes_while_it_is_checked_gets_no_verdict(tmp_path: Path, monkeypatch):
    def change(model_dir, *_):
        Path(model_dir, "saved_model.pb").write_text("another")

    save_toy(tmp_path / "model" / "Format-Serving")
    monkeypatch.setattr("components.serving_check.check.check_model", change)
    with pytest.raises(InputError, match="changed while it was judged: saved_model.pb differs"):
        run_executor(tmp_path, ServingCheckConfig())


def test_node_takes_its_settings_as_json():
    node = ServingCheck(
        model=channel.Channel(type=standard_artifacts.Model),
        examples=channel.Channel(type=standard_artifacts.Examples),
        model_name="gan",
        config=ServingCheckConfig(images=24),
    ).with_id("serving-check-gan")
    assert json.loads(node.exec_properties["config"])["images"] == 24
    assert node.outputs["blessing"].type is standard_artifacts.InfraBlessing
