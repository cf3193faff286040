"""The Makefile, the build machine's script, and what the installed package holds."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("inkwell", "pipeline", "components", "trainer_modules", "serving", "core")


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # set when make test runs us
        environment.pop(name, None)
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_make_alone_describes_every_task():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    tasks = phony.group(1).split()
    done = make()
    described = dict(re.findall(r"^  make (\S+) +(\S.*)$", done.stdout, re.M))
    assert done.returncode == 0 and list(described) == tasks
    assert {"help", "setup", "run", "test", "lint", "format"} <= set(tasks)
    assert make("help").stdout == done.stdout


def test_run_sets_up_first_and_hands_its_options_on():
    lines = make("--dry-run", "run", "ARGS=--profile smoke").stdout.splitlines()
    assert lines[-1] == ".venv/bin/inkwell run --profile smoke"
    lines = make("--dry-run", "run", "PROFILE=smoke", "ARGS=--set seed=7").stdout.splitlines()
    assert lines[-1] == ".venv/bin/inkwell run --profile smoke --set seed=7"
    assert any("scripts/setup.py" in line for line in lines[:-1])


def test_recipes_write_bytecode_and_use_current_keras():
    user = {"PYTHONDONTWRITEBYTECODE": "1", "TF_USE_LEGACY_KERAS": "1"}
    done = make("--silent", "--eval=show: ; @env", "show", **user)
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert "PYTHONDONTWRITEBYTECODE" not in seen
    assert seen["TF_USE_LEGACY_KERAS"] == "0"


def test_exit_status_of_a_rejected_model_is_shown_by_make():
    done = make("--eval=reject: ; @exit 3", "reject")
    assert done.returncode == 2 and "Error 3" in done.stderr  # make's own status is always 2


def test_missing_python_is_told_in_one_sentence():
    done = make("setup", "PYTHON=/none/python3")
    sentences = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2 and len(sentences) == 1
    assert "Python 3.8 or later" in sentences[0] and "/none/python3" in sentences[0]


def test_build_script_is_valid_shell_and_runs_the_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert script.read_text().rstrip().endswith("make test\nmake test-extended")


def test_build_script_brings_kubectl_where_there_is_none(tmp_path: Path):
    """Every command that the script may call is a stub that notes its arguments."""
    real = ("bash", "dirname", "true")
    stubs = ("apt-get", "c++", "chromium", "make", "sudo")
    for name in real:
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / "python3").write_text(
        '#!/bin/sh\ncase "$1" in scripts/setup_kubectl.py) echo /x/kubectl.deb;; esac\n'
    )
    for name in stubs:
        run = 'shift\n"$@"' if name == "sudo" else f'echo {name} "$@"'
        (tmp_path / name).write_text(f"#!/bin/sh\n{run}\n")
    for name in (*stubs, "python3"):
        (tmp_path / name).chmod(0o755)
    script = ["bash", str(ROOT / ".ci" / "run")]
    done = subprocess.run(script, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    update, install, *tests = done.stdout.splitlines()
    assert update == "apt-get -qq update" and tests == ["make test", "make test-extended"]
    assert install.startswith("apt-get -qq install") and install.endswith(" /x/kubectl.deb")
    assert "chromium" not in install  # what is there is not asked for


def test_installed_package_holds_code_and_data_files(tmp_path: Path):
    """Profiles, the schema and templates travel in the wheel, which a cluster's image installs."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        entry_points = next(n for n in names if n.endswith("entry_points.txt"))
        assert "inkwell = pipeline.cli.main:main" in wheel.read(entry_points).decode()
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for pattern in ("*.py", "*.yaml", "*.pbtxt", "*.jinja", "*.j2", "*.html", "*.css", "*.js")
        for path in (ROOT / package).rglob(pattern)
    }
    assert any(name.endswith(".py") for name in wanted)
    assert wanted - names == set()
    assert {n.split("/")[0] for n in names if not n.startswith("inkwell-")} <= set(PACKAGES)
