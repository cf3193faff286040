"""ML Metadata as a run on KFP fills it, behind gRPC-web as KFP's web page passes it on.

Contract: the answers are those of ML Metadata's own code, on a store in memory; what is in it
follows the driver and the launcher of KFP 2.17 (backend/src/v2/metadata/client.go).
"""

import threading
from collections.abc import Mapping
from typing import Any

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb
from ml_metadata.proto import metadata_store_service_pb2 as service

_STATES = {
    "PENDING": pb.Execution.RUNNING,
    "RUNNING": pb.Execution.RUNNING,
    "KILLED": pb.Execution.RUNNING,  # the launcher died with the task and reported no end
    "SUCCEEDED": pb.Execution.COMPLETE,
    "CACHED": pb.Execution.CACHED,
    "FAILED": pb.Execution.FAILED,
}
Outputs = Mapping[str, tuple[str, Mapping[str, Any]]]  # by key: URI and properties


class Store:
    """The metadata of all runs of a server."""

    def __init__(self):
        config = pb.ConnectionConfig()
        config.fake_database.SetInParent()
        self._store = metadata_store.MetadataStore(config)
        self._lock = threading.Lock()  # the store belongs to one thread at a time
        put = self._store.put_context_type
        self._run_type = put(pb.ContextType(name="system.PipelineRun"))
        self._task_type = self._store.put_execution_type(
            pb.ExecutionType(name="system.ContainerExecution")
        )
        self._artifact_type = self._store.put_artifact_type(pb.ArtifactType(name="Model"))
        self._runs: dict[str, pb.Context] = {}
        self._executions: dict[tuple[str, str], pb.Execution] = {}

    def record(
        self, run_id: str, namespace: str, task: str, word: str, pod: str, outputs: Outputs
    ) -> None:
        """Puts a task's state, and its outputs if it has ended well."""
        with self._lock:
            context = self._run(run_id, namespace)
            execution = self._executions.get((run_id, task))
            if execution is None:
                execution = pb.Execution(type_id=self._task_type)
                for name in ("task_name", "display_name"):
                    execution.custom_properties[name].string_value = task
            if word not in ("PENDING", "CACHED"):  # the launcher writes the pod's name
                execution.custom_properties["pod_name"].string_value = pod
            is_new_state = execution.last_known_state != _STATES[word]
            execution.last_known_state = _STATES[word]
            pairs = []
            if is_new_state and word in ("SUCCEEDED", "CACHED"):
                pairs = [self._output(key, *output) for key, output in outputs.items()]
            execution.id, _, _ = self._store.put_execution(execution, pairs, [context])
            [self._executions[run_id, task]] = self._store.get_executions_by_id([execution.id])

    def call(self, method: str, content: bytes) -> bytes:
        """The gRPC-web answer to a gRPC-web request, as Envoy makes it."""
        request = getattr(service, f"{method}Request").FromString(content[5:])
        answer = getattr(service, f"{method}Response")()
        try:
            with self._lock:
                self._store._call(method, request, answer)
        except errors.StatusError as error:
            return _frame(0x80, f"grpc-status:{error.error_code}\r\n".encode())
        return _frame(0, answer.SerializeToString()) + _frame(0x80, b"grpc-status:0\r\n")

    def _run(self, run_id: str, namespace: str) -> pb.Context:
        if run_id not in self._runs:
            context = pb.Context(type_id=self._run_type, name=run_id)
            context.custom_properties["namespace"].string_value = namespace
            [context.id] = self._store.put_contexts([context])
            self._runs[run_id] = context
        return self._runs[run_id]

    def _output(self, key: str, uri: str, properties: Mapping[str, Any]) -> tuple[Any, Any]:
        artifact = pb.Artifact(type_id=self._artifact_type, uri=uri)
        for name, value in {"display_name": key, "store_session_info": "{}", **properties}.items():
            if isinstance(value, str):
                artifact.custom_properties[name].string_value = value
            else:  # every number becomes a double (metadata/converter.go)
                artifact.custom_properties[name].double_value = value
        event = pb.Event(type=pb.Event.OUTPUT)
        event.path.steps.add(key=key)
        return artifact, event


def _frame(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + len(content).to_bytes(4, "big") + content
