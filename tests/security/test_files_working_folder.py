"""No module, and no setting of a library, is taken from the folder one stands in."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_NAMES = ("json", "re", "typing", "yaml", "rich", "typer", "numpy", "pydantic", "orjson", "kfp")


@pytest.fixture
def hostile_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which a neighbour put modules with well-known names."""
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    for name in _NAMES:
        (tmp_path / f"{name}.py").write_text(code)
    for name in ("pipeline", "serving", "core", "components"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs_in(folder: Path, command: list[str]) -> str:
    """The output of a command that runs there; none of the folder's modules may."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert not (folder / "ran").exists(), "a module of the folder ran"
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_hostile_folder_is_hostile(hostile_folder):
    subprocess.run([sys.executable, "-c", "import json"], cwd=hostile_folder, check=True)
    assert (hostile_folder / "ran").exists()


@pytest.mark.parametrize("arguments", [["--version"], ["runs"], ["run", "--dry-run"]])
def test_no_command_takes_modules_from_the_working_folder(hostile_folder, arguments):
    command = Path(sys.prefix, "bin", "inkwell")
    if not command.exists():
        pytest.skip("the project is not installed in this environment")
    assert runs_in(hostile_folder, [str(command), *arguments])


def test_no_pod_takes_modules_from_its_working_folder(hostile_folder):
    from pipeline.kubeflow.spec import DATA_DIGEST_COMMAND, ENTRYPOINT

    assert "usage" in runs_in(hostile_folder, [sys.executable, *ENTRYPOINT[1:], "--help"])
    asked = {"inputs": {"parameterValues": {"data_uri": str(ROOT / "data" / "mnist")}}}
    asked["outputs"] = {"parameters": {}}
    runs_in(hostile_folder, [sys.executable, *DATA_DIGEST_COMMAND[1:], json.dumps(asked)])


def test_plots_are_the_same_in_every_folder(hostile_folder):
    """Matplotlib reads matplotlibrc there first; it could have LaTeX run over every label."""
    (hostile_folder / "matplotlibrc").write_text("text.usetex: True\nfont.size: 33\n")
    code = (
        "import components.evaluator.parts.plots, matplotlib as m\n"
        "print(m.matplotlib_fname(), m.rcParams['font.size'], m.rcParams['text.usetex'])"
    )
    said = runs_in(hostile_folder, [sys.executable, "-P", "-c", code])
    assert re.fullmatch(r"matplotlibrc 10\.0 False\s*", said)
