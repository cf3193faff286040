"""The pods of a run, read from Kubernetes where the user has access to the cluster.

Contract: works with the access of ``kubectl`` (KUBECONFIG, ~/.kube/config, or the pod's own
account) and reads pods and their logs alone. Without access ``RunPods.open`` gives None; where
another cluster answers, there are no tasks. Labels and annotations are those of KFP and Argo.
"""

import dataclasses
import os
import re
from collections.abc import Callable
from typing import Any, Self

from pipeline.kubeflow.tasks import Seen
from pipeline.terminal.display import CACHED, DONE, FAILED, RUNNING

_DEFAULT_NAMESPACE = "kubeflow"  # of KFP's own installation for one user
# backend/src/common/util/consts.go:43 of KFP; v2_template.go:340 sets it on every pod.
_RUN_LABEL = "pipeline/runid"
# workflow/common/common.go:31 of Argo Workflows 4.0; workflow/controller/workflowpod.go sets it.
_NODE_NAME = "workflows.argoproj.io/node-name"
_MAIN = "main"  # container of the task's own process
_TIMEOUT = (3.0, 10.0)  # seconds to connect and to read
_TAIL = 100  # lines of a log


@dataclasses.dataclass(frozen=True)
class _Pods:
    """The last pods of one task."""

    driver: Any | None = None
    executor: Any | None = None


class RunPods:
    """The pods of one run."""

    def __init__(self, core: Any, namespace: str, run_id: str):
        self._core, self._namespace, self._run_id = core, namespace, run_id

    @classmethod
    def open(cls, run_id: str, namespace: str | None) -> Self | None:
        """The pods of a run in a namespace; None if they cannot be read."""
        import urllib3
        import yaml

        from kubernetes import client, config

        path = os.environ.get("KUBECONFIG")  # which kubernetes reads only when it is imported
        try:
            config.load_kube_config(path) if path else config.load_config()
        except (config.ConfigException, OSError, yaml.YAMLError, TypeError, AttributeError):
            return None  # none, or one that is not a kubeconfig
        settings = client.Configuration.get_default_copy()
        settings.retries = urllib3.Retry(0)
        core = client.CoreV1Api(client.ApiClient(settings))
        pods = cls(core, namespace or _DEFAULT_NAMESPACE, run_id)
        return pods if pods._list() is not None else None

    def tasks(self, over: bool) -> dict[str, Seen]:
        """Every task of which there is a pod.

        Args:
            over: Whether the run has ended.
        """
        found: dict[str, _Pods] = {}
        for pod in sorted(self._list() or [], key=lambda pod: pod.metadata.creation_timestamp):
            node_id, role = _place((pod.metadata.annotations or {}).get(_NODE_NAME, ""))
            if node_id:
                known = found.get(node_id, _Pods())
                found[node_id] = dataclasses.replace(known, **{role: pod})
        return {node_id: _seen(pods, over) for node_id, pods in found.items()}

    def log(self, pod: str) -> str | None:
        """The end of the log of a pod's main container; None if it cannot be read."""
        return _ask(
            lambda: self._core.read_namespaced_pod_log(
                *(pod, self._namespace),
                container=_MAIN,
                tail_lines=_TAIL,
                _request_timeout=_TIMEOUT,
            )
        )

    def _list(self) -> list[Any] | None:
        answer = _ask(
            lambda: self._core.list_namespaced_pod(
                self._namespace,
                label_selector=f"{_RUN_LABEL}={self._run_id}",
                _request_timeout=_TIMEOUT,
            )
        )
        return answer.items if answer else None


def _ask(call: Callable[[], Any]) -> Any | None:
    """The answer of Kubernetes; None if it has none for this user."""
    import urllib3
    from kubernetes.client import ApiException

    try:
        return call()
    except (ApiException, urllib3.exceptions.HTTPError, OSError):
        return None


def _place(node_name: str) -> tuple[str, str]:
    """Node id and role of a pod, by the name of its node in the workflow.

    ``inkwell-x7k2p(0).root(0).gan(0).executor(1)`` is the second attempt of ``gan``;
    ``inkwell-x7k2p.root.gan-driver`` its driver. Where every step is retried by default, as KFP
    2.17 has it, each has a number; else only the attempts of a task with retries.
    """
    path = [re.sub(r"\(\d+\)$", "", step) for step in node_name.split(".")]
    if len(path) == 4 and path[-1] == "executor":
        return path[-2], "executor"
    if len(path) == 3 and path[-1].endswith("-driver"):
        return path[-1].removesuffix("-driver"), "driver"
    return "", ""


def _seen(pods: _Pods, over: bool) -> Seen:
    pod: Any = pods.executor or pods.driver
    phase = pod.status.phase
    if phase == "Failed":
        return Seen(FAILED, _seconds(pod), pod.metadata.name, _reason(pod))
    if phase != "Succeeded":
        return Seen(RUNNING, None, pod.metadata.name)
    if pods.executor is None:  # the driver took it from the cache, or the executor is to come
        return Seen(CACHED if over else RUNNING, _seconds(pod) if over else None, pod.metadata.name)
    return Seen(DONE, _seconds(pod), pod.metadata.name)


def _main_end(pod: Any) -> Any | None:
    """How the main container of a pod ended; None if it did not."""
    statuses = pod.status.container_statuses or []
    states = [status.state for status in statuses if status.name == _MAIN]
    return states[0].terminated if states and states[0] else None


def _seconds(pod: Any) -> float | None:
    end, start = _main_end(pod), pod.status.start_time
    if end is None or end.finished_at is None or start is None:
        return None
    return (end.finished_at - start).total_seconds()


def _reason(pod: Any) -> str:
    """``OOMKilled, exit code 137``, or ``Evicted: The node was low on memory.``"""
    if pod.status.reason:
        return ": ".join(filter(None, (pod.status.reason, pod.status.message)))
    end = _main_end(pod)
    if end is None:
        return pod.status.message or ""
    words = [end.reason] if end.reason and end.reason != "Error" else []
    return ", ".join([*words, f"exit code {end.exit_code}"])
