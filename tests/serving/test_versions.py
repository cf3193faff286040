"""Version directories: what counts as one, which is the newest, and which is whole."""

import json
import shutil
from pathlib import Path

import pytest

from components.pusher.push import push
from serving.versions import damage, list_versions, newest_version


def test_only_directories_named_as_whole_numbers_are_versions(tmp_path: Path):
    for name in ("7", "10", "0003", ".staging-9", "11.partial", "-4", "٣", "9" * 25):
        (tmp_path / name).mkdir()
    (tmp_path / "12").write_text("a file")

    assert [version.number for version in list_versions(tmp_path)] == [3, 7, 10]
    newest = newest_version(tmp_path)
    assert newest is not None and newest.path == tmp_path / "10"


def test_missing_directory_has_no_versions(tmp_path: Path):
    assert list_versions(tmp_path / "none") == []
    assert newest_version(tmp_path / "none") is None


@pytest.fixture
def version(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_text("graph")
    (model / "variables" / "variables.index").write_text("weights")
    return Path(push(model, tmp_path / "gan", {"metrics.json": b"{}"}).destination)


def test_a_pushed_version_is_whole_until_a_file_of_the_model_changes(version: Path):
    assert damage(version) == ""
    (version / "assets.extra" / "metrics.json").unlink()
    (version / "variables" / "checkpoint").write_text("what no push made and no server reads")
    assert damage(version) == ""
    (version / "variables" / "variables.index").write_text("weighTs")
    assert damage(version) == "variables/variables.index differs"
    (version / "saved_model.pb").unlink()
    assert damage(version) == "saved_model.pb is missing"
    shutil.rmtree(version)
    assert damage(version) == "the directory is gone"


def test_a_version_of_before_is_whole_if_it_has_a_model(version: Path):
    lineage = version / "assets.extra" / "lineage.json"
    lineage.write_text(json.dumps({"model": "gan"}))
    (version / "variables" / "variables.index").write_text("weighTs")
    assert damage(version) == ""
    lineage.unlink()
    assert damage(version) == ""
    (version / "saved_model.pb").unlink()
    assert damage(version) == "saved_model.pb is missing"


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"saved'])
def test_a_lineage_that_no_push_wrote_is_damage(version: Path, text: str):
    (version / "assets.extra" / "lineage.json").write_text(text)
    assert damage(version) == "assets.extra/lineage.json is not as the push wrote it"
