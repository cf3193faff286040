"""The tasks and artifacts of a run in KFP's ML Metadata, read through KFP's web page.

Contract: the calls and names are those of the web page itself, which passes gRPC-web at
``/ml_metadata.MetadataStoreService`` on to the store (frontend/server/app.ts:249 of KFP 2.5 to
:334 of 2.17; in Kubeflow, the gateway does: manifests/kustomize/base/metadata/options/istio). The
store keeps every task, however large the workflow is. Where there is no web page, there is no
answer, and ``RunMetadata.open`` gives None.
"""

import urllib.parse
from typing import Any, Self

from pipeline.kubeflow.access import Endpoint, fetch
from pipeline.kubeflow.tasks import Seen
from pipeline.terminal.display import CACHED, DONE, FAILED, NOT_RUN, RUNNING

_SERVICE = "ml_metadata.MetadataStoreService"
_GRPC_WEB = "application/grpc-web+proto"
_DATA, _TRAILERS = 0, 0x80  # kinds of gRPC-web's frames
_HEADER = 5  # bytes of a frame's: its kind and its length
_RUN_TYPE = "system.PipelineRun"  # backend/src/v2/metadata/client.go:55 of KFP 2.17
# States of an execution; CANCELED means that the task was not triggered (the same file, :664).
_STATES = {"COMPLETE": DONE, "CACHED": CACHED, "FAILED": FAILED, "CANCELED": NOT_RUN}


class RunMetadata:
    """What the store knows of one run."""

    def __init__(self, client: Any, url: str, context: Any):
        self._client, self._url, self._context = client, url, context
        self._executions: dict[str, Any] = {}

    @classmethod
    def open(cls, client: Any, endpoint: Endpoint, run_id: str) -> Self | None:
        """The store's knowledge of a run; None if it cannot be read, or has none of it (yet)."""
        parts = urllib.parse.urlsplit(endpoint.web)
        url = f"{parts.scheme}://{parts.netloc}/{_SERVICE}"
        found = _call(
            client, url, "GetContextByTypeAndName", type_name=_RUN_TYPE, context_name=run_id
        )
        has_it = found is not None and found.HasField("context")
        return cls(client, url, found.context) if has_it else None

    @property
    def namespace(self) -> str | None:
        """Namespace of the run's pods."""
        return text(self._context, "namespace") or None

    def tasks(self) -> dict[str, Seen]:
        """Every task whose driver has run."""
        found = _call(
            self._client, self._url, "GetExecutionsByContext", context_id=self._context.id
        )
        for execution in found.executions if found else ():
            name = text(execution, "task_name") or text(execution, "display_name")
            known = self._executions.get(name)
            if name and (known is None or known.id <= execution.id):
                self._executions[name] = execution
        return {name: _seen(execution) for name, execution in self._executions.items()}

    def output(self, node_id: str, key: str) -> Any | None:
        """The node's output artifact under ``key``, produced or cached; None if none."""
        if not self._executions:
            self.tasks()
        execution = self._executions.get(node_id)
        if execution is None:
            return None
        events = _call(
            *(self._client, self._url, "GetEventsByExecutionIDs"), execution_ids=[execution.id]
        )
        for event in events.events if events else ():
            steps = event.path.steps
            if event.type == event.OUTPUT and steps and steps[0].key == key:
                found = _call(
                    *(self._client, self._url, "GetArtifactsByID"),
                    artifact_ids=[event.artifact_id],
                )
                return found.artifacts[0] if found and found.artifacts else None
        return None


def text(record: Any, name: str) -> str:
    """A custom property of a context, execution or artifact; empty if it has none."""
    properties = record.custom_properties  # indexing would add a property
    return properties[name].string_value if name in properties else ""


def flag(record: Any, name: str) -> bool | None:
    """A custom property that is 1 or 0, as a number of any kind; None if there is none."""
    if name not in record.custom_properties:
        return None
    value = record.custom_properties[name]
    return bool(value.int_value or value.double_value)


def _seen(execution: Any) -> Seen:
    name = type(execution).State.Name(execution.last_known_state)
    state = _STATES.get(name, RUNNING)
    begin, end = execution.create_time_since_epoch, execution.last_update_time_since_epoch
    seconds = None if state == RUNNING else (end - begin) / 1000
    return Seen(state, seconds, text(execution, "pod_name"))


def _call(client: Any, url: str, method: str, **fields: Any) -> Any | None:
    """The answer of a method of the store; None if there is none."""
    from google.protobuf.message import DecodeError
    from ml_metadata.proto import metadata_store_service_pb2 as service

    request = getattr(service, f"{method}Request")(**fields).SerializeToString()
    frame = bytes([_DATA]) + len(request).to_bytes(4, "big") + request
    kinds = {"Content-Type": _GRPC_WEB, "Accept": _GRPC_WEB, "X-Grpc-Web": "1"}
    content = fetch(client, f"{url}/{method}", frame, kinds)
    answer = getattr(service, f"{method}Response")()
    try:
        answer.ParseFromString(_message(content or b""))
    except (DecodeError, ValueError):
        return None
    return answer


def _message(content: bytes) -> bytes:
    """The message in the frames of a gRPC-web answer; raises ``ValueError`` if there is none."""
    message = None
    while content:
        kind, length = content[0], int.from_bytes(content[1:_HEADER], "big")
        body = content[_HEADER : _HEADER + length]
        if len(body) < length or kind not in (_DATA, _TRAILERS):
            raise ValueError("not gRPC-web")
        if kind == _DATA:
            message = (message or b"") + body
        content = content[_HEADER + length :]
    if message is None:
        raise ValueError("no message: the trailers hold an error")
    return message
