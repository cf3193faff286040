"""Every notebook runs from its first cell to its last, on the models shipped with the project."""

from pathlib import Path

import jupytext
import nbclient
import pytest

from serving.packed import DEMO_MODELS, packs

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def test_there_are_four():
    assert len(NOTEBOOKS) == 4 and len(packs(DEMO_MODELS)) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_to_its_end(path: Path):
    notebook = jupytext.read(path)
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    told = "".join(output.get("text", "") for output in outputs)
    assert "nan" not in told and told
