"""What a compiled pipeline means, free of its bytes; ``golden.yaml`` holds what it shall mean.

python -m tests.kubeflow.golden pipeline.yaml > tests/kubeflow/golden.yaml
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.kubeflow_backend import allowed_retries, needs


def meaning(package: Path) -> dict[str, Any]:
    """Every node with what it waits for, reads, is told, runs on, and what happens on failure."""
    spec, platform = yaml.safe_load_all(package.read_text())
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    nodes = {}
    for name, task in spec["root"]["dag"]["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        label = component["executorLabel"]
        container = spec["deploymentSpec"]["executors"][label]["container"]
        resources, pod = container["resources"], settings[label]
        inputs = task.get("inputs", {})
        nodes[name] = {
            "executor": _after(container["args"], "--executor_class_path"),
            "waits for": sorted(set(needs(task))),
            "reads": {
                key: "{producerTask}.{outputArtifactKey}".format(**source["taskOutputArtifact"])
                for key, source in inputs.get("artifacts", {}).items()
            },
            "is told": {
                key: _source(source) for key, source in inputs.get("parameters", {}).items()
            },
            "writes": {
                key: yaml.safe_load(output["artifactType"]["instanceSchema"])["title"]
                for key, output in component["outputDefinitions"]["artifacts"].items()
            },
            "image": container["image"],
            "cached": task["cachingOptions"]["enableCache"],
            "retries": allowed_retries(task),
            "cpu, memory": [resources["resourceCpuLimit"], resources["resourceMemoryLimit"]],
            "accelerator": resources.get("accelerator"),
            "volumes": {m["mountPath"]: m["constant"] for m in pod.get("pvcMount", [])},
            "runs on": [pod.get("nodeSelector"), pod.get("tolerations")],
        }
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    return {
        "name": spec["pipelineInfo"]["name"],
        "root": spec["defaultPipelineRoot"],
        "parameters": {name: p.get("defaultValue") for name, p in parameters.items()},
        "nodes": nodes,
    }


def _source(source: dict[str, Any]) -> str:
    """Where a parameter comes from; constants of the configuration are tested elsewhere."""
    if "componentInputParameter" in source:
        return f"run parameter {source['componentInputParameter']}"
    constant = source["runtimeValue"]["constant"]
    return constant if str(constant).startswith("{{") else "constant"


def _after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


if __name__ == "__main__":
    yaml.safe_dump(meaning(Path(sys.argv[1])), sys.stdout, sort_keys=True, width=100)
