"""The part of a Kubernetes API server that lists a run's pods and reads their logs.

Contract: pods have the labels, annotations and containers that KFP and Argo Workflows give them
(backend/src/apiserver/template/v2_template.go:340 of KFP 2.5; workflow/controller/workflowpod.go of
Argo 4.0.5), with names by ``tests.kubeflow.argo``; the client is the real one, by a kubeconfig.
"""

import datetime
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.kubeflow import argo


def pod(
    run_id: str,
    workflow: str,
    task: str,
    phase: str = "Succeeded",
    role: str = "executor",
    attempt: int = 0,
    exit_code: int = 0,
    reason: str = "",
    evicted: str = "",
) -> dict[str, Any]:
    """A pod of a task as the API shows it, a minute long.

    Args:
        run_id: KFP's id of the run.
        workflow: Name of the workflow.
        task: Node id.
        phase: Of the pod.
        role: executor or driver.
        attempt: Number of the attempt.
        exit_code: Of the main container, once it has ended.
        reason: Why that ended, such as OOMKilled.
        evicted: Message of an eviction, of which no container tells.
    """
    start = argo.START + datetime.timedelta(minutes=2 * attempt)
    end = start + datetime.timedelta(seconds=60)
    ended = {
        "exitCode": exit_code,
        "reason": reason or ("Error" if exit_code else "Completed"),
        "startedAt": start.isoformat(),
        "finishedAt": end.isoformat(),
    }
    state = {"terminated": ended} if phase in ("Succeeded", "Failed") else {"running": {}}
    status: dict[str, Any] = {"phase": phase, "startTime": start.isoformat()}
    if evicted:
        status |= {"reason": "Evicted", "message": evicted}
    else:
        status["containerStatuses"] = [
            _container("wait", {"running": {}}),
            _container("main", state),
        ]
    return {
        "metadata": {
            "name": argo.pod_name(workflow, task, role, attempt),
            "namespace": "kubeflow",
            "creationTimestamp": start.isoformat(),
            "labels": {
                "pipeline/runid": run_id,
                "workflows.argoproj.io/workflow": workflow,
                "workflows.argoproj.io/completed": "true",
            },
            "annotations": {
                "workflows.argoproj.io/node-name": argo.node_name(workflow, task, role, attempt),
                "kubectl.kubernetes.io/default-container": "main",
            },
        },
        "spec": {"containers": [{"name": "wait"}, {"name": "main"}]},
        "status": status,
    }


def _container(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        **{"name": name, "state": state, "ready": False, "restartCount": 0},
        **{"image": "inkwell-cpu:1", "imageID": "sha256:0"},
    }


class KubernetesServer(ThreadingHTTPServer):
    """Listens on a free port of this machine while it is a context manager."""

    def __init__(self, pods: list[dict[str, Any]], logs: Mapping[str, str], status: int = 200):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pods, self.logs, self.status = pods, logs, status
        self.requests: list[str] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()

    def write_config(self, path: Path) -> Path:
        """A kubeconfig that leads here."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [
                {"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
            ],
            "users": [{"name": "me", "user": {"token": "secret"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        path.write_text(json.dumps(config))
        return path


class _Handler(BaseHTTPRequestHandler):
    server: KubernetesServer

    def log_message(self, *_) -> None:
        return None

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.requests.append(parts.path)
        status, data = self._answer(parts.path, query)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        if self.server.status != 200:
            return self.server.status, b'{"kind": "Status", "message": "forbidden"}'
        found = re.fullmatch("/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)/log)?", path)
        if found and found[2]:
            is_there = found[2] in self.server.logs and query["container"] == "main"
            return (200, self.server.logs[found[2]].encode()) if is_there else (404, b"{}")
        label, equals, value = query["labelSelector"].partition("=")
        pods = [
            pod
            for pod in self.server.pods
            if found
            and pod["metadata"]["namespace"] == found[1]
            and (pod["metadata"]["labels"].get(label) == value or not equals)
        ]
        return 200, json.dumps({"kind": "PodList", "items": pods, "metadata": {}}).encode()
