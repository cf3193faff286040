"""Argo's object of a run on Kubeflow Pipelines, as it is when the run has ended.

Contract: ``Workflow`` holds the spec as KFP 2.17 compiles it (``backend/src/v2/compiler/
argocompiler``), with what its drivers hand the pods (``backend/src/v2/driver``), and the nodes as
Argo 4.0 keeps them (``workflow/controller``): every task once, none from the cache, and each of its
templates retried, as KFP's ``workflowDefaults`` demand.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.workflow_driver import OUTPUTS, UUID, Driver, go_json

Json = dict[str, Any]
_WORKFLOW = "inkwell-abcde"
_TIME = "2026-01-01T00:00:00Z"
_OUTPUTS_OF_DRIVERS = {
    "system-container-driver": ("pod-spec-patch", "cached-decision", "condition"),
    "system-dag-driver": ("execution-id", "iteration-count", "condition"),
}
_RETRIES = ("max-count", "backoff-duration", "backoff-factor", "backoff-max-duration")


class Workflow:
    """The spec of the workflow and its nodes, which ``run`` adds."""

    def __init__(self, spec: Json, platform: Json, is_kept_small: bool):
        self.driver = Driver(spec, is_kept_small)
        self.root = _with_dependencies(spec["root"])
        self.components = spec["components"]
        self.executors = spec["deploymentSpec"]["executors"]
        self.settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.arguments: dict[str, str] = {}
        self.nodes: dict[str, Json] = {}
        self.task_of: dict[str, str] = {}

    def run(self) -> None:
        """Adds every node; a task has six, as each of its three templates is retried."""
        tasks = self.root["dag"]["tasks"]
        self.arguments["components-root"] = go_json(self.root)
        values = {
            name: str(p.get("defaultValue", "x" * 40)) for name, p in self.driver.declared.items()
        }
        config = {"gcsOutputDirectory": self.driver.pipeline_root, "parameterValues": values}
        top = f"{_WORKFLOW}(0)"
        self._retried(_WORKFLOW, "DAG", "entrypoint", {}, task="root")
        self._retried(
            f"{top}.root-driver",
            "Pod",
            "system-dag-driver",
            {
                "component": self.arguments["components-root"],
                **{"runtime-config": go_json(config), "task": "", "task-name": ""},
                **{"parent-dag-id": "0", "iteration-index": "-1", "driver-type": "ROOT_DAG"},
            },
            task="root",
        )
        self._retried(f"{top}.root", "DAG", "root", {"parent-dag-id": "12"}, task="root")
        for name, task in tasks.items():
            self._run_task(name, task, f"{top}.root(0).{name}")
        for name, settings in self.settings.items():
            self.arguments[f"kubernetes-{name.removesuffix('_executor')}"] = go_json(settings)

    def _run_task(self, name: str, task: Json, path: str) -> None:
        component, container, settings = self._parts(task)
        digest = hashlib.sha256(go_json(container).encode()).hexdigest()
        self.arguments[f"components-{digest}"] = go_json(component)
        self.arguments[f"implementations-{digest}"] = go_json(container)
        given = {
            **{
                "component": go_json(component),
                "task": go_json(task),
                "container": go_json(container),
            },
            **{"task-name": name, "parent-dag-id": "12", "iteration-index": "-1"},
            "kubernetes-config": go_json(settings),
        }
        patch = go_json(self.driver.patch(name, task, component, container, settings))
        outputs = {"pod-spec-patch": patch, "cached-decision": "false", "condition": "nil"}
        self._retried(f"{path}-driver", "Pod", "system-container-driver", given, outputs, task=name)
        policy = task.get("retryPolicy")
        prefix = "retry-" if policy else ""
        retries = {f"retry-{key}": "604800" for key in _RETRIES} if policy else {}
        inner = {"pod-spec-patch": patch, **retries}
        outer = {"pod-spec-patch": patch, "cached-decision": "false", **retries}
        executor, impl = f"{prefix}system-container-executor", f"{prefix}system-container-impl"
        self._retried(path, "DAG", executor, outer, task=name)
        self._retried(f"{path}(0).executor", "Pod", impl, inner, task=name)

    def _parts(self, task: Json) -> tuple[Json, Json, Json]:
        component = self.components[task["componentRef"]["name"]]
        label = component["executorLabel"]
        return component, self.executors[label]["container"], self.settings.get(label, {})

    def _retried(
        self,
        path: str,
        kind: str,
        template: str,
        inputs: dict[str, str],
        outputs: dict[str, str] | None = None,
        *,
        task: str,
    ) -> None:
        """A node and its parent of type Retry, which has the same inputs and outputs."""
        for name, node_type in ((path, "Retry"), (f"{path}(0)", kind)):
            node: Json = {
                **{"id": _id(name), "name": name, "displayName": name.rpartition(".")[2]},
                **{"type": node_type, "templateName": template, "phase": "Succeeded"},
                "templateScope": f"local/{_WORKFLOW}",
                "boundaryID": _id(name.rpartition(".")[0]),
                **{"startedAt": _TIME, "finishedAt": _TIME, "progress": "12/12"},
                "resourcesDuration": {"cpu": 1234, "memory": 12345},
                **{"children": [_id(path)], "outboundNodes": [_id(path)]},
            }
            if name != path:
                node["nodeFlag"] = {"retried": True}
            if inputs:
                node["inputs"] = {
                    "parameters": [{"name": key, "value": value} for key, value in inputs.items()]
                }
            if kind == "Pod":
                node["outputs"] = {
                    "parameters": [
                        {"name": key, "value": (outputs or {}).get(key, "12"), "valueFrom": source}
                        for key in _OUTPUTS_OF_DRIVERS.get(template, ())
                        for source in [{"path": f"{OUTPUTS}/outputs/{key}", "default": ""}]
                    ],
                    "artifacts": [{"name": "main-logs", "s3": {"key": _log_key(name)}}],
                    "exitCode": "0",
                }
            if node_type == "Pod":
                node |= {"hostNodeName": "x" * 40, "taskResultSynced": True}
            self.nodes[_id(name)] = node
            self.task_of[_id(name)] = task

    def document(self, with_status: bool) -> Json:
        """The whole object, as ``getSize`` of Argo's packer writes it."""
        tasks = self.root["dag"]["tasks"]
        spec = {
            "entrypoint": "entrypoint",
            "serviceAccountName": "pipeline-runner",
            "arguments": {
                "parameters": [{"name": n, "value": v} for n, v in self.arguments.items()]
            },
            "templates": [
                *_SYSTEM_TEMPLATES,
                _template("root", ["parent-dag-id"], self._dag_tasks(tasks)),
                _template("entrypoint", [], self._dag_tasks({})),
            ],
        }
        document: Json = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": _WORKFLOW, "uid": UUID, "other": "x" * 1500},
            "spec": spec,
        }
        if with_status:
            pods = [i for i, node in self.nodes.items() if node["type"] == "Pod"]
            document["status"] = {
                "nodes": self.nodes,
                "taskResultsCompletionStatus": dict.fromkeys(pods, True),
                **{"phase": "Succeeded", "startedAt": _TIME, "finishedAt": _TIME},
                "artifactRepositoryRef": {"artifactRepository": "x" * 500, "default": True},
            }
        return document

    def _dag_tasks(self, tasks: Json) -> list[Json]:
        found = []
        for name, task in tasks.items():
            _, container, _ = self._parts(task)
            digest = hashlib.sha256(go_json(container).encode()).hexdigest()
            given = {
                "component": f"{{{{workflow.parameters.components-{digest}}}}}",
                "task": go_json(task),
                "container": f"{{{{workflow.parameters.implementations-{digest}}}}}",
                **{"task-name": name, "parent-dag-id": "{{inputs.parameters.parent-dag-id}}"},
                "kubernetes-config": f"{{{{workflow.parameters.kubernetes-{name}}}}}",
            }
            outputs = f"{{{{tasks.{name}-driver.outputs.parameters."
            policy = task.get("retryPolicy")
            retries = {f"retry-{key}": "604800" for key in _RETRIES} if policy else {}
            passed = {
                "pod-spec-patch": outputs + "pod-spec-patch}}",
                "cached-decision": outputs + "cached-decision}}",
                **retries,
            }
            needs = [f"{other}.Succeeded" for other in task.get("dependentTasks", ())]
            found += [
                _dag_task(f"{name}-driver", "system-container-driver", given, needs),
                _dag_task(name, "retry-system-container-executor", passed, [f"{name}-driver"]),
            ]
        return found


def _dag_task(name: str, template: str, arguments: dict[str, str], needs: Sequence[str]) -> Json:
    parameters = [{"name": key, "value": value} for key, value in arguments.items()]
    return {
        "name": name,
        "template": template,
        "arguments": {"parameters": parameters},
        "depends": " && ".join(needs),
    }


def _template(name: str, inputs: Sequence[str], tasks: Sequence[Json]) -> Json:
    return {
        "name": name,
        "inputs": {"parameters": [{"name": key} for key in inputs]},
        "dag": {"tasks": tasks},
        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
        "outputs": {},
    }


# Six templates that are the same for every pipeline: two drivers, and executor and implementation
# with and without retries; their container, volumes and security settings are 2 kB each.
_SYSTEM_TEMPLATES = [{"name": "x" * 2000} for _ in range(6)]


def _with_dependencies(root: Json) -> Json:
    """``addImplicitDependencies``: every producer is among the tasks that a task depends on."""
    root = json.loads(json.dumps(root))
    for task in root["dag"]["tasks"].values():
        inputs = task.get("inputs", {})
        sources = [
            *(s.get("taskOutputArtifact", {}) for s in inputs.get("artifacts", {}).values()),
            *(s.get("taskOutputParameter", {}) for s in inputs.get("parameters", {}).values()),
        ]
        found = [*task.get("dependentTasks", ()), *(s["producerTask"] for s in sources if s)]
        if found:
            task["dependentTasks"] = list(dict.fromkeys(found))
    return root


def _id(name: str) -> str:
    """An id of a node: the workflow's name and a hash of ten digits."""
    number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    return f"{_WORKFLOW}-{number % 10**10:010d}"


def _log_key(name: str) -> str:
    return (
        f"private-artifacts/kubeflow/{_WORKFLOW}/2026/01/01/{_id(name)}-system-container/main.log"
    )
