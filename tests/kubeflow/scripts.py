"""Pipelines whose tasks are lines of Python, to try the simulation in fractions of a second.

A line sees ``message``, the backend's ExecutorInput, and ``write(name, text)`` for an output
parameter.
"""

import dataclasses
from pathlib import Path
from typing import Any

import yaml

_BEFORE = """
import json, os, sys
message = json.loads(sys.argv[1])
inputs, outputs = message["inputs"], message["outputs"]
def write(name, text):
    open(outputs["parameters"][name]["outputFile"], "w").write(text)
"""


@dataclasses.dataclass(frozen=True)
class Script:
    """One task."""

    code: str = ""
    reads: dict[str, str] = dataclasses.field(default_factory=dict)  # input: task.output
    told: dict[str, Any] = dataclasses.field(default_factory=dict)  # parameter: source in the spec
    types: dict[str, str] = dataclasses.field(default_factory=dict)  # of parameters; else STRING
    writes: tuple[str, ...] = ()  # output artifacts
    returns: dict[str, str] = dataclasses.field(default_factory=dict)  # output parameter: type
    task: dict[str, Any] = dataclasses.field(default_factory=dict)  # further fields of the task


def constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def output_of(task: str, parameter: str) -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": parameter}}


def write_package(path: Path, tasks: dict[str, Script], root: dict[str, Any] | None = None) -> None:
    """Writes both documents; ``root`` declares the parameters of the run by name."""
    kind = {"artifactType": {"schemaTitle": "system.Artifact"}}
    spec: dict[str, Any] = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "scripts"},
        "defaultPipelineRoot": "minio://never/read",
        "root": {"inputDefinitions": {"parameters": root or {}}, "dag": {"tasks": {}}},
        "components": {},
        "deploymentSpec": {"executors": {}},
    }
    for name, script in tasks.items():
        sources = {
            key: {"taskOutputArtifact": dict(zip(_ARTIFACT, source.split("."), strict=True))}
            for key, source in script.reads.items()
        }
        spec["root"]["dag"]["tasks"][name] = {
            "componentRef": {"name": name},
            "taskInfo": {"name": name},
            "inputs": {"artifacts": sources, "parameters": script.told},
            "cachingOptions": {"enableCache": True},
            "dependentTasks": sorted(
                {
                    found["producerTask"]
                    for source in [*sources.values(), *script.told.values()]
                    for kind, found in source.items()
                    if kind.startswith("taskOutput")
                }
            ),
            **script.task,
        }
        spec["components"][name] = {
            "executorLabel": name,
            "inputDefinitions": {
                "artifacts": dict.fromkeys(script.reads, kind),
                "parameters": {
                    key: {"parameterType": script.types.get(key, "STRING")} for key in script.told
                },
            },
            "outputDefinitions": {
                "artifacts": dict.fromkeys(script.writes, kind),
                "parameters": {k: {"parameterType": v} for k, v in script.returns.items()},
            },
        }
        command = {"image": "python:3", "command": ["python3", "-c", _BEFORE + script.code]}
        spec["deploymentSpec"]["executors"][name] = {"container": {**command, "args": ["{{$}}"]}}
    executors: dict[str, Any] = {name: {} for name in tasks}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all([spec, platform], sort_keys=False))


_ARTIFACT = ("producerTask", "outputArtifactKey")
