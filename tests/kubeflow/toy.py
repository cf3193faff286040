"""The three nodes of ``tests.pipeline.toy``, compiled with the real pipeline's steps."""

from pathlib import Path
from typing import Any

import yaml
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as runner

from pipeline.kubeflow import spec as kubeflow_spec
from pipeline.kubeflow.compiler import ENTRYPOINT
from tests.pipeline.toy import toy_pipeline


def compile_toy(path: Path, text: str = "a", fail: str = "", retries: int = 0) -> dict[str, Any]:
    """Writes make -> copy, with other beside them; returns the pipeline spec."""
    config = runner.KubeflowV2DagRunnerConfig(
        default_image="inkwell-cpu:1", default_commands=ENTRYPOINT, use_pipeline_spec_2_1=True
    )
    pipeline = toy_pipeline(text, fail)(None, "minio://mlpipeline/toy", None)
    spec = runner.KubeflowV2DagRunner(config=config).run(pipeline, write_out=False)["pipelineSpec"]
    kubeflow_spec.add_arguments(spec, {})
    spec["defaultPipelineRoot"] = "minio://mlpipeline/toy"
    for task in spec["root"]["dag"]["tasks"].values():
        task["retryPolicy"] = {"maxRetryCount": retries, "backoffMaxDuration": "60s"}
    executors: dict[str, Any] = {label: {} for label in spec["deploymentSpec"]["executors"]}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    path.write_text(yaml.safe_dump_all([spec, platform]))
    return spec
