"""The driver: a task's inputs and outputs (driver/{container,driver,resolve,cache}.go)."""

import decimal
import hashlib
import json
import posixpath
import uuid
from typing import Any

from benchmarks.kubeflow_backend.api import is_kind
from benchmarks.kubeflow_backend.state import SCHEMES, Metadata, Run

LOGS = "executor-logs"  # an output that the driver adds: PUBLISH_LOGS is true in KFP's manifests
OUTPUTS = "/tmp/kfp/outputs"  # noqa: S108 - of a pod, below its own root
OLD_OUTPUT_FILE = "/tmp/kfp_outputs/output_metadata.json"  # noqa: S108 - likewise


def executor_input(
    spec: dict[str, Any],
    name: str,
    run: Run,
    parameters: dict[str, Any],
    metadata: Metadata,
    kfp: tuple[int, ...],
) -> dict[str, Any]:
    """The message that the launcher gets, as protojson writes it.

    Args:
        spec: The pipeline.
        name: Of the task.
        run: With the tasks before it done.
        parameters: Of the run.
        metadata: With the artifacts of those tasks.
        kfp: Version of the backend.

    Raises:
        ValueError: An input cannot be resolved; the driver's pod fails.
        NotImplementedError: A value that only the real backend fills in.
    """
    task = spec["root"]["dag"]["tasks"][name]
    component = spec["components"][task["componentRef"]["name"]]
    given = task.get("inputs", {})
    values = {
        key: _value(key, source, run, parameters)
        for key, source in given.get("parameters", {}).items()
    }
    artifacts = {}
    for key, source in given.get("artifacts", {}).items():
        producer = run.tasks[source["taskOutputArtifact"]["producerTask"]]
        output = source["taskOutputArtifact"]["outputArtifactKey"]
        if output not in producer.outputs:
            raise ValueError(f"cannot find output artifact key {output!r} in {producer.name}")
        artifacts[key] = {"artifacts": [metadata.runtime_artifact(producer.outputs[output])]}
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    return {
        "inputs": {"parameterValues": _converted(values, declared), "artifacts": artifacts},
        "outputs": _provisioned(component, f"{run.root}/{name}/{uuid.uuid4()}", kfp),
    }


def _value(key: str, source: dict[str, Any], run: Run, parameters: dict[str, Any]) -> Any:
    """``resolveInputParameter``."""
    if "componentInputParameter" in source:
        name = source["componentInputParameter"]
        if name not in parameters:
            raise ValueError(f"parent DAG does not have input parameter {name}")
        return parameters[name]
    if "taskOutputParameter" in source:
        producer = run.tasks[source["taskOutputParameter"]["producerTask"]]
        output = source["taskOutputParameter"]["outputParameterKey"]
        if output not in producer.parameters:
            raise ValueError(f"cannot find output parameter key {output!r} in {producer.name}")
        return producer.parameters[output]
    value = source["runtimeValue"]["constant"]
    if value == "{{$.pipeline_job_uuid}}":
        return run.id
    if isinstance(value, str) and value.startswith("{{$."):
        raise NotImplementedError(f"{value} in parameter {key} is not imitated")
    return value


def _converted(values: dict[str, Any], declared: dict[str, Any]) -> dict[str, Any]:
    """``handleParamTypeValidationAndConversion``: all becomes text for STRING, nothing else."""
    converted = dict(values)
    for name, parameter in declared.items():
        kind = parameter["parameterType"]
        if name not in values and parameter.get("isOptional"):
            continue
        if name not in values and "defaultValue" not in parameter:
            raise ValueError(f"neither value nor default value provided for parameter {name!r}")
        value = values.get(name)
        if kind == "STRING":
            converted[name] = as_text(value)
        elif not is_kind(value, kind):
            raise ValueError(f"input parameter {name!r} type mismatch: expect {kind}, got {value}")
    return converted


def as_text(value: Any) -> str:
    """``PbValueToText`` of metadata/converter.go."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{decimal.Decimal(repr(float(value))).normalize():f}"
    return json.dumps(value, separators=(",", ":"))


def as_value(text: str, kind: str) -> Any:
    """``TextToPbValue`` of metadata/converter.go; raises ``ValueError``."""
    if kind == "STRING":
        return text
    if kind == "NUMBER_INTEGER":
        return float(int(text))
    value = json.loads(text.strip().lower() if kind == "BOOLEAN" else text)
    if not is_kind(value, kind):
        raise ValueError(f"{text!r} is not a {kind}")
    return value


def _provisioned(component: dict[str, Any], task_root: str, kfp: tuple[int, ...]) -> dict[str, Any]:
    """``provisionOutputs``; since 2.15 the output file is beside the outputs."""
    outputs = component.get("outputDefinitions", {})
    types = {key: found["artifactType"] for key, found in outputs.get("artifacts", {}).items()}
    types[LOGS] = {"schemaTitle": "system.Artifact"}
    scheme, _, rest = task_root.partition("://")
    local_root = posixpath.join("/", SCHEMES.get(scheme, scheme), rest)
    return {
        "artifacts": {
            key: {"artifacts": [{"name": key, "uri": f"{task_root}/{key}", "type": kind}]}
            for key, kind in types.items()
        },
        "parameters": {
            key: {"outputFile": f"{OUTPUTS}/{key}"} for key in outputs.get("parameters", {})
        },
        "outputFile": f"{local_root}/output_metadata.json" if kfp >= (2, 15) else OLD_OUTPUT_FILE,
    }


def cache_key(
    request: dict[str, Any],
    component: dict[str, Any],
    container: dict[str, Any],
    settings: dict[str, Any],
) -> str:
    """``GenerateCacheKey``: names, not contents, and neither URIs nor variables.

    Args:
        request: The message.
        component: Of the task.
        container: Its image and command line, before anything is filled in.
        settings: Its Kubernetes settings.
    """
    inputs, outputs = request["inputs"], request["outputs"]["artifacts"]
    types = component.get("outputDefinitions", {}).get("parameters", {})
    key = {
        "inputArtifactNames": {
            name: [artifact["name"] for artifact in found["artifacts"]]
            for name, found in inputs["artifacts"].items()
        },
        "inputParameterValues": inputs["parameterValues"],
        "outputArtifactsSpec": {
            name: {k: v for k, v in found["artifacts"][0].items() if k != "uri"}
            for name, found in outputs.items()
        },
        "outputParametersSpec": {name: found["parameterType"] for name, found in types.items()},
        "image": container["image"],
        "cmdArgs": [*container.get("command", []), *container.get("args", [])],
        "pvcNames": sorted({_claim(mount) for mount in settings.get("pvcMount", [])}),
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _claim(mount: dict[str, Any]) -> str:
    """Name of the claim; the older spelling where the newer is missing (driver/k8s.go)."""
    if "pvcNameParameter" in mount:
        return mount["pvcNameParameter"]["runtimeValue"]["constant"]
    return mount["constant"]
