from __future__ import annotations

import pytest

from pipeline import fingerprint


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    folder = tmp_path / "models" / "gan"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text("WIDTH = 32  # channels\n")
    (folder / "page.jinja").write_text("<p>")
    return folder


def code() -> str:
    return fingerprint.code_fingerprint("models/gan")


def test_the_same_code_has_the_same_fingerprint(package):
    assert code() == code()


def test_a_changed_value_changes_it_and_a_changed_comment_does_not(package):
    before = code()
    (package / "model.py").write_text("WIDTH = 32   # of the first block\n\n")
    assert code() == before
    (package / "model.py").write_text("WIDTH = 33  # channels\n")
    assert code() != before


def test_other_files_count_byte_for_byte(package):
    before = code()
    (package / "page.jinja").write_text("<p> ")
    assert code() != before


def test_a_new_and_a_renamed_file_change_it(package):
    before = code()
    (package / "losses.py").write_text("")
    added = code()
    (package / "losses.py").rename(package / "loss.py")
    assert len({before, added, code()}) == 3


def test_compiled_files_do_not_count(package):
    before = code()
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"\0")
    assert code() == before


def test_a_package_that_does_not_exist_is_an_error(package):
    with pytest.raises(FileNotFoundError, match="models/vae"):
        fingerprint.code_fingerprint("models/vae")
