"""``inkwell evaluate`` on real SavedModels, found through real metadata as a run leaves it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.files import digests
from pipeline.results import RunResult, save_result
from tests.conftest import ROOT

pb = pytest.importorskip("ml_metadata.proto.metadata_store_pb2")

SMALL = (
    *("evaluator.samples=300", "evaluator.batch_size=200", "evaluator.inception_splits=2"),
    "evaluator.gates.gan="
    "[{metric: missing_modes, direction: max, threshold: 0, retrain_spread: 0}]",
)


class Outputs:
    """An outputs directory whose runs trained the models that they are given."""

    def __init__(self, root: Path, judge_uri: str, examples_uri: str):
        from pipeline.local.metadata import RunMetadata

        self.root, self.serving = root / "outputs", root / "serving"
        self._shared = {"judge": judge_uri, "transform": examples_uri}
        (self.root / "smoke").mkdir(parents=True)
        self._store = RunMetadata(self.root / "smoke" / "metadata.sqlite", "inkwell")._store

    def run(self, run_id: str, **trained: str) -> None:
        """A run with judge and examples, and a model directory by node."""
        keys = {"transform": "transformed_examples"}
        for node_id, uri in {**self._shared, **trained}.items():
            self._output(run_id, node_id, keys.get(node_id, "model"), uri)
        result = RunResult(
            run_id=run_id,
            profile="smoke",
            started="2026-11-24T21:00:00+00:00",
            seconds=1.0,
            nodes=[],
            models=[],
            report=None,
            log="",
        )
        save_result(result, {}, self.root / "smoke")

    def serve(self, version: str, uri: str) -> None:
        """Pushes the GAN in ``uri``."""
        folder = self.serving / "gan" / version
        shutil.copytree(f"{uri}/Format-Serving", folder)
        (folder / "assets.extra").mkdir(exist_ok=True)
        lineage = {"files": digests(f"{uri}/Format-Serving")}
        (folder / "assets.extra" / "lineage.json").write_text(json.dumps(lineage))

    def evaluate(self, *arguments: str) -> subprocess.CompletedProcess:
        settings = [part for setting in SMALL for part in ("--set", setting)]
        return subprocess.run(
            [sys.executable, "-m", "pipeline.cli.main", "evaluate", *arguments, *settings]
            + ["--output", str(self.root), "--set", f"serving_dir={self.serving}"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def _output(self, run_id: str, node_id: str, key: str, uri: str) -> None:
        store = self._store
        contexts = []
        for kind, name in (("pipeline_run", run_id), ("node", f"inkwell.{node_id}")):
            type_id = store.put_context_type(pb.ContextType(name=kind))
            found = store.get_context_by_type_and_name(kind, name)
            contexts.append(found or pb.Context(type_id=type_id, name=name))
        artifact_type = store.put_artifact_type(pb.ArtifactType(name="Model"))
        execution_type = store.put_execution_type(pb.ExecutionType(name=node_id))
        event = pb.Event(type=pb.Event.OUTPUT)
        event.path.steps.add().key = key
        store.put_execution(
            pb.Execution(type_id=execution_type, last_known_state=pb.Execution.COMPLETE),
            [(pb.Artifact(type_id=artifact_type, uri=uri), event)],
            contexts,
        )


@pytest.fixture
def outputs(tmp_path, judge_uri, examples_uri) -> Outputs:
    return Outputs(tmp_path, judge_uri, examples_uri)


def test_the_newest_trained_model_is_measured_and_nothing_served_is_changed(
    outputs, gan_uri, tmp_path
):
    good = gan_uri("real")
    outputs.run("20261124-100000", gan=gan_uri("collapsed"))
    outputs.run("20261124-110000", gan=good)
    outputs.run("20261124-120000")  # ended before a model was trained
    champion = shutil.copytree(good, tmp_path / "champion")
    (champion / "Format-Serving" / "another").touch()  # as equal in quality, not the same
    outputs.serve("7", str(champion))
    before = sorted(outputs.serving.rglob("*"))
    result = outputs.evaluate("-o", str(tmp_path / "found"))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == str(tmp_path / "found")
    assert lines[0] == "Profile smoke: gan of run 20261124-110000."
    assert "[1/1] gan started" in lines
    assert any(
        line.startswith(
            "gan of run 20261124-110000, compared with version 7, which is in serving: approved."
        )
        for line in lines
    )
    metric = next(line for line in lines if line.startswith("Classes that are missing"))
    assert metric.split()[-3:] == ["floor", "0", "0"]  # and the champion's
    [gate] = [line for line in lines if line.startswith("Classes that are missing") and "≤" in line]
    assert gate.split()[-4:] == ["0", "≤", "0", "passed"]
    metrics = json.loads((tmp_path / "found" / "gan" / "metrics.json").read_text())
    assert metrics["blessed"] and metrics["champion"]["version"] == "7"
    assert metrics["samples"] == 300
    assert all(
        (tmp_path / "found" / "gan" / image["file"]).is_file() for image in metrics["images"]
    )
    assert sorted(outputs.serving.rglob("*")) == before


def test_a_refused_model_gives_exit_code_3_and_its_folder_lies_with_the_runs(outputs, gan_uri):
    outputs.run("20261124-100000", gan=gan_uri("collapsed"))
    outputs.run("20261124-110000", gan=gan_uri("real"))
    result = outputs.evaluate("gan", "--run", "20261124-100000")
    assert result.returncode == 3, result.stderr
    assert "with none in serving: not approved. Classes that are missing is 9" in result.stdout
    folder = Path(result.stdout.splitlines()[-1])
    assert folder.parent == outputs.root / "smoke" / "evaluations"
    assert json.loads((folder / "gan" / "metrics.json").read_text())["blessed"] is False


def test_a_model_in_serving_is_compared_with_nothing_by_the_settings_of_the_profile_named(
    outputs, gan_uri, tmp_path
):
    uri = gan_uri("real")
    outputs.run("20261124-100000", gan=uri)
    outputs.serve("7", uri)
    arguments = ("--profile", "full", "--run", "20261124-100000", "-o", str(tmp_path / "found"))
    result = outputs.evaluate("gan", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Profile full: gan of run")
    assert "gan of run 20261124-100000, which is itself the one in serving: approved." in (
        result.stdout
    )


def test_deep_asks_for_what_is_left_out_otherwise(outputs, gan_uri, tmp_path):
    """The generator gives NaN, which that measurement meets as soon as it is run at all."""
    outputs.run("20261124-100000", gan=gan_uri("broken"))
    result = outputs.evaluate("--deep", "-o", str(tmp_path / "found"))
    assert result.returncode == 3, result.stderr
    notes = json.loads((tmp_path / "found" / "gan" / "metrics.json").read_text())["notes"]
    [note] = [note for note in notes if note.startswith("augmentation: ")]
    assert note.startswith("augmentation: signature generate gave")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vae"], "There is no model vae"),
        (["diffusion"], "No diffusion was trained to the end"),
        (["--run", "x"], "There is no run x"),
        (["--profile", "quik"], "did you mean quick?"),
        (["--profile", "quick"], "There are no runs of the profile quick"),
        (["--set", "evaluator.sample=3"], "did you mean samples?"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(outputs, tmp_path, arguments, words):
    outputs.run("20261124-100000", gan=str(tmp_path))
    result = outputs.evaluate(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("inkwell: ") and result.stderr.count("\n") == 1
    assert words in result.stderr
    assert not (outputs.root / "smoke" / "evaluations").exists()


def test_without_runs_it_says_how_to_begin(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", "evaluate", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 2 and "inkwell run" in result.stderr
