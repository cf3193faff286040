"""Pushing: versions grow, nothing is ever half there, crashes leave what was there."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.pusher import push as push_module
from components.pusher.push import Approval, Superseded, push
from core.config import InputError
from core.files import digests
from serving.releases import Release, apply, best_version
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
    pushed = push(model_dir, tmp_path / "serving/gan", {"lineage.json": b'{"model": "gan"}'})
    assert before <= int(pushed.version) <= int(time.time())
    version = tmp_path / "serving/gan" / pushed.version
    assert pushed.destination == str(version)
    for name in FILES:
        assert (version / name).read_bytes() == (model_dir / name).read_bytes()
    lineage = json.loads((version / EXTRA_DIR / "lineage.json").read_text())
    assert lineage == {"model": "gan", "files": digests(model_dir)}
    assert not (model_dir / EXTRA_DIR).exists()
    assert os.listdir(tmp_path / "serving/gan") == [pushed.version]
    assert sorted(os.listdir(tmp_path / "serving")) == [".gan.lock", "gan"]


@pytest.mark.parametrize("umask", ["0", "0o077", "0o022"])
def test_only_the_owner_changes_a_version_and_all_read_it(model_dir: Path, tmp_path: Path, umask):
    # As KFP's launcher makes them, or a user who shows nobody anything.
    shutil.copytree(model_dir, tmp_path / "given")
    for path in (tmp_path / "given").rglob("*"):
        path.chmod(0o777 & ~int(umask, 0) if path.is_dir() else 0o666 & ~int(umask, 0))
    code = "os.umask(int(sys.argv[1], 0)); m.push(sys.argv[2], sys.argv[3], {'notes': b'a'})"
    in_child(code, umask, tmp_path / "given", tmp_path / "models" / "gan")
    found = [tmp_path / "models", *(tmp_path / "models" / "gan").rglob("*")]
    modes = {path: path.stat().st_mode & 0o777 for path in [*found, tmp_path / "models" / "gan"]}
    assert len(modes) > 8 and {path.stat().st_uid for path in modes} == {os.getuid()}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o755}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o644}


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


def test_every_file_is_on_disk_before_the_version_appears(model_dir: Path, tmp_path, monkeypatch):
    """A crash of the machine after the rename must find a whole version."""
    synced, rename, fsync = [], os.rename, os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def check(source, target) -> None:
        made = {source, *Path(source).rglob("*")}
        assert len(made) >= len(FILES) and made <= set(synced)
        synced.clear()
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "rename", check)
    pushed = push(model_dir, tmp_path / "gan", {"lineage.json": b"{}"})
    assert Path(pushed.destination).is_dir()
    assert synced[0] == tmp_path / "gan"  # the new name itself


def test_failed_push_leaves_nothing_behind(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    with pytest.raises(TypeError):
        push(model_dir, base, {"metrics.json": "text, not bytes"})  # type: ignore[dict-item]
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


def approval(model_dir: Path, champion: str = "") -> Approval:
    return Approval({"evaluation": digests(model_dir)}, champion)


@pytest.mark.parametrize("name", FILES)
def test_a_model_that_changed_after_its_verdict_is_not_pushed(
    model_dir: Path, tmp_path: Path, name: str
):
    approved = approval(model_dir)
    content = bytearray((model_dir / name).read_bytes())
    content[len(content) // 2] ^= 1
    (model_dir / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        push(model_dir, tmp_path / "gan", approval=approved)
    assert str(caught.value) == (
        f"The model in {model_dir} is not the one that the evaluation approved: {name} differs; "
        "train it again: inkwell run --from-node gan"
    )
    assert os.listdir(tmp_path / "gan") == []


def test_every_verdict_must_be_about_the_files(model_dir: Path, tmp_path: Path):
    files = digests(model_dir)
    other = {**files, "saved_model.pb": "0" * 64}
    with pytest.raises(InputError, match="the serving check approved: saved_model.pb differs"):
        push(
            model_dir, tmp_path / "gan", approval=Approval({"a": files, "serving check": other}, "")
        )
    less = {name: digest for name, digest in files.items() if name != "saved_model.pb"}
    with pytest.raises(InputError, match="saved_model.pb is new"):
        push(model_dir, tmp_path / "gan", approval=Approval({"evaluation": less}, ""))


def test_what_changes_while_it_is_copied_never_appears(model_dir, tmp_path, monkeypatch):
    def copy(source, target, **options):
        shutil.copytree(source, target, **options)
        (target / FILES[1]).write_bytes(b"half")

    class Copying:
        copytree, rmtree = staticmethod(copy), staticmethod(shutil.rmtree)

    monkeypatch.setattr(push_module, "shutil", Copying)
    with pytest.raises(InputError, match=f"{FILES[1]} differs; run it again"):
        push(model_dir, tmp_path / "gan", approval=approval(model_dir))
    assert os.listdir(tmp_path / "gan") == []


def test_another_version_in_serving_than_the_one_of_the_comparison_refuses_the_push(
    model_dir: Path, tmp_path: Path
):
    base = tmp_path / "gan"
    push(trained_again(model_dir), base, clock=lambda: 10)
    push(trained_again(model_dir), base, clock=lambda: 20)
    trained_again(model_dir)
    with pytest.raises(Superseded) as caught:
        push(model_dir, base, approval=approval(model_dir))
    assert str(caught.value) == (
        "The model was compared with no version, and clients get version 20 now; run again to "
        "compare with it."
    )
    apply(tmp_path, "gan", Release(stable=10))  # promoted between verdict and push
    with pytest.raises(Superseded, match="with version 20, and clients get version 10 now"):
        push(model_dir, base, approval=approval(model_dir, "20"))
    assert numbers(base) == [10, 20] and staging(base) == []
    assert push(model_dir, base, approval=approval(model_dir, "10"), clock=lambda: 30)
    assert numbers(base) == [10, 20, 30]


def test_a_champion_that_is_gone_refuses_nothing(model_dir: Path, tmp_path: Path):
    assert push(model_dir, tmp_path / "gan", approval=approval(model_dir, "7"), clock=lambda: 9)


def test_a_retry_finds_its_version_whatever_the_champion_was(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    push(trained_again(model_dir), base, clock=lambda: 10)
    approved = approval(trained_again(model_dir), "10")
    first = push(model_dir, base, approval=approved, clock=lambda: 20)
    assert push(model_dir, base, approval=approved) == first
    # Also if clients get it by its label, under a newer version.
    push(make_model(tmp_path / "other", b"other"), base, clock=lambda: 30)
    apply(tmp_path, "gan", Release(stable=20))
    assert push(model_dir, base, approval=approved) == first
    assert numbers(base) == [10, 20, 30]


def test_nothing_is_pushed_over_a_damaged_champion(model_dir: Path, tmp_path: Path):
    base = tmp_path / "gan"
    push(trained_again(model_dir), base, clock=lambda: 10)
    (base / "10" / FILES[1]).write_bytes(b"damaged")
    trained_again(model_dir)
    with pytest.raises(InputError, match=f"gan in serving is damaged: {FILES[1]} differs in .*/10"):
        push(model_dir, base, approval=approval(model_dir, "10"))
    assert numbers(base) == [10]


def test_of_two_pushes_at_once_that_met_no_champion_one_is_refused(tmp_path: Path):
    code = """
m._settle_tree = lambda _, sync=m._settle_tree: (m.time.sleep(5), sync(_))  # time to meet
from core.files import digests
try:
    approved = m.Approval({"evaluation": digests(sys.argv[1])}, "")
    print("pushed", m.push(sys.argv[1], sys.argv[2], approval=approved).version)
except m.Superseded as error:
    print("refused", error)
"""
    said: list[str] = []

    def one(number: int) -> None:
        model = make_model(tmp_path / f"model-{number}", b"%d" % number)
        said.append(in_child(code, model, tmp_path / "gan").stdout)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [version] = numbers(tmp_path / "gan")
    assert sorted(words.split()[0] for words in said) == ["pushed", "refused"]
    assert f"with no version, and clients get version {version} now" in "".join(said)
