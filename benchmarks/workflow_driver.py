"""What KFP's driver hands the pod of a task: the patch of its specification.

Contract: ``Driver.patch`` is what ``initPodSpecPatch`` and ``extendPodSpecPatch`` of KFP 2.17 write
(``backend/src/v2/driver``), for artifacts of KFP's own bucket with the properties that ours have.
"""

import json
from typing import Any

import yaml

from pipeline.kubeflow.entrypoint import (
    DECISIONS,
    KEPT_PROPERTY,
    LONGEST_PROPERTY,
    SESSION_PROPERTY,
)

Json = dict[str, Any]
UUID = "01234567-89ab-cdef-0123-456789abcdef"
OUTPUTS = "/tmp"  # noqa: S108 - KFP's choice
# What KFP keeps with each artifact about the bucket of its own installation.
_SESSION = {
    "Provider": "minio",
    "Params": {
        "accessKeyKey": "accesskey",
        "disableSSL": "true",
        "endpoint": "seaweedfs.kubeflow:9000",
        "forcePathStyle": "true",
        "fromEnv": "false",
        "maxRetries": "5",
        "region": "minio",
        "secretKeyKey": "secretkey",
        "secretName": "mlpipeline-minio-artifact",
    },
}
_FILES = {f"variables/variables.data-{i:05}-of-00001": "0" * 64 for i in range(5)}
_URI = "minio://mlpipeline/inkwell/inkwell/" + f"/{UUID}" * 2 + "/evaluate-diffusion/blessing"
# Properties that our components and TFX give an artifact, by type.
_KNOWN = {
    "tfx.ModelBlessing": {
        **{"model_files": json.dumps(_FILES), "blessed": 1, "reason": "x" * 80},
        **{"baseline_model": "/models/diffusion/1767225600", "current_model": _URI},
    },
    "tfx.InfraBlessing": {"model_files": json.dumps(_FILES), "blessed": 1, "reason": "x" * 80},
    "tfx.Model": {"digest": "0" * 22},
    "tfx.PushedModel": {
        **{"pushed": 1, "pushed_version": "1767225600", "superseded": 1},
        "pushed_destination": "/models/diffusion/1767225600",
    },
    "tfx.Examples": {
        **{"split_names": '["train", "eval", "test"]', "span": 0, "version": 0},
        **{"payload_format": "FORMAT_TF_EXAMPLE", "file_format": "tfrecords_gzip"},
        "input_fingerprint": "split:train,num_files:2,total_bytes:9941542,xor_checksum:17,sum_"
        "checksum:17\nsplit:test,num_files:2,total_bytes:9941542,xor_checksum:17,sum_checksum:17",
    },
    "tfx.ExampleStatistics": {"split_names": '["train", "eval", "test"]'},
    "tfx.ExampleAnomalies": {"split_names": '["train", "eval", "test"]'},
}


class Driver:
    """The driver of a run."""

    def __init__(self, spec: Json, is_kept_small: bool):
        self.tasks, self.components = spec["root"]["dag"]["tasks"], spec["components"]
        self.declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        self.pipeline = spec["pipelineInfo"]["name"]
        self.pipeline_root = spec.get("defaultPipelineRoot", "minio://mlpipeline/v2/artifacts")
        self.is_kept_small = is_kept_small

    def patch(self, name: str, task: Json, component: Json, container: Json, pod: Json) -> Json:
        """``initPodSpecPatch`` and ``extendPodSpecPatch``: what the driver hands the executor."""
        request = _protojson(self._executor_input(name, task, component))
        launcher = [
            *("/kfp-launcher/launch", "--pipeline_name", self.pipeline, "--run_id", UUID),
            *("--execution_id", "1234", "--executor_input", request),
            *("--component_spec", _protojson(component), "--pod_name", "$(KFP_POD_NAME)"),
            *("--pod_uid", "$(KFP_POD_UID)"),
            *("--ml_pipeline_server_address", "ml-pipeline.kubeflow"),
            *("--ml_pipeline_server_port", "8887"),
            *("--mlmd_server_address", "metadata-grpc-service.kubeflow.svc.cluster.local"),
            *("--mlmd_server_port", "8080", "--publish_logs", "true", "--publish_logs", "true"),
            "--",
        ]
        resources = container.get("resources", {})
        limits, requests = (
            {
                name.lower(): resources[f"resource{name}{side}"]
                for name in ("Cpu", "Memory")
                if f"resource{name}{side}" in resources
            }
            for side in ("Limit", "Request")
        )
        gpu = resources.get("accelerator")
        main: Json = {
            "name": "main",
            "image": container["image"],
            "command": launcher,
            "args": [*container.get("command", ()), *container.get("args", ())],
            "env": container.get("env", []),
            "resources": {
                "limits": {**limits, gpu["resourceType"]: "1"} if gpu else limits,
                **({"requests": requests} if requests else {}),
            },
            "imagePullPolicy": pod.get("imagePullPolicy", ""),
            "securityContext": {
                "capabilities": {"drop": ["ALL"]},
                **pod.get("securityContext", {}),
                "allowPrivilegeEscalation": False,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        patch: Json = {"containers": [main]}
        if mounts := pod.get("pvcMount"):
            claims = [mount["constant"] for mount in mounts]
            main["volumeMounts"] = [
                {"name": claim, "mountPath": mount["mountPath"]}
                for claim, mount in zip(claims, mounts, strict=True)
            ]
            patch["volumes"] = [
                {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims
            ]
        for secret in pod.get("secretAsEnv", ()):
            main["env"] = main["env"] + [
                {
                    "name": pair["envVar"],
                    "valueFrom": {
                        "secretKeyRef": {"name": secret["secretName"], "key": pair["secretKey"]}
                    },
                }
                for pair in secret["keyToEnv"]
            ]
        if secrets := pod.get("imagePullSecret"):
            patch["imagePullSecrets"] = [{"name": secret["secretName"]} for secret in secrets]
        if "tolerations" in pod:
            patch["tolerations"] = pod["tolerations"]
        if "nodeSelector" in pod:
            patch["nodeSelector"] = pod["nodeSelector"]["labels"]
        return patch

    def _executor_input(self, name: str, task: Json, component: Json) -> Json:
        """The message to the launcher, in which an artifact brings all its properties."""
        given = task.get("inputs", {})
        values = {key: self._value(source) for key, source in given.get("parameters", {}).items()}
        artifacts = {
            key: {"artifacts": [self._artifact(**source["taskOutputArtifact"])]}
            for key, source in given.get("artifacts", {}).items()
        }
        definitions = component.get("outputDefinitions", {})
        produced = {
            **definitions.get("artifacts", {}),
            "executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}},
        }
        folder = f"{self.pipeline}/{UUID}/{name}/{UUID}"
        outputs = {
            "artifacts": {
                key: {
                    "artifacts": [
                        {
                            "name": key,
                            "type": artifact["artifactType"],
                            "uri": f"{self.pipeline_root}/{folder}/{key}",
                        }
                    ]
                }
                for key, artifact in produced.items()
            },
            "outputFile": f"/minio/mlpipeline/{folder}/output_metadata.json",
            "parameters": {
                key: {"outputFile": f"{OUTPUTS}/kfp/outputs/{key}"}
                for key in definitions.get("parameters", {})
            },
        }
        return {"inputs": {"parameterValues": values, "artifacts": artifacts}, "outputs": outputs}

    def _value(self, source: Json) -> Any:
        if "runtimeValue" in source:
            return source["runtimeValue"]["constant"]
        if "componentInputParameter" in source:
            default = self.declared[source["componentInputParameter"]].get("defaultValue")
            return "x" * 40 if default is None else default
        return "x" * 64  # an output of another task: a digest

    def _artifact(self, producerTask: str, outputArtifactKey: str) -> Json:
        produced = self.components[self.tasks[producerTask]["componentRef"]["name"]][
            "outputDefinitions"
        ]
        kind = produced["artifacts"][outputArtifactKey]["artifactType"]
        title = kind.get("schemaTitle") or yaml.safe_load(kind["instanceSchema"])["title"]
        folder = f"{self.pipeline}/{UUID}/{producerTask}/{UUID}"
        known = _KNOWN.get(title, {})
        short = {name: v for name, v in known.items() if len(str(v)) <= LONGEST_PROPERTY}
        if self.is_kept_small:
            is_checked = short != known and DECISIONS & short.keys()
            known = {**short, KEPT_PROPERTY: "0" * 22} if is_checked else short
        return {
            "name": "1234",
            "type": {"instanceSchema": ""},
            "uri": f"{self.pipeline_root}/{folder}/{outputArtifactKey}",
            "metadata": {
                "display_name": outputArtifactKey,
                SESSION_PROPERTY: "" if self.is_kept_small else go_json(_SESSION),
                **known,
            },
        }


def go_json(value: Any) -> str:
    """As Go's encoding/json writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _protojson(value: Any) -> str:
    """As protobuf's Go library writes it: some builds put a space after each comma."""
    return json.dumps(value, separators=(", ", ":"), ensure_ascii=False)


def json_bytes(value: Any) -> int:
    """Bytes of the JSON."""
    return len(go_json(value).encode())
