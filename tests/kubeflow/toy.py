"""The small pipelines of ``tests.pipeline.toy``, compiled with the real pipeline's steps.

A pod of theirs starts this module, which runs the real entrypoint on the pipeline that it names.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as runner

from pipeline.kubeflow import spec as kubeflow_spec
from pipeline.kubeflow.entrypoint import main
from pipeline.kubeflow.nodes import Node, read_node
from pipeline.kubeflow.starting_again import WAITS_VARIABLE
from tests.pipeline.toy import pushing_pipeline, toy_pipeline

COMMAND = ["python", "-m", "tests.kubeflow.toy"]
VARIABLE = "TOY"  # which of the pipelines, and what it is made with


def compile_toy(
    path: Path, text: str = "a", fail: str = "", retries: int = 0, joined: Sequence[str] = ()
) -> dict[str, Any]:
    """Writes make -> copy, with other beside them; returns the pipeline spec."""
    return _write(path, ["toy", text, fail], retries, joined)


def compile_pushing(path: Path, serving_dir: str) -> None:
    """Writes approve -> push-gan -> harm, which does none."""
    _write(path, ["pushing", serving_dir])


def _write(
    path: Path, words: Sequence[str], retries: int = 0, joined: Sequence[str] = ()
) -> dict[str, Any]:
    spec = toy_spec(*words)
    kubeflow_spec.leave_to_pods(spec, {})
    if joined:
        kubeflow_spec.join(spec, joined)
    variables = {VARIABLE: json.dumps(words), WAITS_VARIABLE: "0 0"}
    for executor in spec["deploymentSpec"]["executors"].values():
        executor["container"]["env"] = [{"name": n, "value": v} for n, v in variables.items()]
    spec["defaultPipelineRoot"] = "minio://mlpipeline/toy"
    for task in spec["root"]["dag"]["tasks"].values():
        task["retryPolicy"] = {"maxRetryCount": retries, "backoffMaxDuration": "60s"}
    executors: dict[str, Any] = {label: {} for label in spec["deploymentSpec"]["executors"]}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    path.write_text(yaml.safe_dump_all([spec, platform]))
    return spec


def toy_spec(kind: str, *words: str) -> dict[str, Any]:
    """As TFX writes it."""
    config = runner.KubeflowV2DagRunnerConfig(
        default_image="inkwell-cpu:1", default_commands=COMMAND, use_pipeline_spec_2_1=True
    )
    if kind == "toy":
        build, settings = toy_pipeline(*words), None
    else:
        build, settings = pushing_pipeline(), SimpleNamespace(serving_dir=words[0])
    pipeline = build(settings, "minio://mlpipeline/toy", None)
    return runner.KubeflowV2DagRunner(config=config).run(pipeline, write_out=False)["pipelineSpec"]


def resolve(node_id: str, digest: str, given: Mapping[str, str]) -> Node:
    return read_node(toy_spec(*json.loads(os.environ[VARIABLE])), node_id)


if __name__ == "__main__":
    sys.exit(main(resolve=resolve))
