"""Version directories: what counts as one, and which is the newest."""

from pathlib import Path

from serving.versions import list_versions, newest_version


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
