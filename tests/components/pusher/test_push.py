"""Pushing: versions grow, nothing is ever half there, crashes leave what was there."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.pusher.push import push
from core.config import InputError
from serving.releases import best_version
from serving.versions import EXTRA_DIR, list_versions

ROOT = Path(__file__).resolve().parents[3]
FILES = ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A directory laid out as a SavedModel; pushing never looks inside the files."""
    return make_model(tmp_path / "Format-Serving", b"first")


def make_model(directory: Path, content: bytes) -> Path:
    for name in FILES:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + name.encode())
    return directory


def trained_again(directory: Path) -> Path:
    """The same directory with another model in it."""
    return make_model(directory, os.urandom(8))


def numbers(base: Path) -> list[int]:
    return [version.number for version in list_versions(base)]


def staging(base: Path) -> list[Path]:
    return list(base.glob(".staging-*"))


def in_child(code: str, *arguments: object, crash: bool = False) -> subprocess.CompletedProcess:
    """Runs ``code`` in a new interpreter with ``push`` imported."""
    prelude = "import os, signal, shutil, sys\nfrom components.pusher import push as m\n"
    command = [sys.executable, "-c", prelude + code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == (-signal.SIGKILL if crash else 0), done.stderr
    return done


def test_push_copies_the_model_and_adds_the_extra_files(model_dir: Path, tmp_path: Path):
    before = int(time.time())
    pushed = push(model_dir, tmp_path / "serving/gan", {"lineage.json": b"{}"})
    assert before <= int(pushed.version) <= int(time.time())
    version = tmp_path / "serving/gan" / pushed.version
    assert pushed.destination == str(version)
    for name in FILES:
        assert (version / name).read_bytes() == (model_dir / name).read_bytes()
    assert (version / EXTRA_DIR / "lineage.json").read_bytes() == b"{}"
    assert not (model_dir / EXTRA_DIR).exists()
    assert os.listdir(tmp_path / "serving/gan") == [pushed.version]


def test_version_can_be_read_by_a_server_of_another_user(model_dir: Path, tmp_path: Path):
    pushed = push(model_dir, tmp_path / "gan", {"lineage.json": b"{}"})
    for path in [Path(pushed.destination), *Path(pushed.destination).rglob("*")]:
        assert path.stat().st_mode & 0o004, path


def test_two_pushes_in_one_second_both_land(model_dir: Path, tmp_path: Path):
    first = push(model_dir, tmp_path / "gan", clock=lambda: 1000.2)
    second = push(trained_again(model_dir), tmp_path / "gan", clock=lambda: 1000.9)
    assert (first.version, second.version) == ("1000", "1001")
    assert numbers(tmp_path / "gan") == [1000, 1001]


def test_the_newest_version_is_not_pushed_again(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    first = push(model_dir, base, {"lineage.json": b"{}"}, clock=lambda: 10)
    assert push(model_dir, base, {"lineage.json": b"new"}, clock=lambda: 20) == first
    push(trained_again(model_dir), base, clock=lambda: 30)
    push(make_model(model_dir, b"first"), base, clock=lambda: 40)  # back to the first
    assert numbers(base) == [10, 30, 40]


def test_version_is_above_the_newest_even_if_the_clock_went_back(model_dir: Path, tmp_path: Path):
    (tmp_path / "gan" / "5000").mkdir(parents=True)
    assert push(model_dir, tmp_path / "gan", clock=lambda: 70.0).version == "5001"


def test_pushes_of_several_processes_at_one_moment_all_land(model_dir: Path, tmp_path: Path):
    code = """
for model_dir in sys.argv[2:]:
    print(m.push(model_dir, sys.argv[1], clock=lambda: 1000.0, keep_versions=99).version)
"""
    pushed: list[str] = []

    def one() -> None:
        models = [make_model(tmp_path / os.urandom(4).hex(), os.urandom(8)) for _ in range(5)]
        done = in_child(code, tmp_path / "gan", *models)
        pushed.extend(done.stdout.split())

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, pushed)) == numbers(tmp_path / "gan") == list(range(1000, 1015))
    assert staging(tmp_path / "gan") == []


@pytest.mark.parametrize(
    "crash",
    [
        # half of the files are staged
        "m.shutil.copy2 = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "m.shutil.copytree.__defaults__ = (False, None, m.shutil.copy2, False, False)",
        # everything is staged, nothing is renamed
        "m.os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
    ],
    ids=["while copying", "before the rename"],
)
def test_crash_leaves_the_old_versions_and_the_next_push_clears_up(
    model_dir: Path, tmp_path: Path, crash: str
):
    base = tmp_path / "gan"
    old = push(model_dir, base)
    trained_again(model_dir)
    in_child(f"{crash}\nm.push(sys.argv[1], sys.argv[2])", model_dir, base, crash=True)
    assert numbers(base) == [int(old.version)]
    assert len(staging(base)) == 1

    new = push(model_dir, base)
    assert numbers(base) == [int(old.version), int(new.version)]
    assert staging(base) == []


def test_crash_after_the_rename_leaves_a_whole_version(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    crash = "m._prune = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    in_child(f"{crash}\nm.push(sys.argv[1], sys.argv[2])", model_dir, base, crash=True)
    [version] = list_versions(base)
    for name in FILES:
        assert (version.path / name).read_bytes() == (model_dir / name).read_bytes()


def test_crash_while_old_versions_are_removed_leaves_no_half_version(
    model_dir: Path, tmp_path: Path
):
    base = tmp_path / "gan"
    for second in (10, 11):
        push(trained_again(model_dir), base, clock=lambda now=second: now)
    trained_again(model_dir)
    crash = "m.shutil.rmtree = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    code = f"{crash}\nm.push(sys.argv[1], sys.argv[2], keep_versions=1, clock=lambda: 12)"
    in_child(code, model_dir, base, crash=True)
    for version in list_versions(base):
        assert all((version.path / name).is_file() for name in FILES)
    assert numbers(base)[-1] == 12
    push(model_dir, base, keep_versions=1, clock=lambda: 13)
    assert (numbers(base), staging(base)) == ([12], [])


def test_failed_push_leaves_nothing_behind(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    with pytest.raises(TypeError):
        push(model_dir, base, {"lineage.json": "text, not bytes"})  # type: ignore[dict-item]
    assert os.listdir(base) == []


def test_reader_never_sees_an_incomplete_version(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    incomplete, looks, done = [], 0, threading.Event()

    def watch() -> None:
        nonlocal looks
        while not done.is_set():
            looks += 1
            for version in list_versions(base)[-1:]:  # what a server would load
                files = [version.path / name for name in (*FILES, f"{EXTRA_DIR}/lineage.json")]
                incomplete.extend(file for file in files if not file.is_file())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(20):
        push(trained_again(model_dir), base, {"lineage.json": b"{}"}, keep_versions=99)
    done.set()
    watcher.join()
    assert looks > 20 and incomplete == []


def test_staging_of_the_living_stays_and_of_the_old_goes(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    now, host, pid = int(time.time()), socket.gethostname(), os.getpid()
    kept = [f".staging-{host}-{pid}-{now}-00000000", f".staging-other-host-1-{now}-00000000"]
    removed = [
        f".staging-other-host-1-{now - 4000}-00000000",
        f".staging-x-1-{now - 4000}-0000000a",
    ]
    foreign = [".staging-notes", "readme"]
    for name in kept + removed + foreign:
        (base / name).mkdir(parents=True)
    pushed = push(model_dir, base)
    assert sorted(os.listdir(base)) == sorted([*kept, *foreign, pushed.version])


def test_only_the_newest_versions_are_kept(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    for second in range(10, 18):
        push(trained_again(model_dir), base, keep_versions=3, clock=lambda now=second: now)
    assert numbers(base) == [15, 16, 17]
    assert staging(base) == []


def test_the_best_version_is_kept_whatever_its_age(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    for second, value in ((10, 3.0), (11, 2.0), (12, 2.5), (13, 2.6), (14, 2.7)):
        primary = {"name": "fd_over_floor", "value": value, "better": "lower"}
        extra = {"lineage.json": json.dumps({"primary": primary}).encode()}
        push(trained_again(model_dir), base, extra, 2, clock=lambda now=second: now)
    assert numbers(base) == [11, 13, 14]
    assert best_version(tmp_path, "gan") == base / "11"


def test_mistakes_are_one_sentence_and_write_nothing(model_dir: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no SavedModel in .*none"):
        push(tmp_path / "none", tmp_path / "gan")
    with pytest.raises(InputError, match="mount it"):
        push(model_dir, "gs://bucket/gan")
    with pytest.raises(InputError, match="keep_versions"):
        push(model_dir, tmp_path / "gan", keep_versions=0)
    assert not (tmp_path / "gan").exists()
