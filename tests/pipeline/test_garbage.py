import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pb = pytest.importorskip("ml_metadata.proto.metadata_store_pb2")

from core.config import InputError  # noqa: E402
from pipeline.cli.main import app  # noqa: E402
from pipeline.local.garbage import collect  # noqa: E402
from pipeline.local.integrity import Ledger  # noqa: E402
from pipeline.local.metadata import RunMetadata  # noqa: E402
from pipeline.local.workspace import lock  # noqa: E402
from tests.pipeline.records import Place  # noqa: E402

RUNS = ("20260821-101500", "20260822-090000", "20260823-080000")
OLD, MIDDLE, NEW = RUNS


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def train(place: Place, run_id: str, *, examples: str = "", **given) -> list[str]:
    """example-gen -> gan; without examples they are made."""
    uris = [examples] if examples else place.execute(run_id, "example-gen", {"examples": {}})
    if examples:
        place.execute(run_id, "example-gen", {}, state=pb.Execution.CACHED, cached=(examples,))
    return [*uris, *place.execute(run_id, "gan", {"model": {}}, reads=tuple(uris), **given)]


def gone(place: Place, keep: int = 1, delete: bool = False, serving: tuple[Path, ...] = ()) -> set:
    found = collect(place.output, serving, keep, delete)
    return {one.path.relative_to(place.folder).as_posix() for one in found}


def test_only_what_the_newest_run_does_not_need_goes(place):
    examples, old = train(place, OLD)
    _, new = train(place, NEW, examples=examples)
    assert gone(place) == {old}
    assert gone(place, delete=True) == {old}
    assert not (place.folder / old).exists()
    assert (place.folder / new / "content").is_file()
    assert (place.folder / examples / "content").is_file()
    assert gone(place) == set()


def test_as_many_runs_as_are_to_be_kept_stay_whole(place):
    artifacts = {run: train(place, run) for run in RUNS}
    assert gone(place, keep=2) == set(artifacts[OLD])
    assert gone(place, keep=3) == set()


def test_a_run_that_ended_early_leaves_what_the_next_one_takes_from_the_cache(place):
    _, old = train(place, OLD)
    examples, model = train(place, MIDDLE)
    [newest] = place.execute(NEW, "example-gen", {"examples": {}})
    kept = {examples, model, newest}
    assert not kept & gone(place) and old in gone(place)


def test_what_a_failed_node_left_goes_once_a_newer_run_is_done(place):
    failed = train(place, OLD, state=pb.Execution.FAILED)
    _, model = train(place, MIDDLE, examples=failed[0])
    train(place, NEW, examples=failed[0])
    assert gone(place) == {failed[1], model}


def push(place: Place, run_id: str, folder: Path, model: str) -> None:
    folder.mkdir(parents=True)
    given = {"pushed_destination": str(folder)}
    place.execute(run_id, "push-gan", {"pushed_model": given}, reads=(model,))


def test_a_version_that_exists_keeps_all_it_was_made_from(place, tmp_path):
    made = train(place, OLD)
    version = tmp_path / "serving" / "gan" / "17"
    push(place, OLD, version, made[1])
    push(place, NEW, tmp_path / "serving" / "gan" / "18", train(place, NEW)[1])
    assert gone(place) == set()
    version.rmdir()
    assert set(made) < gone(place)


def test_a_version_that_was_moved_keeps_what_its_lineage_names(place, tmp_path):
    made = train(place, OLD)
    train(place, NEW)
    serving = tmp_path / "moved"
    extra = serving / "gan" / "17" / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "lineage.json").write_text(json.dumps({"model_uri": made[1]}))
    assert gone(place, serving=(serving,)) == set()
    assert gone(place) == set(made)


def test_metrics_and_reports_stay_and_so_does_what_no_node_wrote(place):
    uri = place.measure(OLD, "gan")
    [page] = place.execute(OLD, "report", {"report": {}})
    for node in ("evaluate-gan", "report"):
        place.execute(NEW, node, {"evaluation": {}})
    number = uri.rpartition("/")[2]
    others = [
        f"pipeline/gan/model/{number}",
        "pipeline/checkpoints/gan/3",
        "pipeline/gan/model/999",
    ]
    for other in others:
        (place.folder / other).mkdir(parents=True)
        (place.folder / other / "content").write_text("mine")
    linked = place.folder / "pipeline" / "evaluate-gan" / "linked"
    linked.symlink_to(place.folder / "pipeline" / "evaluate-gan" / "evaluation")
    assert gone(place, delete=True) == {uri}
    assert [path.name for path in (place.folder / uri).iterdir()] == ["metrics.json"]
    assert all((place.folder / other / "content").is_file() for other in (page, *others))
    assert gone(place) == set()


def test_what_went_is_not_taken_from_the_cache_and_is_no_damage(place):
    examples, old = train(place, OLD)
    ledger = Ledger(place.folder)
    ledger.record([examples, old])
    train(place, NEW, examples=examples)
    gone(place, delete=True)
    [artifact] = [a for a in place.store.get_artifacts() if a.uri == old]
    assert artifact.state == pb.Artifact.ABANDONED
    assert old not in Ledger(place.folder) and examples in Ledger(place.folder)


def test_a_link_inside_an_artifact_is_removed_and_not_followed(place, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("mine")
    _, old = train(place, OLD)
    (place.folder / old / "link").symlink_to(tmp_path / "mine")
    train(place, NEW)
    gone(place, delete=True)
    assert (tmp_path / "mine" / "precious").is_file() and not (place.folder / old).exists()


def test_a_crash_before_the_files_are_removed_is_made_good_by_the_next_call(place, monkeypatch):
    _, old = train(place, OLD)
    train(place, NEW)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "content":
            raise PermissionError("no rights")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch, pytest.raises(PermissionError, match="no rights"):
        patch.setattr(Path, "unlink", refuse)
        gone(place, delete=True)
    assert old in gone(place, delete=True) and not (place.folder / old).exists()


def test_what_is_kept_of_real_runs_still_comes_from_the_cache(config):
    pytest.importorskip("tfx")
    from pipeline.local.runner import run
    from tests.pipeline.toy import states, toy_pipeline

    def texts() -> list[str]:
        files = Path(config.output_dir, "smoke", "pipeline").glob("*/model/*/text")
        return sorted(f"{file.parts[-4]} {file.read_text()}" for file in files)

    for text in ("a", "b"):
        run(config, build=toy_pipeline(text))
    collect(Path(config.output_dir), (), keep=1, delete=True)
    assert texts() == ["copy b", "make b", "other other"]
    assert set(states(run(config, build=toy_pipeline("b"))).values()) == {"cached"}
    again = states(run(config, build=toy_pipeline("a")))
    assert again == {"make": "done", "copy": "done", "other": "cached"}
    assert texts() == ["copy a", "copy b", "make a", "make b", "other other"]


def test_nothing_is_looked_at_while_a_run_goes_on(place):
    train(place, OLD)
    with lock(place.output), pytest.raises(InputError, match="Another run"):
        gone(place)


def test_the_command_deletes_nothing_unless_told_to(place, tmp_path):
    made = train(place, OLD)
    train(place, NEW)
    (tmp_path / "serving").mkdir()
    where = ["--output", str(place.output), "--serving", str(tmp_path / "serving")]

    def gc(*options: str) -> str:
        result = CliRunner().invoke(app, ["gc", *where, *options])
        assert result.exit_code == 0
        return result.output

    assert "Nothing needs these 2 artifacts, 14 bytes; remove them with" in gc()
    assert json.loads(gc("--json"))["deleted"] is False
    assert all((place.folder / uri).is_dir() for uri in made)
    assert "Removed 2 artifacts, 14 bytes." in gc("--delete")
    assert not any((place.folder / uri).is_dir() for uri in made)
    assert "nothing to remove" in gc("--yes")


def test_metadata_that_are_damaged_remove_nothing(place):
    made = train(place, OLD)
    train(place, NEW)
    (place.folder / "metadata.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(InputError, match="damaged|no database|cannot be used"):
        gone(place, delete=True)
    assert all((place.folder / uri).is_dir() for uri in made)


def test_the_runs_that_metadata_knows_count_also_without_a_record(place):
    train(place, OLD)
    examples, model = train(place, NEW)
    graph = RunMetadata(place.folder / "metadata.sqlite", "inkwell").graph()
    assert set(graph.runs) == {OLD, NEW}
    assert graph.upstream(graph.makers([model])) == graph.makers([examples, model])
