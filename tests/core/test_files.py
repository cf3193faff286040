"""Files written whole: no reader and no crash meets a part of one."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core import files
from core.files import difference, digests, write_whole


def fail(*_):
    raise OSError("disk full")


def test_text_and_bytes_are_written_into_a_directory_that_is_made(tmp_path):
    write_whole(tmp_path / "a" / "b" / "text", "é\n")
    write_whole(str(tmp_path / "a" / "bytes"), b"\0\xff")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "é\n".encode()
    assert (tmp_path / "a" / "bytes").read_bytes() == b"\0\xff"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_whole(path, "old")
    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_others_may_read_it_as_far_as_the_umask_lets_them(tmp_path):
    write_whole(tmp_path / "file", "")
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_is_staged_is_hidden_and_no_json(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(files.os, "fsync", lambda _: seen.extend(os.listdir(tmp_path)))
    write_whole(tmp_path / "7.json", "{}")
    [staged] = seen
    assert staged.startswith(".") and Path(staged).suffix != ".json"


def test_two_threads_that_write_at_once_leave_one_of_the_two(tmp_path):
    path, contents = tmp_path / "file", ["a" * 100_000, "b" * 100_000]
    wrong = []

    def write(content: str) -> None:
        for _ in range(20):
            write_whole(path, content)
            if path.read_text() not in contents:
                wrong.append(content[0])

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and path.read_text() in contents and os.listdir(tmp_path) == ["file"]


WRITER = """
import itertools, sys
from core.files import write_whole
for letter in itertools.cycle("ab"):
    write_whole(sys.argv[1], letter * 300_000)
"""


def test_a_reader_beside_a_writer_that_is_killed_never_sees_a_part(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "a" * 300_000)
    root = str(Path(__file__).resolve().parents[2])
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=root)
    seen = set()
    try:
        while len(seen) < 2 or sum(1 for _ in tmp_path.iterdir()) < 2:  # until one is staged
            seen.add(path.read_text())
            assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
    assert seen | {path.read_text()} == {"a" * 300_000, "b" * 300_000}


def test_the_first_file_that_differs_is_named(tmp_path):
    for name, text in {"a": "1", "b/c": "2", "d": "3"}.items():
        write_whole(tmp_path / name, text)
    before = digests(tmp_path)
    assert before["a"] == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    assert list(before) == ["a", "b/c", "d"] and difference(before, digests(tmp_path)) == ""
    write_whole(tmp_path / "b/c", "3")
    assert difference(before, digests(tmp_path)) == "b/c differs"
    (tmp_path / "a").unlink()
    assert difference(before, digests(tmp_path)) == "a is missing"
    assert difference({}, digests(tmp_path)) == "b/c is new"
    assert digests(tmp_path / "nowhere") == {}
