import json
from pathlib import Path

import pytest

pb = pytest.importorskip("ml_metadata.proto.metadata_store_pb2")

from core.origin import public_metrics  # noqa: E402
from pipeline.local.metadata import RunMetadata  # noqa: E402
from serving.versions import list_versions, newest_version  # noqa: E402

LIVE, ABANDONED = pb.Artifact.LIVE, pb.Artifact.ABANDONED


class World:
    """A metadata store and a serving directory, filled as the pipeline's nodes would."""

    def __init__(self, root: Path):
        self.root = root
        self.serving = root / "serving"
        self.metadata = RunMetadata(root / "metadata.sqlite", "inkwell")
        self.store = self.metadata._store

    def artifact(self, type_name: str, uri: Path, **properties) -> int:
        type_id = self.store.put_artifact_type(pb.ArtifactType(name=type_name))
        artifact = pb.Artifact(type_id=type_id, uri=str(uri), state=LIVE)
        for name, value in properties.items():
            field = "int_value" if isinstance(value, int) else "string_value"
            setattr(artifact.custom_properties[name], field, value)
        [artifact_id] = self.store.put_artifacts([artifact])
        return artifact_id

    def evaluate(self, name: str, champion: str | None) -> int:
        """An evaluation of the GAN that met the version ``champion``."""
        uri = self.root / name
        uri.mkdir()
        met = champion and {"version": champion, "path": str(self.serving / "gan" / champion)}
        metrics = {"model": "gan", "champion": met, "created": name}
        (uri / "metrics.json").write_text(json.dumps(metrics))
        return self.artifact("ModelEvaluation", uri)

    def push(self, version: str, evaluation: str) -> int:
        folder = self.serving / "gan" / version
        (folder / "assets.extra").mkdir(parents=True)
        judged = self.root / evaluation / "metrics.json"
        metrics = json.loads(judged.read_text()) if judged.exists() else {"model": "gan"}
        published = json.dumps(public_metrics(metrics))
        (folder / "assets.extra" / "metrics.json").write_text(published)
        return self.artifact(
            "PushedModel", self.root / f"p{version}", pushed=1, pushed_destination=str(folder)
        )

    def forget(self) -> int:
        return self.metadata.forget_superseded(self.serving)

    def is_live(self, artifact_id: int) -> bool:
        [artifact] = self.store.get_artifacts_by_id([artifact_id])
        return artifact.state == LIVE


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_a_run_whose_models_are_the_newest_in_serving_is_kept(world):
    evaluation = world.evaluate("e1", champion=None)
    pushed = world.push("1", "e1")
    assert world.forget() == 0
    assert world.is_live(evaluation) and world.is_live(pushed)


def test_a_push_whose_version_was_deleted_is_forgotten_and_its_evaluation_kept(world):
    evaluation = world.evaluate("e1", champion=None)
    pushed = world.push("1", "e1")
    (world.serving / "gan" / "1").rename(world.root / "away")
    assert world.forget() == 1
    assert world.is_live(evaluation) and not world.is_live(pushed)


def test_what_another_push_superseded_is_forgotten(world):
    old = world.evaluate("e1", champion=None), world.push("1", "e1")
    new = world.evaluate("e2", champion="1"), world.push("2", "e2")
    assert world.forget() == 2
    assert not any(world.is_live(artifact) for artifact in old)
    assert all(world.is_live(artifact) for artifact in new)


def test_a_rejection_is_kept_as_long_as_its_champion_serves(world):
    world.evaluate("e1", champion=None)
    world.push("1", "e1")
    rejected = world.evaluate("e2", champion="1")
    not_pushed = world.artifact("PushedModel", world.root / "p", pushed=0)
    world.forget()
    assert world.is_live(rejected) and world.is_live(not_pushed)
    world.evaluate("e3", champion="1")
    world.push("2", "e3")
    world.forget()
    assert not world.is_live(rejected) and world.is_live(not_pushed)


def test_a_push_that_was_refused_for_its_champion_is_tried_again(world):
    properties = {"pushed": 0, "superseded": 1, "reason": "Compared with no version."}
    refused = world.artifact("PushedModel", world.root / "p", **properties)
    assert world.forget() == 1 and not world.is_live(refused)


def test_forgetting_twice_changes_nothing_more(world):
    world.evaluate("e1", champion="7")
    assert (world.forget(), world.forget()) == (1, 0)


def test_versions_are_numbers_in_numeric_order(tmp_path):
    for name in ("9", "10", "staging-11", "latest"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").write_text("a file")
    assert [version.path.name for version in list_versions(tmp_path)] == ["9", "10"]
    assert newest_version(tmp_path).path.name == "10"
    assert newest_version(tmp_path / "nowhere") is None
