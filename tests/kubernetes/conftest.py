"""Rendered manifests; kubectl has kustomize built in."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "kubernetes"
ENVIRONMENTS = ("dev", "staging", "prod")
OVERLAYS = tuple(f"overlays/{name}" for name in ENVIRONMENTS)
PIPELINE = tuple(f"kubeflow/{name}" for name in ENVIRONMENTS)
# In the order in which an overlay lists them.
COMPONENTS = ("kserve", "gpu", "inkwell-server", "monitoring", "keda", "pinned")

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None,
    reason="kubectl is not installed; see https://kubernetes.io/docs/tasks/tools, or run .ci/run",
)


@functools.cache
def render(folder: str) -> str:
    """What ``kubectl kustomize`` makes of a folder of ``kubernetes/``."""
    return kustomize(MANIFESTS / folder)


def render_with(tmp_path: Path, base: str, *components: str, more: str = "") -> str:
    """An overlay with more components, as a user would put them together outside the tree.

    Args:
        tmp_path: Where the overlay is written.
        base: A folder of ``kubernetes/``.
        components: Names, in the order of the list.
        more: Further lines of the overlay.

    Raises:
        ValueError: kustomize refuses the combination; the message is kustomize's.
    """
    tree = os.path.relpath(MANIFESTS, tmp_path)
    listed = [f"{tree}/components/{name}" for name in components]
    text = yaml.safe_dump({"resources": [f"{tree}/{base}"], "components": listed})
    (tmp_path / "kustomization.yaml").write_text(text + more)
    return kustomize(tmp_path)


def kustomize(folder: Path) -> str:
    """Raises ``ValueError`` with the message of kustomize, if it has one."""
    result = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    if result.returncode:
        raise ValueError(result.stderr)
    assert "deprecated" not in result.stderr, result.stderr
    return result.stdout


def documents(text: str, *kinds: str) -> list[dict[str, Any]]:
    """The documents of these kinds; all of them if none is named."""
    return [document for document in _parse(text) if not kinds or document["kind"] in kinds]


@functools.lru_cache(maxsize=8)
def _parse(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def named(text: str, kind: str) -> dict[str, dict]:
    """The documents of a kind, by name."""
    return {d["metadata"]["name"]: d for d in documents(text, kind)}


def deployments(text: str) -> dict[str, dict]:
    """By model."""
    return {
        d["metadata"]["labels"]["app.kubernetes.io/component"]: d
        for d in documents(text, "Deployment")
    }


def server(deployment: dict) -> dict:
    """The one container of a Deployment's pods."""
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return container


def flags(container: dict) -> dict[str, str]:
    """The arguments of a container, by name."""
    return dict(word.removeprefix("--").split("=", 1) for word in container["args"])


def images(text: str) -> Iterator[str]:
    """The image of every container."""
    for document in documents(text, "Deployment", "ServingRuntime"):
        spec = document["spec"]
        pod = spec["template"]["spec"] if "template" in spec else spec
        yield from (container["image"] for container in pod["containers"])
