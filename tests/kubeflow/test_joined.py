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
from pipeline.kubeflow.spec import JUDGING, constants
from pipeline.plan import NODES
from tests.kubeflow.golden import meaning, waits_for
from tests.kubeflow.toy import compile_toy


@pytest.fixture(scope="module")
def package(cluster, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("joined") / "pipeline.yaml"
    compile_pipeline(load_config("smoke"), dataclasses.replace(cluster, join_tasks=True), path)
    return path


def test_a_models_evaluation_and_serving_check_are_one_task(package, cluster):
    found = meaning(package)["nodes"]
    gone = {checked for _, checked in JUDGING}
    assert set(found) == {"data-digest", *NODES} - gone
    task = found["evaluate-gan"]
    assert task["waits for"] == ["gan", "judge"]
    assert task["reads"] == {
        "gan_model": "gan.model",
        "judge_model": "judge.model",
        "transform_transformed_examples": "transform.transformed_examples",
    }
    assert task["writes"] == {
        "evaluate-gan_blessing": "tfx.ModelBlessing",
        "evaluate-gan_evaluation": "tfx.ModelEvaluation",
        "serving-check-gan_blessing": "tfx.InfraBlessing",
    }
    assert set(task["is told"]) == {"overrides", "thresholds"}
    assert task["cpu, memory"] == [cluster.others.cpu, cluster.others.memory]  # the evaluation's
    assert task["volumes"] == {"/models": "inkwell-models"}
    assert (task["cached"], task["retries"]) == (False, 2)
    assert found["push-gan"]["waits for"] == ["evaluate-gan"]
    assert found["push-gan"]["reads"] == {
        "evaluation": "evaluate-gan.evaluate-gan_evaluation",
        "infra_blessing": "evaluate-gan.serving-check-gan_blessing",
        "model": "gan.model",
        "model_blessing": "evaluate-gan.evaluate-gan_blessing",
        "statistics": "statistics-gen.statistics",
    }
    assert found["report"]["waits for"] == ["push-ae", "push-diffusion", "push-gan"]


def test_it_carries_the_settings_and_the_code_of_each(package, cluster):
    spec, _ = yaml.safe_load_all(package.read_text())
    members, _, digests, *codes = spec["deploymentSpec"]["executors"]["evaluate-gan_executor"][
        "container"
    ]["args"]
    assert members == "evaluate-gan,serving-check-gan"
    compiled, _ = tfx_spec(settings.config_of("smoke"), cluster)
    expected = [settings.digest(constants(compiled, node)) for node in members.split(",")]
    assert digests == "--settings=" + ",".join(expected)
    assert len(codes) == 2


@pytest.mark.parametrize("join_tasks", [True, False])
def test_every_task_waits_for_what_it_reads(cluster, tmp_path, join_tasks):
    path = tmp_path / "pipeline.yaml"
    cluster = dataclasses.replace(cluster, join_tasks=join_tasks)
    compile_pipeline(load_config("smoke"), cluster, path)
    spec, _ = yaml.safe_load_all(path.read_text())
    tasks = spec["root"]["dag"]["tasks"]
    assert len(tasks) == len(NODES) + 1 - len(MODELS) * join_tasks
    before = {name: waits_for(tasks, name) for name in tasks}
    for name, task in tasks.items():
        for source in task.get("inputs", {}).get("artifacts", {}).values():
            found = source["taskOutputArtifact"]
            outputs = spec["components"][found["producerTask"]]["outputDefinitions"]["artifacts"]
            assert found["outputArtifactKey"] in outputs and found["producerTask"] in before[name]
        for one in needs(task):  # none is said that another waits for already
            assert not any(one in before[other] for other in needs(task))


def test_the_pod_of_joined_nodes_hands_one_the_outputs_of_the_other(tmp_path):
    package = tmp_path / "toy.yaml"
    compile_toy(package, "together", joined=("make", "copy"))
    backend = Backend(tmp_path / "kfp")
    run = backend.run(package)
    assert run.states() == {"make": "SUCCEEDED", "other": "SUCCEEDED"}, run.tasks["make"].log
    outputs = run.tasks["make"].outputs
    assert set(outputs) == {"make_model", "copy_model", "executor-logs"}
    for name in ("make_model", "copy_model"):
        folder = backend.artifacts[outputs[name]]["uri"].replace("://", "/")
        assert (backend.store.folder / folder / "text").read_text() == "together"

    compile_toy(package, "together", fail="input", joined=("make", "copy"))
    task = backend.run(package).tasks["make"]
    assert task.state == "FAILED"
    assert "make,copy: The labels hold one class; give at least two." in task.log
