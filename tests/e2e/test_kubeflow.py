"""The whole pipeline, compiled for a cluster, through the simulation of KFP's backend.

Real images, the smoke profile, every task a process of its own; some four minutes on two cores.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kubeflow_backend import Backend, Loss, Run
from pipeline.config import load_config
from pipeline.kubeflow.cluster import DATA_DIGEST, load_cluster
from pipeline.kubeflow.compiler import compile_pipeline
from pipeline.kubeflow.entrypoint import KEPT_FILE
from pipeline.plan import NODES
from tests.e2e.workplace import MODELS, Workplace

pytestmark = [pytest.mark.slow, pytest.mark.extended, pytest.mark.timeout(1800)]

BEFORE_TRANSFORM = ("example-gen", "schema", "statistics-gen", "example-validator", "data-gate")
UNCACHED = {f"{step}-{short}" for step in ("evaluate", "push") for short in ("ae", "diffusion")}
UNCACHED |= {"evaluate-gan", "push-gan", "report", DATA_DIGEST}


class Place:
    """A backend, a serving store, and the package compiled for them."""

    def __init__(self, folder: Path, data_dir: Path):
        self.serving, self.package = folder / "models", folder / "pipeline.yaml"
        cluster = load_cluster()
        store = dataclasses.replace(cluster.serving_store, mount=str(self.serving))
        cluster = dataclasses.replace(cluster, data_uri=str(data_dir), serving_store=store)
        compile_pipeline(load_config("smoke"), cluster, self.package)
        self.backend, self.root = Backend(folder / "kfp"), cluster.pipeline_root

    def start(self, arguments: dict[str, str] | None = None, **lose: Any) -> Run:
        """A run as ``inkwell submit`` creates it: with the root of its artifacts."""
        return self.backend.run(self.package, arguments, pipeline_root=self.root, **lose)

    def versions(self) -> dict[str, list[str]]:
        return {model: sorted(os.listdir(self.serving / model)) for model in MODELS}

    def newest(self, model: str) -> Path:
        return self.serving / model / max(os.listdir(self.serving / model))

    def artifact(self, run: Run, task: str, name: str) -> dict[str, Any]:
        return self.backend.artifacts[run.tasks[task].outputs[name]]

    def folder(self, artifact: dict[str, Any]) -> Path:
        """Where the bucket has it."""
        return self.backend.store.folder / artifact["uri"].replace("://", "/", 1)

    def kept(self, artifact: dict[str, Any]) -> dict[str, str]:
        """Its properties that are too long for KFP."""
        return json.loads((self.folder(artifact) / KEPT_FILE).read_text())


@pytest.fixture(scope="module")
def place(mnist_dir, tmp_path_factory) -> Place:
    """One run has lost a pod for good; the next went through, and one of its pods was lost once."""
    place = Place(tmp_path_factory.mktemp("kubeflow"), mnist_dir)
    lost = Loss(2.0, deleted=True)
    place.killed = place.start(lose=lambda task, attempt: lost if task == "transform" else None)
    place.run = place.start(
        lose=lambda task, attempt: lost if (task, attempt) == ("gan", 1) else None
    )
    return place


def logs(run: Run) -> str:
    return "\n".join(
        f"--- {task.name}: {task.state}\n{task.log[-3000:]}"
        for task in run.tasks.values()
        if task.state == "FAILED"
    )


def metrics(version: Path) -> dict[str, Any]:
    return json.loads((version / "assets.extra" / "metrics.json").read_text())


def test_a_pod_that_is_lost_each_time_ends_the_run(place):
    states = place.killed.states()
    done = {name for name, state in states.items() if state == "SUCCEEDED"}
    assert done == {DATA_DIGEST, *BEFORE_TRANSFORM}
    assert states["transform"] == "FAILED" and place.killed.tasks["transform"].attempts == 3
    assert all(states[name] == "PENDING" for name in NODES if name in ("judge", "gan", "report"))


def test_the_next_run_goes_on_where_that_one_ended(place):
    assert place.run.succeeded, logs(place.run)
    cached = {name for name, state in place.run.states().items() if state == "CACHED"}
    assert cached == set(BEFORE_TRANSFORM)


def test_a_pod_that_is_lost_once_is_started_again(place):
    attempts = {name: task.attempts for name, task in place.run.tasks.items()}
    assert attempts.pop("gan") == 2
    assert set(attempts.values()) <= {0, 1}  # 0 for the cached ones


def test_tasks_that_do_not_need_each_other_run_at_one_time(place):
    one, other = place.run.tasks["autoencoder"], place.run.tasks["diffusion"]
    assert max(one.started, other.started) < min(one.ended, other.ended)
    for name, task in place.run.tasks.items():
        for needed in set(NODES.get(name, ())) & set(place.run.tasks):
            assert place.run.tasks[needed].ended <= task.started


def test_the_models_pushed_are_those_of_the_local_run(place, workplace: Workplace):
    import numpy as np
    import tensorflow as tf

    images = np.random.default_rng(0).random((4, 28, 28, 1)).astype("float32")
    calls = {
        "autoencoder": ("denoise", {"image": tf.constant(images)}),
        "diffusion": ("generate", {"seed": tf.constant(5), "count": tf.constant(4)}),
        "gan": ("generate", {"seed": tf.constant(5), "count": tf.constant(4)}),
    }
    for model, [version] in place.versions().items():
        here = workplace.serving / model / max(os.listdir(workplace.serving / model))
        there = place.serving / model / version
        signature, arguments = calls[model]
        answers = []
        for folder in (here, there):
            function = tf.saved_model.load(str(folder)).signatures[signature]
            known = function.structured_input_signature[1]
            given = {
                name: tf.cast(value, known[name].dtype)
                for name, value in arguments.items()
                if name in known
            }
            rest = {name: _fill(spec) for name, spec in known.items() if name not in given}
            answers.append(function(**given, **rest)["image"].numpy())
        assert np.array_equal(*answers), model
        figures = [
            {gate["metric"]: gate["value"] for gate in metrics(folder)["gates"]}
            for folder in (here, there)
        ]
        assert figures[0] == figures[1] and figures[0]


def _fill(spec: Any) -> Any:
    """A value for an input that the test does not care about: a noise level, a step count."""
    import tensorflow as tf

    shape = [4 if size is None else size for size in spec.shape]
    return tf.fill(shape, tf.cast(4 if spec.dtype.is_integer else 0.3, spec.dtype))


def test_nothing_that_is_kept_names_a_path_in_a_pod(place):
    pods = str(place.backend.folder / "pods")
    assert os.listdir(pods) == []
    for artifact in place.backend.artifacts:
        assert artifact["uri"].startswith("minio://mlpipeline/inkwell/inkwell/")
        assert pods not in json.dumps(artifact)
    for path in place.backend.folder.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".html", ".txt", ".pbtxt"):
            assert pods not in path.read_text(), path
    lineage = json.loads((place.newest("gan") / "assets.extra" / "lineage.json").read_text())
    assert lineage["run_id"] == place.run.id
    assert lineage["model_uri"] == place.artifact(place.run, "gan", "model")["uri"]
    blessing = place.kept(place.artifact(place.run, "evaluate-gan", "evaluate-gan_blessing"))
    assert blessing["current_model"] == lineage["model_uri"]


def test_the_driver_of_example_gen_has_left_its_fingerprint(place):
    examples = place.artifact(place.run, "example-gen", "examples")
    assert "total_bytes" in place.kept(examples)["input_fingerprint"]
    assert json.loads(place.kept(examples)["split_names"]) == ["train", "eval", "test"]


def test_the_report_of_the_cluster_tells_of_every_model(place):
    report = place.artifact(place.run, "report", "report")
    text = (place.folder(report) / "index.html").read_text()
    assert text.count("Approved and pushed as version") == 2 * len(MODELS)
    assert place.run.id in text


def test_a_threshold_of_a_run_decides_and_what_is_in_serving_stays(place):
    before = place.versions()
    run = place.start({"thresholds": "gan.frechet_distance=0"})
    assert run.succeeded, logs(run)
    done = {name for name, state in run.states().items() if state == "SUCCEEDED"}
    assert done == UNCACHED  # nothing was trained again
    pushed = {
        short: place.artifact(run, f"push-{short}", "pushed_model")["metadata"]["pushed"]
        for short in ("ae", "diffusion", "gan")
    }
    assert pushed == {"ae": 1.0, "diffusion": 1.0, "gan": 0.0}
    assert place.versions() == before  # the others are in serving already
