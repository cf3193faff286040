"""docs/serving.md, and what README.md says of serving: every command is run, in the order there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.serving.conftest import ROOT, Served, inkwell, serving_of
from tests.serving.toy_models import save_autoencoder, save_models

OLD, NEW = 1795554118, 1795554119  # the versions that the guide names
FENCE = re.compile(r"^ *```(bash|python)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# Options that name where things are; the test has its own places.
WITH_SERVING = ("models", "promote", "rollback")
WITH_SERVER = (*WITH_SERVING, "canary", "predict", "generate")


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block that shall be run."""
    return FENCE.findall(text)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    serving = save_models(tmp_path_factory.mktemp("guide"))
    (serving / "autoencoder" / "1").rename(serving / "autoencoder" / str(OLD))
    save_autoencoder(serving / "autoencoder" / str(NEW), shift=1.0)
    with serving_of(serving) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the commands are run: with a picture and the data that they name."""
    image = Image.new("L", (28, 28))
    ImageDraw.Draw(image).line([(10, 4), (16, 24)], fill=255, width=3)
    image.save(tmp_path / "digit.png")
    (tmp_path / "data").symlink_to(ROOT / "data")
    return tmp_path


def run_line(line: str, served: Served, folder: Path) -> str:
    """Runs one line of the guide against the server of the test; returns what it printed."""
    if line.startswith("curl"):
        line = line.replace("localhost:8501", served.rest)
        assert served.rest in line
        done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True)
    else:
        command, *arguments = shlex.split(line, comments=True)
        assert command == "inkwell"
        if arguments[0] == "serve":  # runs already; the options must be right
            empty = folder / "empty"
            empty.mkdir(exist_ok=True)
            done = inkwell(*arguments, "--serving", str(empty))
            assert done.returncode == 2 and "There is no model in" in done.stderr
            return ""
        if arguments[0] in WITH_SERVING:
            arguments += ["--serving", str(served.serving)]
        assert arguments[0] in WITH_SERVER
        done = inkwell(*arguments, "--server", served.rest, cwd=folder)
    assert done.returncode == 0, (line, done.stderr)
    assert "error" not in done.stdout.partition("errors")[0].lower(), (line, done.stdout)
    return done.stdout


def test_guide(served: Served, folder: Path):
    said = []
    for language, content in blocks((ROOT / "docs" / "serving.md").read_text(encoding="utf-8")):
        if language == "python":
            content = content.replace('Client("gan")', f'Client("gan", "{served.rest}")')
            content = content.replace("localhost:8500", served.grpc)
            subprocess.run([sys.executable, "-c", content], cwd=ROOT, check=True)
            continue
        lines = [line.strip() for line in content.splitlines()]
        said += [(line, run_line(line, served, folder)) for line in lines]
    for name in ("grid", "reconstruction", "clean"):
        assert Image.open(folder / f"{name}.png").width >= 28
    answers = dict(said)
    assert f"stable is version {OLD}" in answers["inkwell rollback autoencoder"]
    canary = answers[f"inkwell promote autoencoder {NEW} --label canary"]
    assert f"stable is version {OLD}, canary is version {NEW}" in canary
    assert f"stable is version {NEW}" in answers[f"inkwell promote autoencoder {NEW}"]
    assert "the newest version is served" in answers["inkwell promote autoencoder newest"]
    assert "anomaly score differs" in " ".join(
        next(text for line, text in said if line.startswith("inkwell canary")).split()
    )


def test_readme_on_serving(served: Served, folder: Path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("### Serving")[2].partition("\n### ")[0]
    lines = [line for _, content in blocks(section) for line in content.splitlines()]
    assert any(line.startswith("inkwell serve") for line in lines)
    for line in lines:
        run_line(line, served, folder)
