"""The lock of a served model: one at a time, whoever holds it and however the holder ends."""

import errno
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.cli.serving import promote
from serving import locking
from serving.locking import locked
from serving.releases import RELEASES_FILE, Release, apply
from tests.serving.conftest import ROOT

HOLD = """
import sys
from serving.locking import locked
with locked(*sys.argv[1:]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path):
    """Starts a process that holds a lock until its input ends."""
    holders = []

    def start(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, *map(str, arguments)]
        holder = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        holders.append(holder)
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def ends_within(thread: threading.Thread, seconds: float) -> bool:
    thread.join(seconds)
    return not thread.is_alive()


def started(work, *arguments) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def hold_once(*arguments: object) -> None:
    with locked(*arguments):
        pass


def test_the_lock_of_a_model_waits_for_its_holder_even_if_that_is_killed(tmp_path, hold):
    holder = hold(tmp_path, "gan")
    assert ends_within(started(hold_once, tmp_path, "diffusion"), 10)
    assert ends_within(started(hold_once, tmp_path), 10)
    waiting = started(hold_once, tmp_path, "gan")
    assert not ends_within(waiting, 0.5)
    holder.kill()
    assert ends_within(waiting, 10)


def test_a_promotion_waits_for_the_push_of_its_model(tmp_path, hold):
    for version in ("1", "2"):
        (tmp_path / "gan" / version).mkdir(parents=True)
    holder = hold(tmp_path, "gan")
    waiting = started(promote, "gan", "2", "stable", tmp_path, "127.0.0.1:9")
    assert not ends_within(waiting, 5) and not (tmp_path / RELEASES_FILE).exists()
    holder.communicate()
    assert ends_within(waiting, 60)
    assert json.loads((tmp_path / RELEASES_FILE).read_text())["gan"]["stable"] == 2


def test_promotions_of_two_models_at_once_keep_both_labels(tmp_path):
    for model in ("gan", "diffusion"):
        (tmp_path / model / "1").mkdir(parents=True)
    other = []

    def is_served(_: int) -> bool:
        if not other:  # while the first waits for the server, the second comes
            other.append(started(apply, tmp_path, "diffusion", Release(1)))
        return ends_within(other[0], 1) or True

    apply(tmp_path, "gan", Release(1), is_served)
    assert ends_within(other[0], 10)
    labels = json.loads((tmp_path / RELEASES_FILE).read_text())
    stable = {model: release["stable"] for model, release in labels.items()}
    assert stable == {"gan": 1, "diffusion": 1}


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking.fcntl, "flock", no_locks)
    ran = []
    with caplog.at_level(logging.WARNING), locked(tmp_path, "gan"):
        ran.append(True)
    assert ran and "cannot be locked (No locks available); going on without" in caplog.text


def test_an_error_under_the_lock_is_not_taken_for_one_of_the_lock(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="mine"), locked(tmp_path, "gan"):
        raise FileNotFoundError("mine")
    with pytest.raises(PermissionError, match="mine"), locked(tmp_path, "gan"):
        raise PermissionError("mine")
