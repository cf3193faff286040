from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest
import yaml

from pipeline.plan import NODES
from tests.conftest import ROOT


def inkwell(*arguments: str, cwd=ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )


@pytest.mark.parametrize(
    "command", [[], ["run"], ["evaluate"], ["report"], ["runs"], ["models"], ["baseline"]]
)
def test_help_names_the_command_and_takes_no_time(command):
    started = time.monotonic()
    result = inkwell(*command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout
    assert time.monotonic() - started < 5  # under 1 s when idle; the machine may be shared


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['inkwell', 'run', '--help']\n"
        "from pipeline.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('tensorflow', 'tfx', 'keras', 'numpy', 'jinja2') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.splitlines()[-1] == "[]"


def test_help_of_evaluate_shows_examples():
    text = inkwell("evaluate", "--help").stdout
    assert "inkwell evaluate gan --deep" in text


def test_help_of_run_shows_examples():
    text = inkwell("run", "--help").stdout
    assert "inkwell run --profile smoke" in text
    assert "--set gan.epochs=12" in text
    assert re.search(r"--from-node\s", text)


def test_version_is_that_of_the_package():
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)[1]
    words = inkwell("--version").stdout
    assert words in (f"inkwell {version}\n", "inkwell, run from a checkout that is not installed\n")


def test_dry_run_prints_the_settings_and_the_nodes_and_touches_nothing(tmp_path):
    result = inkwell(
        "run", "--dry-run", "--profile", "smoke", "--set", "gan.epochs=3",
        "--output", str(tmp_path / "out"),
    )  # fmt: skip
    assert result.returncode == 0
    settings, _, nodes = result.stdout.partition("\nnodes")
    assert yaml.safe_load(settings)["gan"]["epochs"] == 3
    assert yaml.safe_load(settings)["output_dir"] == str(tmp_path / "out")
    assert [line.split()[0] for line in nodes.splitlines()[1:]] == list(NODES)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile", "quik"], "did you mean quick?"),
        (["--set", "gan.epoch=2"], "did you mean epochs?"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--from-node", "evaluate-gn"], "did you mean evaluate-gan?"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_code_2(arguments, words, tmp_path):
    result = inkwell("run", "--output", str(tmp_path / "out"), *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("inkwell: ") and result.stderr.count("\n") == 1
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_lists_say_how_to_begin_when_there_is_nothing_yet(tmp_path):
    assert "inkwell run" in inkwell("runs", "--output", str(tmp_path)).stdout
    assert "inkwell run" in inkwell("models", "--serving", str(tmp_path)).stdout
    report = inkwell("report", "--output", str(tmp_path))
    assert report.returncode == 2 and "inkwell run" in report.stderr


def test_an_unknown_option_is_a_usage_error():
    assert inkwell("run", "--epochs", "3").returncode == 2


def test_baseline_of_a_directory_without_data_is_one_sentence(tmp_path):
    result = inkwell("baseline", "--data", str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.startswith("inkwell: ") and result.stderr.count("\n") == 1
    assert str(tmp_path) in result.stderr
