"""The guides: their site builds without a warning, the reference is current, links lead on."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.version import Version

from benchmarks import reference
from core.models import MODELS
from tests.serving.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def test_reference_is_what_the_code_says():
    found = {path.name: path.read_text(encoding="utf-8") for path in reference.FOLDER.iterdir()}
    assert found == reference.pages()  # else: python -m benchmarks.reference


def test_reference_is_complete():
    pages = reference.pages()
    assert "| `gradient_penalty` |" in pages["settings.md"]
    assert all(f"## {model}\n" in pages["metrics.md"] for model in MODELS)
    assert "## `inkwell run`" in pages["commands.md"] and "--set KEY=VALUE" in pages["commands.md"]


@pytest.mark.parametrize("builder", ["mkdocs", "zensical"])
def test_site_builds_without_a_warning(tmp_path: Path, builder: str):
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)  # a builder writes into its configuration's folder
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    command = [Path(sys.executable).with_name(builder), "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "A tour of Inkwell" in page and "reference/settings.html" in page


def test_every_guide_is_in_the_site():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/-]+\.md$", text, re.MULTILINE))
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert named == there


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda p: p.stem)
def test_the_page_of_a_notebook_has_its_text_and_code(path: Path):
    page = (ROOT / "docs" / "notebooks" / f"{path.stem}.md").read_text(encoding="utf-8")
    for cell in jupytext.read(path).cells:
        assert cell.source.strip() in page  # else: make notebooks
    assert "```text" in page and ".png)" in page


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in LINK.findall(document.read_text(encoding="utf-8")):
            if not re.match(r"https?:|#", target):
                path = document.parent / target.partition("#")[0]
                assert path.exists(), f"{document.name}: {target}"


def test_readme_can_be_read_in_five_minutes():
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    assert sum(bool(re.search(r"[A-Za-z0-9]", word)) for word in words) < 1200


def test_citation_is_for_this_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["title"] == "Inkwell" and citation["license"] == "Apache-2.0"
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert Version(re.search(r'^version = "(.+)"', text, re.MULTILINE)[1]) >= Version("1.0.0")
