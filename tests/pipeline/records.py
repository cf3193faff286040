"""Past runs on disk, written as the runner and the nodes write them, without running anything."""

import dataclasses
import json
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as pb

from core.models import MODELS
from core.origin import DATA_PROPERTY
from pipeline.local.database import DATABASE
from pipeline.local.metadata import RunMetadata
from pipeline.results import GateResult, ModelResult, NodeResult, RunResult, save_result

GATE = GateResult("FD", True, 4.5, 10.0, "max", "FD is 4.5.", (4.0, 5.0), metric="fd")


class Place:
    """A directory of runs: ``out/smoke``."""

    def __init__(self, root: Path):
        self.output, self.folder = root / "out", root / "out" / "smoke"
        self.folder.mkdir(parents=True)
        self.store = RunMetadata(self.folder / DATABASE, "inkwell")._store
        self._artifacts: dict[str, int] = {}

    def execute(
        self,
        run_id: str,
        node_id: str,
        outputs: dict[str, dict[str, str]],
        reads: tuple[str, ...] = (),
        state: int = pb.Execution.COMPLETE,
        cached: tuple[str, ...] = (),
    ) -> list[str]:
        """One execution of a node; returns the URIs of what it wrote, or took from the cache.

        Args:
            run_id: Of its run.
            node_id: Of the node.
            outputs: Custom properties of each artifact by key; its directory gets one file.
            reads: URIs.
            state: Of the execution.
            cached: URIs of the outputs of an execution that was taken from the cache.
        """
        kind = self.store.put_execution_type(pb.ExecutionType(name=node_id))
        [number] = self.store.put_executions([pb.Execution(type_id=kind, last_known_state=state)])
        uris = list(cached)
        for key, properties in outputs.items():
            uri = f"pipeline/{node_id}/{key}/{number}"
            (self.folder / uri).mkdir(parents=True)
            (self.folder / uri / "content").write_text(node_id)
            artifact_type = self.store.put_artifact_type(pb.ArtifactType(name=key))
            artifact = pb.Artifact(type_id=artifact_type, uri=uri, state=pb.Artifact.LIVE)
            for name, value in properties.items():
                artifact.custom_properties[name].string_value = value
            [self._artifacts[uri]] = self.store.put_artifacts([artifact])
            uris.append(uri)
        events = [(pb.Event.OUTPUT, uri) for uri in uris] + [(pb.Event.INPUT, uri) for uri in reads]
        for direction, uri in events:
            event = pb.Event(artifact_id=self._artifacts[uri], execution_id=number, type=direction)
            event.path.steps.add().key = uri.split("/")[2]
            self.store.put_events([event])
        contexts = [
            self._context(*c) for c in (("pipeline_run", run_id), ("node", f"inkwell.{node_id}"))
        ]
        links = [pb.Association(execution_id=number, context_id=found) for found in contexts]
        self.store.put_attributions_and_associations([], links)
        return uris

    def _context(self, kind: str, name: str) -> int:
        found = self.store.get_context_by_type_and_name(kind, name)
        if found:
            return found.id
        number = self.store.put_context_type(pb.ContextType(name=kind))
        return self.store.put_contexts([pb.Context(type_id=number, name=name)])[0]

    def measure(self, run_id: str, model: str, *figures: dict) -> str:
        """The evaluation of a model; the last metric is the primary."""
        node_id = MODELS[model].evaluator
        [uri] = self.execute(run_id, node_id, {"evaluation": {}})
        metrics = {"figures": figures, "primary": figures[-1]["name"] if figures else None}
        (self.folder / uri / "metrics.json").write_text(json.dumps(metrics))
        return uri

    def read_data(self, run_id: str, digest: str) -> str:
        """The examples of a run."""
        data = json.dumps({"digest": digest, "max_images": None})
        [uri] = self.execute(run_id, "example-gen", {"examples": {DATA_PROPERTY: data}})
        return uri

    def record(self, run_id: str, settings: dict, commit: str = "", **given) -> None:
        """The record of a run with the GAN alone."""
        gan = dataclasses.replace(ModelResult("gan", [GATE], True, True, "", True, "18"), **given)
        result = RunResult(
            run_id=run_id,
            profile="smoke",
            started="2026-08-21T10:15:00+00:00",
            seconds=725.4,
            nodes=[NodeResult("gan", "done", 61.25)],
            models=[gan],
            report=None,
            log=str(self.folder / "logs" / f"{run_id}.log"),
        )
        origin = {"commit": commit, "packages": {"keras": "3.15.1"}} if commit else {}
        save_result(result, settings, self.folder, origin)


def metric(name: str, value: float, low: float, high: float, better: str = "lower") -> dict:
    """One entry of metrics.json."""
    return {
        "name": name,
        "title": name.upper(),
        "value": value,
        "interval": [low, high],
        "better": better,
    }
