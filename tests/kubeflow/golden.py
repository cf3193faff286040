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
            "runs": " ".join([*container["command"], *_words(container["args"])]),
            "waits for": sorted(set(needs(task))),
            "reads": {
                key: "{producerTask}.{outputArtifactKey}".format(**source["taskOutputArtifact"])
                for key, source in inputs.get("artifacts", {}).items()
            },
            "is told": {
                key: _source(source) for key, source in inputs.get("parameters", {}).items()
            },
            "writes": {
                key: output.get("artifactType", {}).get("schemaTitle", output.get("parameterType"))
                for outputs in component["outputDefinitions"].values()
                for key, output in outputs.items()
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


def waits_for(tasks: dict[str, Any], name: str) -> set[str]:
    """All tasks that must have ended before one."""
    direct = needs(tasks[name])
    return set(direct).union(*(waits_for(tasks, other) for other in direct))


def _source(source: dict[str, Any]) -> str:
    """Where a parameter comes from."""
    if "componentInputParameter" in source:
        return f"run parameter {source['componentInputParameter']}"
    if "taskOutputParameter" in source:
        return "{producerTask}.{outputParameterKey}".format(**source["taskOutputParameter"])
    return source["runtimeValue"]["constant"]


def _words(arguments: list[str]) -> list[str]:
    """Without digests, which change with every setting and line of code."""
    return [word.partition("=")[0] for word in arguments]


if __name__ == "__main__":
    yaml.safe_dump(meaning(Path(sys.argv[1])), sys.stdout, sort_keys=True, width=100)
