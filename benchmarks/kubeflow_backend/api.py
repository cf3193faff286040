"""The API server: which packages and parameters of runs it takes."""

import datetime
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

_KINDS: dict[str, Any] = {
    "STRING": str,
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
}


def load(package: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline and its Kubernetes settings, as ``NewV2SpecTemplate`` reads them.

    The documents of the file may come in either order; the settings are empty where they are not.

    Raises:
        ValueError: What the API server refuses (template/v2_template.go, compiler/visitor.go).
        NotImplementedError: What this simulation does not imitate.
    """
    spec: dict[str, Any] = {}
    platform: dict[str, Any] = {}
    for document in yaml.safe_load_all(package.read_text()):
        if "pipelineInfo" in (document or {}):
            _refuse(bool(spec), "multiple pipeline specs provided")
            spec = document
        elif "platforms" in (document or {}):
            _refuse(bool(platform), "multiple platform specs provided")
            platform = document
    _refuse(not spec, "no pipeline spec is provided")
    json_format.ParseDict(spec, pb.PipelineSpec())
    json_format.ParseDict(platform, pb.PlatformSpec())
    version = spec["schemaVersion"]
    _refuse(
        version != "2.1.0",
        f"KFP supports 2.1.0 only, but the pipeline has schema version {version}",
    )
    for label, executor in spec["deploymentSpec"]["executors"].items():
        is_container = set(executor) == {"container"}
        _refuse(not is_container, f"{label}: non-container executor not implemented")
        if "lifecycle" in executor["container"]:
            raise NotImplementedError(f"{label}: a lifecycle hook is never executed")
    for name, task in spec["root"]["dag"]["tasks"].items():
        if "triggerPolicy" in task:
            raise NotImplementedError(f"{name} has a condition, which is not imitated")
    return spec, platform


def settings_of(platform: dict[str, Any], label: str) -> dict[str, Any]:
    """Kubernetes settings of an executor; empty if it has none."""
    settings = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
    return settings.get("executors", {}).get(label, {})


def is_kind(value: Any, kind: str) -> bool:
    """Whether a value is of a parameter's type; protobuf knows a boolean from a number."""
    return isinstance(value, _KINDS[kind]) and isinstance(value, bool) == (kind == "BOOLEAN")


def _refuse(is_wrong: bool, words: str) -> None:
    if is_wrong:
        raise ValueError(words)


def root_parameters(spec: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Values of all run parameters: ``validatePipelineJobInputs``, and the defaults.

    Raises:
        ValueError: One is unknown, has no value, or a value of another type.
    """
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values = {}
    for name, parameter in declared.items():
        kind = parameter["parameterType"]
        if name in arguments:
            _refuse(
                not is_kind(arguments[name], kind), f"input parameter {name} requires type {kind}"
            )
            values[name] = arguments[name]
        elif "defaultValue" in parameter:
            values[name] = parameter["defaultValue"]
        elif not parameter.get("isOptional"):
            raise ValueError(f"parameter {name} has no value and no default")
    for name in arguments:
        _refuse(name not in declared, f"parameter {name} is not among the inputs of the pipeline")
    return values


def without_macros(arguments: dict[str, Any], run_id: str, kfp: tuple[int, ...]) -> dict[str, Any]:
    """The arguments of a run as ``RunWorkflow`` formats them, from 2.16 on.

    ``[[ScheduledTime]]`` stays as it is in a recurring run too, because its controller hands over
    no time (v2_template.go:326-356 of 2.16.1; kubeflow/pipelines#12494).
    """
    if kfp < (2, 16):
        return arguments
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d%H%M%S")
    macros = {"[[RunUUID]]": run_id, "[[CurrentTime]]": now}
    formatted = dict(arguments)
    for name, value in arguments.items():
        for macro, text in macros.items() if isinstance(value, str) else ():
            formatted[name] = formatted[name].replace(macro, text)
    return formatted


def needs(task: dict[str, Any]) -> list[str]:
    """Names of the tasks that must have ended before ``task``.

    What a task reads makes it wait for nothing: Argo's ``depends`` is made of ``dependentTasks``
    alone (``backend/src/v2/compiler/argocompiler/dag.go``).
    """
    return list(task.get("dependentTasks", []))
