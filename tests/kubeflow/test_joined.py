"""Nodes that run in one pod: what the task is in the package, and that it does what they do."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from benchmarks.kubeflow_backend import Backend, needs
from core.models import MODELS
from pipeline.config import load_config
from pipeline.kubeflow import settings
from pipeline.kubeflow.compiler import compile_pipeline, tfx_spec
from pipeline.kubeflow.spec import AFTER_TRAINING, constants
from pipeline.plan import NODES
from tests.kubeflow.golden import meaning
from tests.kubeflow.toy import compile_toy


@pytest.fixture(scope="module")
def package(cluster, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("joined") / "pipeline.yaml"
    compile_pipeline(load_config("smoke"), dataclasses.replace(cluster, join_tasks=True), path)
    return path


def test_a_models_nodes_after_its_training_are_one_task(package, cluster):
    found = meaning(package)["nodes"]
    gone = {node for *others, _ in AFTER_TRAINING for node in others}
    assert set(found) == {"data-digest", *NODES} - gone
    task = found["push-gan"]
    assert task["waits for"] == ["gan", "judge", "statistics-gen", "transform"]
    assert task["reads"] == {
        "gan_model": "gan.model",
        "judge_model": "judge.model",
        "statistics-gen_statistics": "statistics-gen.statistics",
        "transform_transformed_examples": "transform.transformed_examples",
    }
    assert task["writes"] == {
        "evaluate-gan_blessing": "tfx.ModelBlessing",
        "evaluate-gan_evaluation": "tfx.ModelEvaluation",
        "serving-check-gan_blessing": "tfx.InfraBlessing",
        "push-gan_pushed_model": "tfx.PushedModel",
    }
    assert set(task["is told"]) == {"data_uri", "overrides", "thresholds", "pipeline_run_id"}
    assert task["cpu, memory"] == [cluster.others.cpu, cluster.others.memory]  # the evaluation's
    assert task["volumes"] == {"/models": "inkwell-models"}
    assert (task["cached"], task["retries"]) == (False, 2)
    assert found["report"]["reads"]["gan_blessing"] == "push-gan.evaluate-gan_blessing"
    assert found["report"]["waits for"].count("push-gan") == 1
    assert not set(found["report"]["waits for"]) & gone


def test_it_carries_the_settings_and_the_code_of_each(package, cluster):
    spec, _ = yaml.safe_load_all(package.read_text())
    members, _, digests, *codes = spec["deploymentSpec"]["executors"]["push-gan_executor"][
        "container"
    ]["args"]
    assert members == "evaluate-gan,serving-check-gan,push-gan"
    compiled, _ = tfx_spec(settings.config_of("smoke"), cluster)
    expected = [settings.digest(constants(compiled, node)) for node in members.split(",")]
    assert digests == "--settings=" + ",".join(expected)
    assert len(codes) == 3


def test_every_artifact_has_its_producer(package):
    spec, _ = yaml.safe_load_all(package.read_text())
    tasks = spec["root"]["dag"]["tasks"]
    for task in tasks.values():
        assert set(needs(task)) <= set(tasks)
        for source in task.get("inputs", {}).get("artifacts", {}).values():
            found = source["taskOutputArtifact"]
            outputs = spec["components"][found["producerTask"]]["outputDefinitions"]["artifacts"]
            assert found["outputArtifactKey"] in outputs
    assert len(tasks) == len(NODES) + 1 - 2 * len(MODELS)


def test_the_pod_of_joined_nodes_hands_one_the_outputs_of_the_other(tmp_path):
    package = tmp_path / "toy.yaml"
    compile_toy(package, "together", joined=("make", "copy"))
    backend = Backend(tmp_path / "kfp")
    run = backend.run(package)
    assert run.states() == {"copy": "SUCCEEDED", "other": "SUCCEEDED"}, run.tasks["copy"].log
    outputs = run.tasks["copy"].outputs
    assert set(outputs) == {"make_model", "copy_model", "executor-logs"}
    for name in ("make_model", "copy_model"):
        folder = backend.artifacts[outputs[name]]["uri"].replace("://", "/")
        assert (backend.store.folder / folder / "text").read_text() == "together"

    compile_toy(package, "together", fail="input", joined=("make", "copy"))
    task = backend.run(package).tasks["copy"]
    assert task.state == "FAILED"
    assert "make,copy: The labels hold one class; give at least two." in task.log
