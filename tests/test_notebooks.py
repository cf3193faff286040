"""Every notebook runs from its first cell to its last, on the models shipped with the project."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.packed import DEMO_MODELS, packs

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def test_there_are_four():
    assert len(NOTEBOOKS) == 4 and len(packs(DEMO_MODELS)) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_to_its_end(path: Path, tmp_path: Path):
    made = tmp_path / f"{path.stem}.ipynb"
    tools = Path(sys.executable).parent
    for command in (
        [tools / "jupytext", "--quiet", "--to", "ipynb", "--output", made, path],
        [tools / "jupyter-execute", "--inplace", made],
    ):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads(made.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    told = "".join("".join(o["text"]) for o in outputs if o.get("name") == "stdout")
    assert told and "nan" not in told
