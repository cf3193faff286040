"""What a run on a cluster came to: the verdict on each model, and the report's page.

Contract: the verdicts come from ML Metadata and the evaluation's metrics.json, or else from the
logs of the pushers; the page from the store of artifacts, through KFP's web page. What cannot be
read is None.
"""

import io
import json
import re
import tarfile
import urllib.parse
from collections.abc import Mapping
from typing import Any

from core.artifacts import METRICS_FILE
from core.models import MODELS
from pipeline.kubeflow.access import Endpoint, fetch
from pipeline.kubeflow.logs import Logs
from pipeline.kubeflow.metadata import RunMetadata, flag, text
from pipeline.kubeflow.spec import joint_key
from pipeline.kubeflow.tasks import Seen
from pipeline.results import ModelResult, read_gate
from pipeline.terminal.display import NOT_RUN

REPORT_PAGE = "index.html"
# What the pusher's pod writes (components/pusher/component.py).
_PUSHED = re.compile(r"Pushed (\S+)$")
_NOT_PUSHED = re.compile(r"Not pushed to (\S+): (.+)$")
# The web page's names of stores, by the scheme of an artifact's URI (frontend/src/lib/
# WorkflowParser.ts of KFP).
_SOURCES = {"gs": "gcs", "s3": "s3", "minio": "minio"}


class Artifacts:
    """The files of a run's artifacts, as KFP's web page gives them."""

    def __init__(self, client: Any, endpoint: Endpoint, metadata: RunMetadata):
        self._client, self._endpoint, self.metadata = client, endpoint, metadata

    def read(self, artifact: Any, file: str) -> bytes | None:
        """A file of an artifact that is a folder; None if it cannot be read.

        From 2.17 on, a web page for several users gives only what is known to ML Metadata, where
        folders are, and gives a folder as an archive (frontend/server/handlers/artifacts.ts); up to
        2.16 it gives files alone.
        """
        content = self._get(artifact, f"/{file}")
        if content is not None:
            return content
        archive = self._get(artifact, "")
        try:
            with tarfile.open(fileobj=io.BytesIO(archive or b"")) as tar:
                member = tar.extractfile(file)
                return member.read() if member else None
        except (tarfile.TarError, KeyError, EOFError, OSError):
            return None

    def _get(self, artifact: Any, path: str) -> bytes | None:
        scheme, _, rest = artifact.uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme not in _SOURCES:
            return None
        query = {
            "namespace": self._endpoint.namespace or self.metadata.namespace,
            "providerInfo": text(artifact, "store_session_info"),
        }
        asked = urllib.parse.urlencode({name: value for name, value in query.items() if value})
        where = f"artifacts/{_SOURCES[scheme]}/{bucket}/{urllib.parse.quote(key + path)}"
        return fetch(self._client, f"{self._endpoint.web}/{where}?{asked}")


def read_report(artifacts: Artifacts) -> bytes | None:
    """The page that the report node wrote; None if it cannot be read."""
    artifact = artifacts.metadata.output("report", "report")
    page = artifacts.read(artifact, REPORT_PAGE) if artifact else None
    return page if page and page.lstrip()[:1] == b"<" else None


def model_results(artifacts: Artifacts) -> list[ModelResult]:
    """What became of every served model, by ML Metadata."""
    return [_by_metadata(artifacts, name) for name in MODELS]


def models_in_logs(logs: Logs, tasks: Mapping[str, Seen]) -> list[ModelResult]:
    """What became of every served model whose pusher left a log."""
    pods = {name: tasks.get(kind.pusher, Seen(NOT_RUN)).pod for name, kind in MODELS.items()}
    found = [_by_log(name, logs.read(MODELS[name].pusher, pod) or "") for name, pod in pods.items()]
    return [model for model in found if model]


def _by_metadata(artifacts: Artifacts, name: str) -> ModelResult:
    kind, known = MODELS[name], artifacts.metadata.output

    def output(node_id: str, key: str) -> Any | None:
        """Of the node, or of the task that joins it, which has the evaluator's name."""
        return known(node_id, key) or known(kind.evaluator, joint_key(node_id, key))

    evaluation = output(kind.evaluator, "evaluation")
    blessing, infra = output(kind.evaluator, "blessing"), output(kind.serving_check, "blessing")
    pushed = output(kind.pusher, "pushed_model")
    metrics = _metrics(artifacts.read(evaluation, METRICS_FILE) if evaluation else None)
    is_pushed = flag(pushed, "pushed") if pushed else None
    blessed = flag(blessing, "blessed") if blessing else None
    if is_pushed is not None and not metrics:
        blessed = True  # so that the pusher's words say why it was refused
    return ModelResult(
        name=name,
        gates=[read_gate(gate) for gate in metrics.get("gates", [])],
        blessed=blessed,
        quality_gates=metrics.get("quality_gates") is not False,
        infra_blessed=flag(infra, "blessed") if infra else None,
        infra_reason=text(infra, "reason") if infra else "",
        pushed=is_pushed,
        version=text(pushed, "pushed_version") if pushed else "",
        destination=text(pushed, "pushed_destination") if pushed else "",
        refusal=text(pushed, "reason") if pushed else "",
    )


def _metrics(content: bytes | None) -> dict[str, Any]:
    try:
        return json.loads(content or b"{}")
    except ValueError:
        return {}


def _by_log(name: str, log: str) -> ModelResult | None:
    """The model's result by the log of its pusher; None if that says nothing."""
    for line in reversed(log.splitlines()):
        if found := _PUSHED.search(line):
            destination = found[1]
            version = destination.rstrip("/").rpartition("/")[2]
            return ModelResult(
                name, blessed=True, pushed=True, version=version, destination=destination
            )
        if found := _NOT_PUSHED.search(line):
            return ModelResult(name, blessed=True, pushed=False, refusal=found[2])
    return None
