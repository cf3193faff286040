"""What TFX's output lacks to run on open-source Kubeflow Pipelines 2.x, as steps on plain dicts.

Contract: each step takes the pipeline spec that ``KubeflowV2DagRunner`` writes (schema 2.1) and
changes it in place; ``platform_document`` makes the second YAML document; ``check`` parses both
strictly, as the backend does. Facts about the backend are those of KFP 2.16.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from core.config import InputError
from core.models import MODELS
from pipeline.kubeflow.cluster import Cluster

Spec = dict[str, Any]

# Run-time parameters, all STRING; an empty default changes nothing.
DATA_URI = "data_uri"
DATA_FINGERPRINT = "data_fingerprint"
OVERRIDES = "overrides"
THRESHOLDS = "thresholds"
RUN_ID = "pipeline_run_id"  # not a parameter of the run: the backend fills it in
PARAMETERS = {
    DATA_URI: "Directory of the four IDX files, as pods see it: an absolute path, or gs://.",
    DATA_FINGERPRINT: "Any text that changes when the data does; a new one makes it be read again.",
    OVERRIDES: "Settings as key=value, separated by spaces, as in: gan.epochs=8 seed=2",
    THRESHOLDS: "Gates as model.metric=value, separated by spaces: gan.frechet_distance=20",
}

EVALUATORS = tuple(kind.evaluator for kind in MODELS.values())
PUSHERS = tuple(kind.pusher for kind in MODELS.values())
# The settings of these nodes are in the spec alone; all others can be overridden for a run.
WITHOUT_SETTINGS = frozenset(
    ["schema", "statistics-gen", "example-validator", "transform", *PUSHERS]
)
# They depend on, or change, the models in serving, which the backend's cache key leaves out.
UNCACHED = (*EVALUATORS, *PUSHERS)
DATA_READERS = {"example-gen": "input_base", "schema": "data_dir"}  # with the parameter's own name
READS_SERVING_STORE = (*EVALUATORS, *PUSHERS, "report")
NEVER_RETRIED = ("data-gate",)  # its verdict would be the same

# Time since the first attempt after which Argo starts no other; it counts work, not only waiting.
# Without it the backend gives Argo 0, and nothing is ever retried.
_RETRIED_FOR = f"{7 * 24 * 3600}s"

CONFIG_VARIABLE = "INKWELL_CONFIG"  # environment variable: the compiled configuration as JSON
_ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")


def check_names(spec: Spec) -> None:
    """Raises ``InputError`` for a task name that Argo would refuse."""
    for name in [spec["pipelineInfo"]["name"], *_tasks(spec)]:
        if not _ARGO_NAME.fullmatch(name):
            raise InputError(
                f"{name} is not a valid Argo name. Node ids may contain only letters, digits and -."
            )


def drop_lifecycle(spec: Spec) -> None:
    """Removes the hook of ExampleGen that no open-source backend runs; our entrypoint does it."""
    for container in _containers(spec).values():
        container.pop("lifecycle", None)


def add_arguments(spec: Spec, code_flags: Mapping[str, list[str]]) -> None:
    """Adds the node id for the entrypoint and the code for the cache key, which TFX leaves out.

    Args:
        spec: The pipeline spec.
        code_flags: Flags of ``stamp_code`` by node id.
    """
    for node_id, container in _containers(spec).items():
        container["args"] += ["--node_id", node_id, *code_flags.get(node_id, [])]


def add_parameters(spec: Spec, data_uri: str, data_fingerprint: str) -> None:
    """Declares the run parameters and passes them to the nodes that use them.

    Args:
        spec: The pipeline spec.
        data_uri: Default of the parameter of that name.
        data_fingerprint: Default likewise; empty if the data cannot be read here, and then a run
            must give it, as the backend would otherwise keep results of other data.
    """
    declared: dict[str, dict[str, Any]] = {
        name: {"parameterType": "STRING", "description": text} for name, text in PARAMETERS.items()
    }
    defaults = {DATA_URI: data_uri, OVERRIDES: "", THRESHOLDS: ""}
    if data_fingerprint:
        defaults[DATA_FINGERPRINT] = data_fingerprint
    for name, value in defaults.items():
        declared[name]["defaultValue"] = value
    spec["root"]["inputDefinitions"] = {"parameters": declared}

    for node_id in _tasks(spec):
        if node_id in DATA_READERS:
            _give(spec, node_id, DATA_READERS[node_id], _of_run(DATA_URI))
            _give(spec, node_id, DATA_FINGERPRINT, _of_run(DATA_FINGERPRINT))
        if node_id not in WITHOUT_SETTINGS:
            _give(spec, node_id, OVERRIDES, _of_run(OVERRIDES))
        if node_id in (*EVALUATORS, "report"):
            _give(spec, node_id, THRESHOLDS, _of_run(THRESHOLDS))
        if node_id in (*PUSHERS, "report"):  # the model card names the data and the run
            _give(spec, node_id, DATA_URI, _of_run(DATA_URI))
            run_id = {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
            _give(spec, node_id, RUN_ID, run_id)


def set_caching(spec: Spec) -> None:
    """Turns caching off for nodes whose inputs are not all in the backend's key."""
    for node_id, task in _tasks(spec).items():
        task["cachingOptions"] = {"enableCache": node_id not in UNCACHED}


def set_retries(spec: Spec, cluster: Cluster) -> None:
    """Restarts pods that failed."""
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
    """CPU, memory and GPUs of every pod; requests equal limits."""
    for node_id, container in _containers(spec).items():
        pod = cluster.pod(node_id)
        resources: dict[str, Any] = {
            "resourceCpuRequest": pod.cpu,
            "resourceCpuLimit": pod.cpu,
            "resourceMemoryRequest": pod.memory,
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


def set_variables(spec: Spec, cluster: Cluster, config: Mapping[str, Any]) -> None:
    """Variables of the user, and the configuration to which a run's overrides are applied.

    The backend's cache key holds no variables, so a change elsewhere in the configuration does not
    make a node run again.
    """
    variables = {**cluster.env, CONFIG_VARIABLE: json.dumps(config, sort_keys=True)}
    for container in _containers(spec).values():
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
        if cluster.pod(node_id).gpus:
            if cluster.gpu.node_selector:
                executor["nodeSelector"] = {"labels": dict(cluster.gpu.node_selector)}
            executor["tolerations"] = [
                {name: value for name, value in vars(toleration).items() if value}
                for toleration in cluster.gpu.tolerations
            ]
        volumes = [cluster.serving_store] if node_id in READS_SERVING_STORE else []
        if cluster.data_volume and node_id in DATA_READERS:
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
        if cluster.secrets:
            executor["secretAsEnv"] = [
                {
                    "secretName": secret.name,
                    "secretNameParameter": _constant(secret.name),
                    "keyToEnv": [
                        {"secretKey": key, "envVar": variable}
                        for variable, key in secret.env.items()
                    ],
                }
                for secret in cluster.secrets
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
