"""The log of a task's pod, through whatever shows it: Kubernetes, KFP's web page, KFP's API.

Contract: the last line of the task's own process is free of those of KFP's launcher and of Argo
around it, unless these are what failed; None where nothing shows the log. A pod whose name no
source knows is looked for under the names that Argo makes.
"""

import collections
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from pipeline.kubeflow.access import Endpoint, fetch
from pipeline.kubeflow.pods import RunPods
from pipeline.kubeflow.tasks import details

# Lines of the launcher (glog, "I1126 15:22:14.000 main.go:1] ...") and of Argo's emissary.
_NOT_OURS = re.compile(r'[IWEF]\d{4} \d\d:|time="?\d{4}-|\{"time":|\s*$|Error: exit status \d+$')
_FATAL = re.compile(r"F\d{4} [^\]]*\] (.+)")  # the last word of a driver or launcher that fails
_OF_PROCESS = re.compile(r"exit status \d+$")  # of the launcher, about the task's own process
_MOST_ATTEMPTS = 3  # looked for, the last first


class Logs:
    """The logs of the pods of one run.

    Args:
        client: As ``connect`` gives it.
        endpoint: The same endpoint.
        run: As the API shows it.
        pods: Those of the run, where Kubernetes can be asked.
        namespace: Of the pods, where it is known.
    """

    def __init__(
        self, client: Any, endpoint: Endpoint, run: Any, pods: RunPods | None, namespace: str | None
    ):
        self._client, self.endpoint, self._run = client, endpoint, run
        self._pods, self._namespace = pods, namespace

    def read(self, node_id: str, pod: str = "") -> str | None:
        """The log of a task: of its pod, or of the last one under a name that Argo makes."""
        names = [pod] if pod else pod_names(self._run, node_id)
        return next((log for name in names if (log := self._of_pod(name))), None)

    def last_line(self, node_id: str, pod: str = "") -> str | None:
        """The last line that the task's own process wrote, or KFP's if that is what failed."""
        lines = (self.read(node_id, pod) or "").splitlines()[::-1]
        own = next((line for line in lines if not _NOT_OURS.match(line)), None)
        fatal = next((found[1] for line in lines if (found := _FATAL.match(line))), None)
        is_of_kfp = fatal and not _OF_PROCESS.search(fatal)
        return fatal if is_of_kfp else own

    def _of_pod(self, pod: str) -> str | None:
        if self._pods and (log := self._pods.log(pod)):
            return log
        created = self._run.created_at
        query = {
            "podname": pod,
            "runid": self._run.run_id,
            "podnamespace": self._namespace,
            "createdat": created and f"{created:%Y-%m-%d}",
        }
        asked = urllib.parse.urlencode({name: value for name, value in query.items() if value})
        # frontend/server/handlers/pod-logs.ts of KFP; the API's own: backend/src/apiserver/
        # main.go:285 of 2.5, :515 of 2.17, which the web page does not pass on.
        run_id = urllib.parse.quote(self._run.run_id)
        for url in (
            f"{self.endpoint.web}/k8s/pod/logs?{asked}",
            f"{self.endpoint.url.rstrip('/')}/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log",
        ):
            content = fetch(self._client, url)
            if content and not _is_refusal(content):
                return content.decode(errors="replace")
        return None


def _is_refusal(content: bytes) -> bool:
    """Whether the answer is an error or a web page, although its status is 200.

    (run_log_server.go:60 of KFP's API server writes the status before it reads the log.)
    """
    if content.lstrip()[:1] == b"<":
        return True
    try:
        said = json.loads(content)
    except ValueError:
        return False
    return isinstance(said, dict) and "error_message" in said


def pod_names(run: Any, node_id: str) -> Iterator[str]:
    """Names that the pods of a task may have, the last attempt first, then its driver.

    Argo makes them from the workflow, the template and a hash of the node's name (GeneratePodName
    in workflow/util/pod_name.go of 4.0); the templates are KFP's (container.go:169,279 of 2.5 and
    :187,364 of 2.17 in backend/src/v2/compiler/argocompiler).
    """
    workflow = _workflow(run)
    if not workflow:
        return
    names = {detail.display_name for detail in details(run)}
    step = "(0)" if f"{workflow}(0)" in names else ""  # every step is retried by default
    task = f"{workflow}{step}.root{step}.{node_id}"
    templates = ("retry-system-container-impl", "system-container-impl")
    for template in (*templates, f"{node_id}-system-container-impl"):
        attempts = [f"({attempt})" for attempt in reversed(range(_MOST_ATTEMPTS))]
        for attempt in attempts if step else [*attempts, ""]:
            yield f"{workflow}-{template}-{_hash(f'{task}{step}.executor{attempt}')}"
    yield f"{workflow}-system-container-driver-{_hash(f'{task}-driver{step}')}"


def _workflow(run: Any) -> str:
    """Name of the workflow: what the ids of its nodes begin with; empty if none is known."""
    children = [child.pod_name for entry in details(run) for child in entry.child_tasks or []]
    counts = collections.Counter(name.rpartition("-")[0] for name in children if name)
    return counts.most_common(1)[0][0] if counts else ""


def _hash(text: str) -> int:
    """FNV-1a of 32 bits, as Argo has it."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
