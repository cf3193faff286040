"""The life of versions: polling, policies, labels, retries, roll-back, warm-up."""

import shutil
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_pb2, prediction_log_pb2

from serving.model_server.config import ConfigError, ModelConfig, metrics_path, read_models
from serving.model_server.errors import LoadError, StatusError
from serving.model_server.grpc_client import predict_request
from serving.model_server.metrics import Metrics
from serving.model_server.repository import Repository
from tests.serving.toy_model import save_toy

STATE = get_model_status_pb2.ModelVersionStatus
IMAGES = np.random.default_rng(0).random((2, 28, 28, 1), dtype="float32")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("toy") / "saved_model")


@pytest.fixture
def base(tmp_path: Path, toy: Path) -> Path:
    """Version 1, and room for more."""
    push(toy, tmp_path / "toy" / "1")
    return tmp_path / "toy"


def push(toy: Path, target: Path) -> None:
    staging = target.parent / f".staging-{target.name}"
    shutil.copytree(toy, staging)
    staging.rename(target)


def spec(version: int | None = None, label: str = "", name: str = "toy") -> model_pb2.ModelSpec:
    found = model_pb2.ModelSpec(name=name)
    if version is not None:
        found.version.value = version
    if label:
        found.version_label = label
    return found


def serve(*models: ModelConfig, **settings) -> Repository:
    repository = Repository(models, retries=0, **settings)
    repository.start(poll_seconds=0)
    return repository


def states(repository: Repository) -> dict[int, str]:
    statuses = repository.status(spec()).model_version_status
    return {status.version: STATE.State.Name(status.state) for status in statuses}


def test_new_version_takes_over_and_the_old_one_ends(base, toy):
    repository = serve(ModelConfig("toy", base))
    held = repository.find(spec())
    assert held.version == 1
    push(toy, base / "2")
    repository.poll()
    assert repository.find(spec()).version == 2
    assert states(repository) == {1: "END", 2: "AVAILABLE"}
    with pytest.raises(StatusError, match=r"Specific\(toy, 1\)"):
        repository.find(spec(1))
    # A request that began before still gets its answer.
    np.testing.assert_array_equal(held.run("", {"image": IMAGES})["image"], 1 - IMAGES)


def test_taking_the_newest_away_goes_back_to_the_one_before(base, toy):
    push(toy, base / "2")
    repository = serve(ModelConfig("toy", base))
    assert repository.find(spec()).version == 2
    shutil.rmtree(base / "2")
    repository.poll()
    assert repository.find(spec()).version == 1
    shutil.rmtree(base / "1")
    repository.poll()
    with pytest.raises(StatusError, match=r"Latest\(toy\)"):
        repository.find(spec())
    assert states(repository) == {1: "END", 2: "END"}


def test_broken_version_leaves_the_old_one_serving(base, toy, caplog):
    metrics = Metrics()
    repository = serve(ModelConfig("toy", base), metrics=metrics)
    push(toy, base / "2")
    (base / "2" / "saved_model.pb").write_bytes(b"junk")
    repository.poll()
    repository.poll()
    assert repository.find(spec()).version == 1
    assert states(repository) == {1: "AVAILABLE", 2: "END"}
    assert sum("saved_model.pb" in record.message for record in caplog.records) == 1
    text = metrics.text()
    assert 'status="fail"} 1' in text and 'status="success"} 1' in text
    [line] = [line for line in text.splitlines() if "load_latency{" in line]
    assert f'{{model_path="{base / "1"}"}}' in line and float(line.split()[-1]) > 100
    push(toy, base / "3")
    repository.poll()
    assert repository.find(spec()).version == 3


def test_version_that_was_half_copied_is_tried_again(base, toy):
    repository = Repository([ModelConfig("toy", base)], retries=5, retry_seconds=0)
    repository.poll()
    push(toy, base / "2")
    (base / "2" / "saved_model.pb").rename(base / "2" / "later")
    repository.poll()
    assert repository.find(spec()).version == 1
    (base / "2" / "later").rename(base / "2" / "saved_model.pb")
    repository.poll()
    assert repository.find(spec()).version == 2


def test_policies(base, toy):
    for number in ("2", "3", "4"):
        push(toy, base / number)

    def served(**policy) -> list[int]:
        repository = serve(ModelConfig("toy", base, **policy))
        return [v for v, state in states(repository).items() if state == "AVAILABLE"]

    assert served() == [4]
    assert sorted(served(latest=2)) == [3, 4]
    assert sorted(served(latest=None)) == [1, 2, 3, 4]
    assert sorted(served(latest=None, versions=(1, 3))) == [1, 3]


def test_a_request_that_names_no_version_gets_the_newest_of_all_that_are_served(base, toy):
    for number in ("3", "20"):
        push(toy, base / number)
    repository = serve(ModelConfig("toy", base, latest=None))
    assert repository.find(spec()).version == 20
    assert [repository.find(spec(number)).version for number in (1, 3)] == [1, 3]


def test_no_version_and_broken_model_end_the_start(base):
    with pytest.raises(LoadError, match="No versions of servable other found under"):
        serve(ModelConfig("other", base / "none"))
    (base / "1" / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(LoadError, match="saved_model.pb"):
        serve(ModelConfig("toy", base))


def test_labels_follow_the_two_steps(base, toy):
    both = {"latest": None, "versions": (1, 2)}
    repository = serve(ModelConfig("toy", base, latest=None, versions=(1,)))
    repository.configure([ModelConfig("toy", base, None, (1,), {"stable": 1})])
    assert repository.find(spec(label="stable")).version == 1
    push(toy, base / "2")
    # Step 0, refused: the label moves to a version that is not served yet.
    moved = ModelConfig("toy", base, labels={"stable": 2}, **both)
    with pytest.raises(StatusError, match="not currently available for inference") as caught:
        repository.configure([moved])
    assert caught.value.code == grpc.StatusCode.FAILED_PRECONDITION
    assert repository.find(spec(label="stable")).version == 1
    # Step 1: serve both. Step 2: move the label.
    repository.configure([ModelConfig("toy", base, labels={"stable": 1}, **both)])
    repository.poll()
    assert repository.find(spec(label="stable")).version == 1
    repository.configure([moved])
    assert repository.find(spec(label="stable")).version == 2
    # Back again.
    repository.configure([ModelConfig("toy", base, labels={"stable": 1, "old": 1}, **both)])
    assert repository.find(spec(label="old")).version == 1


def test_cold_start_with_labels_needs_the_flag(base):
    config = ModelConfig("toy", base, labels={"stable": 1})
    with pytest.raises(StatusError, match="Request to assign label to version 1"):
        Repository([config])
    repository = serve(config, unavailable_labels=True)
    assert repository.find(spec(label="stable")).version == 1
    with pytest.raises(StatusError, match="Request to assign"):  # only for labels that are new
        repository.configure([ModelConfig("toy", base, labels={"stable": 7})])


def test_models_come_and_go_with_the_configuration(base, toy):
    repository = serve(ModelConfig("toy", base))
    first = repository.find(spec())
    repository.configure([ModelConfig("toy", base), ModelConfig("other", base)])
    repository.poll()
    assert repository.find(spec(name="other")).version == 1
    assert repository.find(spec()) is first
    repository.configure([ModelConfig("other", base)])
    with pytest.raises(StatusError, match="Servable not found"):
        repository.find(spec())


def warm_up_file(version: Path, *records: bytes) -> None:
    folder = version / "assets.extra"
    folder.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)


def warm_up(signature: str, **inputs: np.ndarray) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request("toy", signature, inputs))
    return log.SerializeToString()


def test_warm_up_requests_are_run_before_a_version_answers(base, monkeypatch):
    warm_up_file(base / "1", warm_up("", image=IMAGES), warm_up("encode", image=IMAGES))
    seen = []
    from serving.model_server.servable import Servable

    run = Servable.run
    monkeypatch.setattr(
        Servable, "run", lambda self, name, *rest: (seen.append(name), run(self, name, *rest))[1]
    )
    serve(ModelConfig("toy", base))
    assert seen == ["", "encode"]
    serve(ModelConfig("toy", base), warm_up=False)
    assert len(seen) == 2


@pytest.mark.parametrize("kind", ["signature", "input", "junk"])
def test_warm_up_that_fails_fails_the_load(base, kind):
    if kind == "junk":
        warm_up_file(base / "1")
        (base / "1" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"junk" * 9)
    elif kind == "signature":
        warm_up_file(base / "1", warm_up("nothing", image=IMAGES))
    else:
        warm_up_file(base / "1", warm_up("", picture=IMAGES))
    with pytest.raises(LoadError, match="tf_serving_warmup_requests"):
        serve(ModelConfig("toy", base))


def test_there_is_always_an_answer_while_versions_change(base, toy):
    repository = serve(ModelConfig("toy", base))
    stop, errors, answered = threading.Event(), [], [0]

    def ask():
        while not stop.is_set():
            try:
                repository.find(spec()).run("", {"image": IMAGES})
                answered[0] += 1
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2, 7):
        push(toy, base / str(number))
        repository.poll()
        if number > 2:
            shutil.rmtree(base / str(number - 1))
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors and answered[0] > 10
    assert repository.find(spec()).version == 6


MODELS = """
model_config_list {
  config {
    name: "a" base_path: "/models/a" model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 5 } }
    version_labels { key: "stable" value: 3 }
    version_labels { key: "canary" value: 5 }
  }
  config {
    name: "b" base_path: "/models/b" model_platform: "tensorflow"
    model_version_policy { all {} }
  }
  config {
    name: "c" base_path: "/models/c" model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 2 } }
  }
  config { name: "d" base_path: "/models/d" model_platform: "tensorflow" }
}
"""


def test_models_config_is_read(tmp_path: Path):
    file = tmp_path / "models.config"
    file.write_text(MODELS)
    labels = {"stable": 3, "canary": 5}
    assert read_models(file) == [
        ModelConfig("a", Path("/models/a"), None, (3, 5), labels),
        ModelConfig("b", Path("/models/b"), None),
        ModelConfig("c", Path("/models/c"), 2),
        ModelConfig("d", Path("/models/d"), 1),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no model_config_list"),
        ("model_config_list { config { name: 'a' } }", "needs a name and a base_path"),
        ("model_config_list { confg {} }", "not as it should be"),
        ("model_config_list { config { name: 'a' base_path: '/' } " * 2 + "} }", "not as it"),
        (
            "model_config_list { config { name: 'a' base_path: '/' model_platform: 'tensorflow' } "
            "config { name: 'a' base_path: '/' model_platform: 'tensorflow' } }",
            "list model a multiple times",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/' model_platform: 'tensorflow' "
            "model_version_policy { specific {} } } }",
            "names no version",
        ),
    ],
)
def test_mistakes_in_models_config_are_told(tmp_path: Path, text, reason):
    file = tmp_path / "models.config"
    file.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_models(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_models(tmp_path / "none")


def test_monitoring_config(tmp_path: Path):
    file = tmp_path / "monitoring.config"
    for text, path in (
        ('prometheus_config { enable: true path: "/m" }', "/m"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("prometheus_config {}", None),
        ("", None),
    ):
        file.write_text(text)
        assert metrics_path(file) == path
    file.write_text("prometheus { enable: true }")
    with pytest.raises(ConfigError, match="not as it should be"):
        metrics_path(file)
