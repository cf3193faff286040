"""Runs without a terminal: what they say and how they end is kept, and can be followed."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.config import InputError
from pipeline.config import RunConfig
from pipeline.local import detached
from tests.conftest import ROOT


@pytest.fixture
def config(tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.chdir(ROOT)
    return RunConfig("smoke", output_dir=str(tmp_path / "out"))


def output(config: RunConfig) -> Path:
    return Path(config.output_dir)


@pytest.fixture
def slow(tmp_path, monkeypatch) -> Path:
    """A program that takes the place of Python: it says a word, waits for a file, and exits 3."""
    go = tmp_path / "go"
    program = tmp_path / "slow"
    program.write_text(
        f'#!/bin/sh\necho begun $INKWELL_RUN_ID\nwhile [ ! -e "{go}" ]; do sleep 0.05; done\n'
        "echo over\nexit 3\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    return go


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [(["--version"], "inkwell", 0), (["run", "--profile", "nonsense"], "There is no profile", 2)],
)
def test_what_a_command_says_and_its_exit_code_are_kept(config, arguments, words, code):
    run_id = detached.start(config, arguments)
    base = detached.find(output(config), None)
    assert base == output(config) / "smoke" / "logs" / run_id
    assert words in "".join(detached.follow(base))
    assert detached.exit_code(base) == code


def test_a_run_is_followed_while_it_goes_and_has_the_id_that_was_told(config, slow):
    run_id = detached.start(config, [])
    said = detached.follow(detached.find(output(config), run_id))
    assert next(said) == f"begun {run_id}\n"
    slow.touch()
    assert "".join(said) == "over\n"
    assert detached.exit_code(detached.find(output(config), run_id)) == 3


def test_a_run_that_was_killed_with_its_shell_has_ended_as_a_crash(config, slow):
    run_id = detached.start(config, [])
    said = detached.follow(detached.find(output(config), run_id))
    next(said)
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            if run_id in " ".join(process.info["cmdline"] or []):
                os.killpg(process.pid, signal.SIGKILL)
    assert list(said) == []
    assert detached.exit_code(detached.find(output(config), run_id)) == 1


def test_ctrl_c_leaves_the_run_alone(config, slow, monkeypatch):
    run_id = detached.start(config, [])
    monkeypatch.undo()
    attached = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli.main", "attach", "--output", config.output_dir],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert attached.stdout.readline() == f"begun {run_id}\n"
    attached.send_signal(signal.SIGINT)
    _, told = attached.communicate(timeout=20)
    assert attached.returncode == 130 and f"Run {run_id} goes on" in told
    slow.touch()
    base = detached.find(output(config), run_id)
    assert list(detached.follow(base))[-1].endswith("over\n")
    assert detached.exit_code(base) == 3


def test_a_run_that_is_not_there_is_one_sentence(config):
    with pytest.raises(InputError, match="There is no detached run in .+ inkwell run --detach"):
        detached.find(output(config), None)
    detached.start(config, ["--version"])
    with pytest.raises(InputError, match="There is no detached run 2020"):
        detached.find(output(config), "2020")


def test_the_command_passes_on_what_it_was_given(config, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(detached, "start", lambda config, words: given.extend(words) or "20260101")
    from typer.testing import CliRunner

    from pipeline.cli.main import app

    out = str(tmp_path / "γ out")
    words = ["--set", "seed=7", "--output", out, "--from-node", "report", "--data", "data/mnist"]
    told = CliRunner().invoke(app, ["run", "--profile", "smoke", "--detach", *words])
    assert told.exit_code == 0, told.output
    assert given[:7] == [
        *("run", "--profile", "smoke", "--data", "data/mnist", "--from-node", "report")
    ]
    assert "seed=7" in given and "--detach" not in given
    assert f"inkwell attach 20260101 --output '{out}'" in told.output
    again = CliRunner().invoke(app, [*given, "--dry-run"])
    assert again.exit_code == 0 and f'output_dir: "{tmp_path}' in again.output


def test_a_detached_run_waits_for_no_other(config, slow):
    from pipeline.local.workspace import lock

    output(config).mkdir()
    with lock(output(config)), pytest.raises(InputError, match="Another run"):
        detached.start(config, [])
