"""The three nodes of ``tests.pipeline.toy``, compiled with the real pipeline's steps.

A pod of theirs starts this module, which runs the real entrypoint on the toy.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as runner

from pipeline.kubeflow import spec as kubeflow_spec
from pipeline.kubeflow.entrypoint import main
from pipeline.kubeflow.nodes import Node, read_node
from tests.pipeline.toy import toy_pipeline

COMMAND = ["python", "-m", "tests.kubeflow.toy"]
VARIABLE = "TOY"


def compile_toy(
    path: Path, text: str = "a", fail: str = "", retries: int = 0, joined: Sequence[str] = ()
) -> dict[str, Any]:
    """Writes make -> copy, with other beside them; returns the pipeline spec."""
    spec = toy_spec(text, fail)
    kubeflow_spec.leave_to_pods(spec, {})
    if joined:
        kubeflow_spec.join(spec, joined)
    for executor in spec["deploymentSpec"]["executors"].values():
        value = json.dumps([text, fail])
        executor["container"]["env"] = [{"name": VARIABLE, "value": value}]
    spec["defaultPipelineRoot"] = "minio://mlpipeline/toy"
    for task in spec["root"]["dag"]["tasks"].values():
        task["retryPolicy"] = {"maxRetryCount": retries, "backoffMaxDuration": "60s"}
    executors: dict[str, Any] = {label: {} for label in spec["deploymentSpec"]["executors"]}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    path.write_text(yaml.safe_dump_all([spec, platform]))
    return spec


def toy_spec(text: str, fail: str) -> dict[str, Any]:
    """As TFX writes it."""
    config = runner.KubeflowV2DagRunnerConfig(
        default_image="inkwell-cpu:1", default_commands=COMMAND, use_pipeline_spec_2_1=True
    )
    pipeline = toy_pipeline(text, fail)(None, "minio://mlpipeline/toy", None)
    return runner.KubeflowV2DagRunner(config=config).run(pipeline, write_out=False)["pipelineSpec"]


def resolve(node_id: str, digest: str, given: Mapping[str, str]) -> Node:
    return read_node(toy_spec(*json.loads(os.environ[VARIABLE])), node_id)


if __name__ == "__main__":
    sys.exit(main(resolve=resolve))
