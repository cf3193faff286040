"""The size of the workflow: the model of it, and that the packages stay below Argo's limit."""

import dataclasses
import json

import pytest
import yaml

from benchmarks import workflow_size
from benchmarks.workflow_size import LIMIT, measure
from pipeline.config import load_config
from pipeline.kubeflow.cluster import Images, load_cluster
from pipeline.kubeflow.compiler import compile_pipeline
from pipeline.plan import NODES


def documents(path, profile: str = "smoke", **settings):
    cluster = dataclasses.replace(load_cluster(), **settings)
    compile_pipeline(load_config(profile), cluster, path)
    return tuple(yaml.safe_load_all(path.read_text()))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return documents(tmp_path_factory.mktemp("size") / "smoke.yaml", join_tasks=False)


@pytest.mark.parametrize("profile", ["quick", "smoke", "full"])
@pytest.mark.parametrize(("join_tasks", "share"), [(True, 0.8), (False, 0.88)])
def test_a_package_stays_below_the_limit(tmp_path, profile, join_tasks, share):
    size = measure(*documents(tmp_path / "p.yaml", profile, join_tasks=join_tasks))
    assert size.total < share * LIMIT


def test_long_names_of_images_and_a_long_root_still_fit(tmp_path):
    images = [
        f"registry.example.com/a-team/of-some/inkwell-{k}:1f3a@sha256:{'0' * 64}" for k in "cg"
    ]
    root = "s3://a-bucket-with-a-long-name/of-a-team/and-a-project"
    given = {"images": Images(*images), "pipeline_root": root}
    assert measure(*documents(tmp_path / "p.yaml", **given)).total < 0.85 * LIMIT


def test_a_task_has_six_nodes_and_each_holds_its_pod(smoke):
    size = measure(*smoke)
    tasks = len(NODES) + 1
    assert size.nodes == {"Retry": 3 * tasks + 3, "Pod": 2 * tasks + 1, "DAG": tasks + 2}
    assert set(size.tasks) == {"root", "data-digest", *NODES}
    assert size.parts["pod-spec-patch"] > size.status / 2
    assert size.spec + size.status == size.total == sum(size.parts.values())


def test_every_byte_of_a_task_counts_for_each_copy_and_its_quotes(smoke):
    spec, platform = smoke
    before = measure(spec, platform)
    changed = json.loads(json.dumps(spec))
    variables = changed["deploymentSpec"]["executors"]["gan_executor"]["container"]["env"]
    variables[-1]["value"] += "x" * 1000
    after = measure(changed, platform)
    assert after.parts["pod-spec-patch"] - before.parts["pod-spec-patch"] == 6 * 1000
    assert after.parts["container"] - before.parts["container"] == 2 * 1000
    assert after.spec - before.spec == 1000
    variables[-1]["value"] += '"' * 1000  # " is \\\" in JSON in JSON
    quoted = measure(changed, platform)
    assert quoted.parts["pod-spec-patch"] - after.parts["pod-spec-patch"] == 6 * 4000


def test_metadata_that_pods_leave_to_the_backend_costs_more(smoke):
    assert measure(*smoke, is_kept_small=False).total > 1.2 * measure(*smoke).total


def test_the_command_prints_the_parts_and_refuses_what_is_too_large(tmp_path, capsys):
    path = tmp_path / "p.yaml"
    documents(path)
    assert workflow_size.main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert "pod-spec-patch" in printed and "push-gan" in printed
    assert workflow_size.main([str(path), "--full-metadata"]) == 1
