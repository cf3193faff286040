"""Rendered manifests; kubectl has kustomize built in."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "kubernetes"
OVERLAYS = tuple(f"overlays/{name}" for name in ("dev", "staging", "prod"))
PIPELINE = tuple(f"kubeflow/{name}" for name in ("dev", "staging", "prod"))
COMPONENTS = ("gpu", "keda", "kserve", "monitoring", "pinned")

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None,
    reason="kubectl is not installed; see https://kubernetes.io/docs/tasks/tools, or run .ci/run",
)


@functools.cache
def render(folder: str) -> str:
    """What ``kubectl kustomize`` makes of a folder of ``kubernetes/``."""
    return _kustomize(MANIFESTS / folder)


def render_with(tmp_path: Path, base: str, component: str) -> str:
    """An overlay with one more component, as a user would put them together."""
    copy = tmp_path / "kubernetes"
    if not copy.exists():
        shutil.copytree(MANIFESTS, copy)
    mine = copy / "overlays" / "mine"
    mine.mkdir(exist_ok=True)
    text = f"resources: [../../{base}]\ncomponents: [../../components/{component}]\n"
    (mine / "kustomization.yaml").write_text(text)
    return _kustomize(mine)


def _kustomize(folder: Path) -> str:
    result = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in result.stderr, result.stderr
    return result.stdout


def documents(text: str, *kinds: str) -> list[dict[str, Any]]:
    """The documents of these kinds; all of them if none is named."""
    found = [document for document in yaml.safe_load_all(text) if document]
    return [document for document in found if not kinds or document["kind"] in kinds]
