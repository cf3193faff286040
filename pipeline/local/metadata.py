"""Reads the ML Metadata of a run: states, blessings, pushes; and invalidates stale cache entries.

Contract: works on the SQLite store of one profile, with no TFX import, through ml_metadata alone.
Artifacts are linked by URI, never by id; a URI is a path below the directory of the profile, so
that this can be moved.
"""

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from core.artifacts import METRICS_FILE, MODEL_DIGEST, SUPERSEDED, read_json
from core.models import MODELS
from core.origin import DATA_PROPERTY, public_metrics
from pipeline.results import ModelResult, read_gate
from serving.releases import served_version
from serving.versions import extra_file

_PAGE = "index.html"


@dataclasses.dataclass(frozen=True)
class Graph:
    """Which execution of which node read and wrote which artifacts; executions are numbers."""

    nodes: Mapping[int, str]  # id of the node of each execution, oldest first
    finished: Collection[int]  # executions that ended well, those taken from the cache included
    runs: Mapping[str, Collection[int]]  # executions of each run
    inputs: Mapping[int, Collection[str]]  # URIs by execution
    outputs: Mapping[int, Collection[str]]
    pushes: Mapping[str, str]  # directory of the pushed version, by URI of the push
    digests: Mapping[str, str]  # of models, and of the data of examples and statistics, by URI

    def makers(self, uris: Collection[str]) -> set[int]:
        """Executions that wrote an artifact, or took it from the cache."""
        return {number for number, written in self.outputs.items() if set(written) & set(uris)}

    def upstream(self, executions: Iterable[int]) -> set[int]:
        """The executions, and all that made what they read, directly or not."""
        makers: dict[str, list[int]] = {}
        for number, written in self.outputs.items():
            for uri in written:
                makers.setdefault(uri, []).append(number)
        reached, waiting = set(), list(executions)
        while waiting:
            number = waiting.pop()
            if number not in reached:
                reached.add(number)
                # What was taken from the cache is needed with the execution that wrote it.
                for uri in (*self.inputs.get(number, ()), *self.outputs.get(number, ())):
                    waiting.extend(makers.get(uri, ()))
        return reached


class RunMetadata:
    """The metadata store of one profile."""

    def __init__(self, path: Path, pipeline_name: str):
        self._pipeline, self._folder = pipeline_name, path.parent
        connection = pb.ConnectionConfig()
        connection.sqlite.filename_uri = str(path)
        connection.sqlite.connection_mode = 3  # READWRITE_OPENCREATE
        self._store = metadata_store.MetadataStore(connection)

    def state(self, run_id: str, node_id: str) -> str | None:
        """MLMD's last known state of the node in the run, None if it has no execution."""
        execution = self._execution(run_id, node_id)
        if execution is None:
            return None
        return pb.Execution.State.Name(execution.last_known_state)

    def outputs(self, run_id: str, node_id: str) -> dict[str, Any]:
        """The node's output artifacts by key, produced or cached; empty if it did not run."""
        execution = self._execution(run_id, node_id)
        if execution is None:
            return {}
        events = self._store.get_events_by_execution_ids([execution.id])
        ids = {e.path.steps[0].key: e.artifact_id for e in events if e.type == pb.Event.OUTPUT}
        found = {made.id: made for made in self._store.get_artifacts_by_id(list(ids.values()))}
        return {key: found[number] for key, number in ids.items()}

    def output(self, run_id: str, node_id: str, key: str) -> Any | None:
        """The node's output artifact under ``key``, produced or cached; None if none."""
        return self.outputs(run_id, node_id).get(key)

    def directory(self, artifact: Any) -> Path:
        """Where an artifact lies."""
        return self._folder / artifact.uri

    def graph(self) -> Graph:
        """Everything that the store knows of executions and artifacts."""
        nodes, runs = {}, {}
        for context in self._store.get_contexts_by_type("node"):
            for execution in self._store.get_executions_by_context(context.id):
                nodes[execution.id] = context.name.removeprefix(f"{self._pipeline}.")
        for context in self._store.get_contexts_by_type("pipeline_run"):
            found = self._store.get_executions_by_context(context.id)
            runs[context.name] = {execution.id for execution in found}
        ended = (pb.Execution.COMPLETE, pb.Execution.CACHED)
        executions = self._store.get_executions()
        artifacts = {artifact.id: artifact for artifact in self._store.get_artifacts()}
        read: dict[int, list[str]] = {}
        written: dict[int, list[str]] = {}
        for event in self._store.get_events_by_execution_ids(sorted(nodes)):
            found = read if event.type == pb.Event.INPUT else written
            found.setdefault(event.execution_id, []).append(artifacts[event.artifact_id].uri)
        pushes = {a.uri: _text(a, "pushed_destination") for a in artifacts.values()}
        return Graph(
            nodes=dict(sorted(nodes.items())),
            finished={e.id for e in executions if e.last_known_state in ended},
            runs=runs,
            inputs=read,
            outputs=written,
            pushes={uri: destination for uri, destination in pushes.items() if destination},
            digests={a.uri: digest for a in artifacts.values() if (digest := _digest(a))},
        )

    def models(self, run_id: str) -> list[ModelResult]:
        """What became of every served model."""
        return [self._model(run_id, name) for name in MODELS]

    def report(self, run_id: str) -> str | None:
        """Path of the page that the report node wrote."""
        artifact = self.output(run_id, "report", "report")
        return str(self.directory(artifact) / _PAGE) if artifact else None

    def forget_superseded(self, serving_dir: Path) -> int:
        """Invalidates cached results that no longer agree with the serving directory.

        TFX's cache does not see the outside world: after a pushed version was deleted, or another
        one was pushed on top of it, a cached push would claim a model that is not in serving, and a
        cached evaluation would have used another champion. A push that was refused for its champion
        may be allowed now. Their artifacts are marked abandoned in MLMD, and TFX takes only live
        ones from the cache, so those nodes run again.

        Returns:
            Number of artifacts that were invalidated.
        """
        stale = []
        for artifact in self._live("PushedModel"):
            if _flag(artifact, "pushed"):
                destination = Path(_text(artifact, "pushed_destination"))
                served = served_version(destination.parent.parent, destination.parent.name)
                is_stale = destination != served
            else:
                is_stale = _flag(artifact, SUPERSEDED)
            if is_stale:
                stale.append(artifact)
        for artifact in self._live("ModelEvaluation"):
            metrics = read_json(self.directory(artifact) / METRICS_FILE)
            if metrics and not _met_champion(metrics, serving_dir):
                stale.append(artifact)
        self._abandon(stale)
        return len(stale)

    def abandon(self, uris: Collection[str]) -> None:
        """Keeps TFX from taking artifacts from its cache."""
        self._abandon([found for found in self._store.get_artifacts() if found.uri in uris])

    def _abandon(self, artifacts: list[Any]) -> None:
        for artifact in artifacts:
            artifact.state = pb.Artifact.ABANDONED
        if artifacts:
            self._store.put_artifacts(artifacts)

    def _live(self, type_name: str) -> list[Any]:
        artifacts = self._store.get_artifacts_by_type(type_name)
        return [a for a in artifacts if a.state == pb.Artifact.LIVE]

    def _execution(self, run_id: str, node_id: str) -> Any | None:
        run = self._store.get_context_by_type_and_name("pipeline_run", run_id)
        node = self._store.get_context_by_type_and_name("node", f"{self._pipeline}.{node_id}")
        if run is None or node is None:
            return None
        of_run = self._store.get_executions_by_context(run.id)
        of_node = {e.id for e in self._store.get_executions_by_context(node.id)}
        found = [e for e in of_run if e.id in of_node]
        return max(found, key=lambda e: e.id) if found else None

    def _model(self, run_id: str, name: str) -> ModelResult:
        kind = MODELS[name]
        evaluation = self.output(run_id, kind.evaluator, "evaluation")
        blessing = self.output(run_id, kind.evaluator, "blessing")
        infra = self.output(run_id, kind.serving_check, "blessing")
        pushed = self.output(run_id, kind.pusher, "pushed_model")
        metrics = read_json(self.directory(evaluation) / METRICS_FILE) if evaluation else None
        return ModelResult(
            name=name,
            gates=[read_gate(gate) for gate in (metrics or {}).get("gates", [])],
            blessed=_flag(blessing, "blessed"),
            quality_gates=(metrics or {}).get("quality_gates") is not False,
            infra_blessed=_flag(infra, "blessed"),
            infra_reason=_text(infra, "reason"),
            pushed=_flag(pushed, "pushed"),
            version=_text(pushed, "pushed_version"),
            destination=_text(pushed, "pushed_destination"),
            refusal=_text(pushed, "reason") if _flag(pushed, SUPERSEDED) else "",
        )


def _met_champion(metrics: dict[str, Any], serving_dir: Path) -> bool:
    """Whether this evaluation used the current champion, or is the one that approved it."""
    champion = served_version(serving_dir, metrics["model"])
    met = metrics.get("champion")
    if champion is None:
        return met is None
    approved = public_metrics(read_json(extra_file(champion, METRICS_FILE)) or {})
    if approved == public_metrics(metrics):
        return True
    return met is not None and met["version"] == champion.name


def _digest(artifact: Any) -> str:
    """Of a model's files, or of the data that it holds or describes; empty for others."""
    data = _text(artifact, DATA_PROPERTY)
    return json.loads(data)["digest"] if data else _text(artifact, MODEL_DIGEST)


def _flag(artifact: Any | None, name: str) -> bool | None:
    return bool(_property(artifact, name).int_value) if artifact else None


def _text(artifact: Any | None, name: str) -> str:
    return _property(artifact, name).string_value if artifact else ""


def _property(artifact: Any, name: str) -> Any:
    """The property, or an empty one. Indexing would add that, which the store then refuses."""
    return artifact.custom_properties.get(name, pb.Value())
