"""What TFX's output lacks to run on open-source Kubeflow Pipelines 2.x, as steps on plain dicts.

Contract: each step takes the pipeline spec that ``KubeflowV2DagRunner`` writes (schema 2.1) and
changes it in place; ``platform_document`` makes the second YAML document; ``check`` parses both
strictly, as the backend does. Facts about the backend are those of KFP 2.16.

A task's part of the spec must stay small: the backend keeps a dozen copies of it in the workflow,
and from 1 MiB on it stores no task any more (``benchmarks/workflow_size.py``). So a task says
which node it is and what only the run knows; the pod resolves everything else from the settings.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from core.config import InputError
from core.models import MODELS
from pipeline.kubeflow import settings
from pipeline.kubeflow.cluster import DATA_DIGEST, PUSHERS, Cluster

Spec = dict[str, Any]

# Run-time parameters, all STRING; an empty default changes nothing.
DATA_URI = "data_uri"
OVERRIDES = "overrides"
THRESHOLDS = "thresholds"
PARAMETERS = {
    DATA_URI: "Directory of images and labels, as pods see it: an absolute path, gs:// or s3://.",
    OVERRIDES: "Settings as key=value, separated by spaces, as in: gan.epochs=8 seed=2",
    THRESHOLDS: "Gates as model.metric=value, separated by spaces: gan.inception_score=9",
}
GATES = (OVERRIDES, THRESHOLDS)  # parameters that can change what a model must reach
# Variable of the first task: the service account of the runs, which no field of a package holds.
ACCOUNT_VARIABLE = "INKWELL_SERVICE_ACCOUNT"
# Of a node, and not of the run: the backend fills them in.
RUN_ID = "pipeline_run_id"
CONTENT = "content"  # digest of what the node shall find in the data directory

# -P: a module of the folder that a pod starts in is none of ours.
ENTRYPOINT = ["python", "-P", "-m", "pipeline.kubeflow.entrypoint"]
DATA_DIGEST_COMMAND = ["python", "-P", "-m", "pipeline.kubeflow.data_digest"]

# What judges a trained model, which can be one task. The push stays apart: only it writes to the
# models in serving, and it runs no model.
JUDGING = tuple((kind.evaluator, kind.serving_check) for kind in MODELS.values())
EVALUATORS = tuple(kind.evaluator for kind in MODELS.values())
# The settings of these nodes are in the spec alone; all others can be overridden for a run.
WITHOUT_SETTINGS = frozenset(
    ["schema", "statistics-gen", "example-validator", "transform", *PUSHERS]
)
# They depend on, or change, the models in serving, which the backend's cache key leaves out.
UNCACHED = (DATA_DIGEST, *EVALUATORS, *PUSHERS)
DATA_READERS = ("example-gen", "schema")
READERS = (DATA_DIGEST, *DATA_READERS)  # tasks that read the data
READS_SERVING_STORE = (*EVALUATORS, *PUSHERS, "report")
NEVER_RETRIED = ("data-gate",)  # its verdict would be the same

# Time since the first attempt after which Argo starts no other; it counts work, not only waiting.
# Without it the backend gives Argo 0, and nothing is ever retried.
_RETRIED_FOR = f"{7 * 24 * 3600}s"

_ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")


def check_names(spec: Spec) -> None:
    """Raises ``InputError`` for a task name that Argo would refuse."""
    for name in [spec["pipelineInfo"]["name"], *_tasks(spec)]:
        if not _ARGO_NAME.fullmatch(name):
            raise InputError(
                f"{name} is not a valid Argo name. Node ids may contain only letters, digits and -."
            )


def leave_to_pods(spec: Spec, code_flags: Mapping[str, list[str]]) -> None:
    """Replaces what a pod resolves by itself by its digest, which the cache key needs.

    What is left of a node is its id, its code's fingerprint, its artifacts and the titles of their
    types. ExampleGen's hook, which no open-source backend runs, goes too: the entrypoint runs it.

    Args:
        spec: The pipeline spec.
        code_flags: Flags of ``stamp_code`` by node id.
    """
    for node_id, container in _containers(spec).items():
        digest = settings.digest(constants(spec, node_id))
        words = [node_id, "{{$}}", f"--settings={digest}", *code_flags.get(node_id, [])]
        container["args"] = words
        container.pop("lifecycle", None)
        _tasks(spec)[node_id].get("inputs", {}).pop("parameters", None)
        component = spec["components"][node_id]
        component.pop("inputDefinitions", None)  # no backend reads those of artifacts
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values():
            title = yaml.safe_load(artifact["artifactType"]["instanceSchema"])["title"]
            artifact["artifactType"] = {"schemaTitle": title}


def join(spec: Spec, members: Sequence[str]) -> None:
    """Makes one task of nodes that then run one after the other in one pod.

    It has the name of the first, and asks for what that does. Its artifacts are named by
    ``joint_key``, as two nodes may give theirs the same name.
    """
    first = members[0]
    tasks, components = _tasks(spec), spec["components"]
    executors = spec["deploymentSpec"]["executors"]
    arguments = [_containers(spec)[member]["args"] for member in members]
    container = {**_containers(spec)[first]}
    container["args"] = [
        ",".join(members),
        "{{$}}",
        "--settings=" + ",".join(words[2].partition("=")[2] for words in arguments),
        *(word for words in arguments for word in words[3:]),
    ]
    needs = {name for member in members for name in tasks[member].get("dependentTasks", ())}
    sources = [source for member in members for source in _artifacts(tasks[member])]
    outputs = {
        joint_key(member, key): artifact
        for member in members
        for key, artifact in components[member]["outputDefinitions"]["artifacts"].items()
    }
    for member in members[1:]:
        del tasks[member], components[member], executors[f"{member}_executor"]
    executors[f"{first}_executor"]["container"] = container
    components[first]["outputDefinitions"]["artifacts"] = outputs
    tasks[first]["dependentTasks"] = sorted(needs - {*members})
    tasks[first]["inputs"] = {
        "artifacts": {
            joint_key(s["producerTask"], s["outputArtifactKey"]): {"taskOutputArtifact": s}
            for s in sources
            if s["producerTask"] not in members
        }
    }
    for task in tasks.values():
        for source in _artifacts(task):
            if source["producerTask"] in members:
                key = joint_key(source["producerTask"], source["outputArtifactKey"])
                source.update(producerTask=first, outputArtifactKey=key)
        if "dependentTasks" in task:
            names = [first if name in members else name for name in task["dependentTasks"]]
            task["dependentTasks"] = sorted(set(names))


def joint_key(node_id: str, key: str) -> str:
    """Name of an artifact among those of a joined task."""
    return f"{node_id}_{key}"


def constants(spec: Spec, node_id: str) -> dict[str, Any]:
    """Parameters of a node as TFX writes them."""
    given = _tasks(spec)[node_id].get("inputs", {}).get("parameters", {})
    return {name: source["runtimeValue"]["constant"] for name, source in given.items()}


def add_parameters(spec: Spec, data_uri: str, fixed_gates: bool = False) -> None:
    """Declares the run parameters and passes them to the nodes that use them.

    Args:
        spec: The pipeline spec.
        data_uri: Default of the parameter of that name.
        fixed_gates: Leaves out the parameters that can change gates.
    """
    defaults = {DATA_URI: data_uri, OVERRIDES: "", THRESHOLDS: ""}
    declared = {
        name: {"parameterType": "STRING", "description": text, "defaultValue": defaults[name]}
        for name, text in PARAMETERS.items()
        if not (fixed_gates and name in GATES)
    }
    spec["root"]["inputDefinitions"] = {"parameters": declared}

    run_id = {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
    for task in _tasks(spec):
        nodes = set(_members(spec, task))
        if nodes & {*DATA_READERS, *PUSHERS, "report"}:  # the model card names the data
            _give(spec, task, DATA_URI, _of_run(DATA_URI))
        if nodes - WITHOUT_SETTINGS and OVERRIDES in declared:
            _give(spec, task, OVERRIDES, _of_run(OVERRIDES))
        if nodes & {*EVALUATORS, "report"} and THRESHOLDS in declared:
            _give(spec, task, THRESHOLDS, _of_run(THRESHOLDS))
        if nodes & {*PUSHERS, "report"}:
            _give(spec, task, RUN_ID, run_id)


def add_data_digest(spec: Spec, cluster: Cluster) -> None:
    """Adds the first task, which takes the digests of the data that the readers shall find.

    It is never cached, so new data under an old path is read in every run. No condition of the
    backend could do so: its cache key holds the path alone.
    """
    label = f"{DATA_DIGEST}_executor"
    spec["components"][DATA_DIGEST] = {
        "executorLabel": label,
        "outputDefinitions": {
            "parameters": {reader: {"parameterType": "STRING"} for reader in DATA_READERS}
        },
    }
    spec["deploymentSpec"]["executors"][label] = {
        "container": {
            "image": cluster.image(DATA_DIGEST),
            "command": DATA_DIGEST_COMMAND,
            "args": ["{{$}}"],
        }
    }
    _tasks(spec)[DATA_DIGEST] = {
        "taskInfo": {"name": DATA_DIGEST},
        "componentRef": {"name": DATA_DIGEST},
    }
    _give(spec, DATA_DIGEST, DATA_URI, _of_run(DATA_URI))
    for reader in DATA_READERS:
        output = {"producerTask": DATA_DIGEST, "outputParameterKey": reader}
        _give(spec, reader, CONTENT, {"taskOutputParameter": output})
        _tasks(spec)[reader]["dependentTasks"] = [DATA_DIGEST]


def leave_out_implied(spec: Spec) -> None:
    """Keeps of each task's ``dependentTasks`` those that no other of them waits for already."""
    waits = {name: set(task.get("dependentTasks", ())) for name, task in _tasks(spec).items()}

    def ancestors(name: str) -> set[str]:
        return waits[name].union(*map(ancestors, waits[name]))

    for name, task in _tasks(spec).items():
        if waits[name]:
            implied = set().union(*map(ancestors, waits[name]))
            task["dependentTasks"] = sorted(waits[name] - implied)


def set_caching(spec: Spec) -> None:
    """Turns caching off for nodes whose inputs are not all in the backend's key."""
    for node_id, task in _tasks(spec).items():
        is_cached = not set(UNCACHED) & set(_members(spec, node_id))
        task["cachingOptions"] = {"enableCache": is_cached}


def set_retries(spec: Spec, cluster: Cluster) -> None:
    """Lets Argo start a task's pod again: after a failure before KFP 2.17, after a loss since.

    Which end is which: docs/kubeflow.md. The policy itself cannot be said in a pipeline spec.
    """
    if not cluster.max_retries:
        return
    for node_id, task in _tasks(spec).items():
        if node_id not in NEVER_RETRIED:
            task["retryPolicy"] = {
                "maxRetryCount": cluster.max_retries,
                "backoffDuration": f"{cluster.retry_backoff_seconds}s",
                "backoffFactor": 2.0,
                "backoffMaxDuration": _RETRIED_FOR,
            }


def set_resources(spec: Spec, cluster: Cluster) -> None:
    """CPU, memory and GPUs of every pod; Kubernetes takes the limits as requests too."""
    for node_id, container in _containers(spec).items():
        pod = cluster.pod(_members(spec, node_id)[0])
        resources: dict[str, Any] = {
            "resourceCpuLimit": pod.cpu,
            "resourceMemoryLimit": pod.memory,
        }
        if pod.gpus:
            # Both spellings: the second pair is what backends from 2.4 on read first.
            count = str(pod.gpus)
            resources["accelerator"] = {
                **{"type": cluster.gpu.type, "count": count},
                **{"resourceType": cluster.gpu.type, "resourceCount": count},
            }
        container["resources"] = resources


def set_variables(spec: Spec, cluster: Cluster, words: str) -> None:
    """Variables of the user, and the settings in words, to which a run's overrides are applied.

    The backend's cache key holds no variables, so a change elsewhere in the settings does not make
    a node run again.
    """
    for node_id, container in _containers(spec).items():
        variables = {**cluster.env}
        if node_id != DATA_DIGEST:
            variables[settings.VARIABLE] = words
        elif cluster.service_account:
            variables[ACCOUNT_VARIABLE] = cluster.service_account
        container["env"] = [{"name": name, "value": value} for name, value in variables.items()]


def platform_document(spec: Spec, cluster: Cluster) -> Spec:
    """Node choice, volumes, secrets and user of every pod, which the pipeline spec cannot say.

    The backend parses strictly, so only fields that a backend of 2.5 knows are written, except for
    ``securityContext`` (2.16), which ``run_as_user: null`` leaves out.
    """
    executors = {}
    for node_id in _tasks(spec):
        executor: dict[str, Any] = {"imagePullPolicy": cluster.image_pull_policy}
        if cluster.run_as_user is not None:
            user = str(cluster.run_as_user)
            executor["securityContext"] = {
                **{"runAsUser": user, "runAsGroup": user, "runAsNonRoot": True}
            }
        if cluster.pod(_members(spec, node_id)[0]).gpus:
            if cluster.gpu.node_selector:
                executor["nodeSelector"] = {"labels": dict(cluster.gpu.node_selector)}
            executor["tolerations"] = [
                {name: value for name, value in vars(toleration).items() if value}
                for toleration in cluster.gpu.tolerations
            ]
        volumes = [cluster.store(node_id in PUSHERS)] if node_id in READS_SERVING_STORE else []
        if cluster.data_volume and node_id in READERS:
            volumes.append(cluster.data_volume)
        if volumes:
            executor["pvcMount"] = [
                # The old spelling of the name, then that of 2.15 and later.
                {
                    "constant": volume.claim,
                    "pvcNameParameter": _constant(volume.claim),
                    "mountPath": volume.mount,
                }
                for volume in volumes
            ]
        if cluster.image_pull_secrets:
            executor["imagePullSecret"] = [
                {"secretName": name, "secretNameParameter": _constant(name)}
                for name in cluster.image_pull_secrets
            ]
        nodes = set(_members(spec, node_id))
        secrets = [s for s in cluster.secrets if nodes & {*(s.nodes or READERS)}]
        if secrets:
            executor["secretAsEnv"] = [
                {
                    "secretName": secret.name,
                    "secretNameParameter": _constant(secret.name),
                    "keyToEnv": [
                        {"secretKey": key, "envVar": variable}
                        for variable, key in secret.env.items()
                    ],
                }
                for secret in secrets
            ]
        executors[f"{node_id}_executor"] = executor
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def check(spec: Spec, platform: Spec) -> None:
    """Parses both documents as strictly as the backend.

    Raises:
        google.protobuf.json_format.ParseError: A field that the backend does not know.
        ValueError: An executor without a component, or the reverse.
    """
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for executor in executors.values():
        json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    labels = {component["executorLabel"] for component in spec["components"].values()}
    if not labels == set(executors) == set(spec["deploymentSpec"]["executors"]):
        raise ValueError("Components, executors and the platform document name different nodes.")


def _tasks(spec: Spec) -> dict[str, Any]:
    return spec["root"]["dag"]["tasks"]


def _containers(spec: Spec) -> dict[str, Any]:
    """Containers by node id."""
    executors = spec["deploymentSpec"]["executors"]
    return {node_id: executors[f"{node_id}_executor"]["container"] for node_id in _tasks(spec)}


def _members(spec: Spec, task: str) -> list[str]:
    """Nodes that a task runs: one, or those that it joins."""
    named = _containers(spec)[task]["args"][0].split(",")
    return named if task in named else [task]


def _artifacts(task: Spec) -> list[Spec]:
    """Where a task's input artifacts come from."""
    given = task.get("inputs", {}).get("artifacts", {})
    return [source["taskOutputArtifact"] for source in given.values()]


def _give(spec: Spec, node_id: str, name: str, source: Spec) -> None:
    """Gives a node a parameter of type STRING."""
    inputs = spec["components"][node_id].setdefault("inputDefinitions", {})
    inputs.setdefault("parameters", {})[name] = {"parameterType": "STRING"}
    task = _tasks(spec)[node_id]
    task.setdefault("inputs", {}).setdefault("parameters", {})[name] = source


def _of_run(name: str) -> Spec:
    return {"componentInputParameter": name}


def _constant(value: str) -> Spec:
    return {"runtimeValue": {"constant": value}}
