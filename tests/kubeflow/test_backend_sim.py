"""The simulation itself, on three small nodes: it must refuse and lose what the backend does."""

import dataclasses
import json
import os
import time
from pathlib import Path

import pytest
import yaml

from benchmarks import kubeflow_backend as backend_sim
from benchmarks.kubeflow_backend import Backend, Loss, ObjectStore, Run
from pipeline.plan import PIPELINE_NAME
from tests.kubeflow.toy import compile_pushing, compile_toy


@pytest.mark.parametrize("kfp", [(2, 16), (2, 17)])
def test_objects_come_by_prefix_and_empty_folders_do_not(tmp_path, kfp):
    store, here = ObjectStore(tmp_path / "bucket"), tmp_path / "here"
    for name in ("model/saved/a", "model_run/b", "other/c"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    (here / "model" / "assets").mkdir()
    (here / "model" / "BLESSED").touch()
    for name in ("model", "model_run", "other"):
        store.upload(here / name, f"minio/task/{name}")
    there = tmp_path / "there"
    store.download("minio/task/model", there / "model", kfp)
    found = sorted(p.relative_to(there).as_posix() for p in there.rglob("*") if p.is_file())
    siblings = ["model_run/b"] if kfp < (2, 17) else []  # isBlobKeyUnderPrefix came with 2.17
    assert found == ["model/BLESSED", "model/saved/a", *siblings]
    assert not (there / "model" / "assets").exists()


@dataclasses.dataclass
class Started:
    """A backend on which the toy has gone through once."""

    backend: Backend
    package: Path  # what the next test compiles and runs
    first: Run


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Started:
    """Tests go on from its cache: only the nodes that they change are pods again."""
    folder = tmp_path_factory.mktemp("toy")
    backend, package = Backend(folder / "kfp"), folder / "toy.yaml"
    compile_toy(package, "a")
    return Started(backend, package, backend.run(package))


def test_artifacts_pass_and_results_are_kept_until_something_changes(started):
    backend, package, first = started.backend, started.package, started.first
    assert set(first.states().values()) == {"SUCCEEDED"}, first.tasks["copy"].log
    copied = backend.artifacts[first.tasks["copy"].outputs["model"]]["uri"]
    assert (backend.store.folder / copied.replace("://", "/") / "text").read_text() == "a"
    assert first.tasks["copy"].started >= first.tasks["make"].ended
    assert os.listdir(backend.folder / "pods") == []

    compile_toy(package, "a")
    assert set(backend.run(package).states().values()) == {"CACHED"}
    compile_toy(package, "b")
    assert backend.run(package).states() == {
        "make": "SUCCEEDED",
        "copy": "SUCCEEDED",
        "other": "CACHED",
    }


def test_the_users_mistake_ends_the_pod_with_2_and_the_run(started):
    compile_toy(started.package, "a", fail="input")
    run = started.backend.run(started.package)
    assert run.states()["copy"] == "FAILED"
    assert not run.succeeded
    lines = [line for line in run.tasks["copy"].log.splitlines() if line]
    assert lines[-1] == "backend: exit status 2"
    assert lines[-2] == "copy: The labels hold one class; give at least two."
    assert "Traceback" not in run.tasks["copy"].log


def test_a_crash_shows_its_trace_and_ends_with_1(started):
    compile_toy(started.package, "a", fail="crash")
    task = started.backend.run(started.package).tasks["copy"]
    assert task.state == "FAILED" and task.attempts == 1
    assert "ZeroDivisionError: division by zero" in task.log
    assert task.log.endswith("backend: exit status 1")


def test_a_pod_can_be_lost(started):
    compile_toy(started.package, "lost", retries=1)
    start = time.monotonic()
    run = started.backend.run(
        started.package, lose=lambda task, attempt: Loss(0.2) if task == "make" else None
    )
    assert run.states() == {"make": "FAILED", "copy": "PENDING", "other": run.states()["other"]}
    assert "exit status -9" in run.tasks["make"].log
    assert time.monotonic() - start < 60


def test_a_stale_store_starts_the_node_again_in_its_pod_and_a_root_may_hold_a_folder_s3(started):
    root = "s3://acme/exports/s3/inkwell"
    compile_toy(started.package, "root", fail="stale once")
    run = started.backend.run(started.package, pipeline_root=root)
    task = run.tasks["copy"]
    assert run.succeeded and task.attempts == 1, task.log
    [line] = [line for line in task.log.splitlines() if "starts again in" in line]
    assert "OSError: [Errno 116] Stale file handle" in line and line.endswith("in 0 s (1 of 2).")
    uri = started.backend.artifacts[task.outputs["model"]]["uri"]
    folder = started.backend.store.folder / uri.replace("://", "/")
    assert uri.startswith(f"{root}/{PIPELINE_NAME}/{run.id}/copy/")
    assert [path.name for path in folder.iterdir()] == ["text"]  # not what was half written


def test_a_pushed_model_is_its_owners_and_its_place_is_no_url(started, tmp_path):
    store = tmp_path / "mnt" / "s3" / "models"
    compile_pushing(started.package, str(store))
    run = started.backend.run(started.package, pipeline_root="gs://acme/toy")
    assert run.succeeded, run.tasks["push-gan"].log
    pushed = started.backend.artifacts[run.tasks["push-gan"].outputs["pushed_model"]]["metadata"]
    version = Path(pushed["pushed_destination"])
    assert version.parent == store / "gan"
    lineage = json.loads((version / "assets.extra" / "lineage.json").read_text())
    assert lineage["model_uri"].startswith(f"gs://acme/toy/{PIPELINE_NAME}/{run.id}/approve/")
    modes = {path: path.stat().st_mode & 0o777 for path in (store, *store.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o755}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o644}


@pytest.fixture
def spec(tmp_path: Path) -> dict:
    return compile_toy(tmp_path / "toy.yaml")


def refused(spec: dict, tmp_path: Path) -> None:
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump_all([spec, {"platforms": {"kubernetes": {}}}]))
    backend_sim.load(path)


def test_specs_that_the_api_server_refuses_are_refused(spec, tmp_path):
    refused(spec, tmp_path)  # as it is, it is taken
    with pytest.raises(ValueError, match="schema version 2.0.0"):
        refused({**spec, "schemaVersion": "2.0.0"}, tmp_path)
    executors = spec["deploymentSpec"]["executors"]
    for executor in ({"resolver": {}}, {"importer": {}}):
        broken = {**spec, "deploymentSpec": {"executors": {**executors, "copy_executor": executor}}}
        with pytest.raises(ValueError, match="copy_executor: non-container"):
            refused(broken, tmp_path)
    from google.protobuf import json_format

    with pytest.raises(json_format.ParseError, match="runtimeConfig"):
        refused({**spec, "runtimeConfig": {}}, tmp_path)


def test_what_is_not_imitated_is_refused(spec, tmp_path):
    spec["root"]["dag"]["tasks"]["copy"]["triggerPolicy"] = {"condition": "1 == 1"}
    with pytest.raises(NotImplementedError, match="copy has a condition"):
        refused(spec, tmp_path)


def test_arguments_of_a_run_must_be_its_parameters(spec):
    with pytest.raises(ValueError, match="parameter epochs is not among the inputs"):
        backend_sim.root_parameters(spec, {"epochs": "3"})
