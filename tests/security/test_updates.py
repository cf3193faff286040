"""Advisories, bills of materials and pinned images: what keeps the parts of others up to date."""

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import audit
import pin_images
import pytest
import setup_uv
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "a1" * 32

# Fixed releases of advisories that were looked up by hand, as no database can be reached in tests.
FIXED = {"protobuf": "6.33.5"}  # CVE-2026-0994: recursion in json_format


def answer(*packages: dict) -> str:
    """pip-audit's JSON (2.10.1, recorded)."""
    return json.dumps({"dependencies": list(packages), "fixes": []})


CLEAN = {"name": "six", "version": "1.17.0", "vulns": []}
SKIPPED = {
    "name": "jinja2",
    "skip_reason": "Dependency not found on PyPI and could not be audited: jinja2 (2.10)",
}
VULNERABLE = {
    "name": "protobuf",
    "version": "6.32.0",
    "vulns": [
        {
            "id": "PYSEC-2026-1",
            "fix_versions": ["6.33.5"],
            "aliases": ["CVE-2026-0994"],
            "description": "Recursion.",
        }
    ],
}


def run_audit(monkeypatch, tmp_path, *answers: str | None) -> int:
    """The audit with these answers for the locks; None is a tool that wrote none."""
    waiting = list(answers)

    def tool(package, command, arguments):
        [target] = [word.partition("=")[2] for word in arguments if word.startswith("--output=")]
        given = waiting.pop(0) if waiting else answer(CLEAN)
        if given is not None:
            Path(target).write_text(given)
        return "requests.exceptions.ConnectionError: no such host"

    monkeypatch.setattr(audit, "tool", tool)
    monkeypatch.setattr(audit, "STATE", str(tmp_path))
    (tmp_path / "tmp").mkdir(exist_ok=True)
    return audit.audit()


def test_an_audit_without_advisories_is_good(monkeypatch, tmp_path, capsys):
    assert run_audit(monkeypatch, tmp_path) == 0
    assert "3 packages were looked up; 0 advisories." in capsys.readouterr().out


def test_an_advisory_is_named_with_its_fix(monkeypatch, tmp_path, capsys):
    assert run_audit(monkeypatch, tmp_path, answer(CLEAN, VULNERABLE), answer(SKIPPED)) == 1
    assert (
        "protobuf 6.32.0 in requirements.lock: PYSEC-2026-1, CVE-2026-0994; fixed in 6.33.5"
        in capsys.readouterr().out
    )


def test_packages_that_nobody_looked_up_are_not_good(monkeypatch, tmp_path, capsys):
    """A mirror has no advisories: pip-audit skipped every package and ended with 0."""
    assert run_audit(monkeypatch, tmp_path, answer(CLEAN, SKIPPED)) == 2
    said = capsys.readouterr()
    assert "3 packages were looked up" in said.out
    assert "requirements.lock: 1 packages (jinja2)" in said.err


def test_no_database_is_not_good(monkeypatch, tmp_path, capsys):
    assert run_audit(monkeypatch, tmp_path, None) == 2
    assert "no such host" in capsys.readouterr().err


@pytest.mark.parametrize("name", FIXED)
def test_a_known_advisory_is_fixed_in_the_locks(name):
    text = "".join((ROOT / lock).read_text() for lock in setup_uv.LOCKS)
    versions = re.findall(rf"^{name}==(\S+)", text, re.M)
    assert versions and all(Version(found) >= Version(FIXED[name]) for found in versions)


def test_the_tools_are_in_no_lock():
    text = "".join((ROOT / lock).read_text() for lock in setup_uv.LOCKS)
    assert not re.search(r"^(pip-audit|cyclonedx-bom)==", text, re.M)


def test_a_bill_names_the_base_and_every_package_of_an_image():
    base = audit.base_image()
    assert base["version"].startswith("3.11.17-slim-trixie@sha256:")
    assert base["purl"].startswith("pkg:docker/python@sha256%3A")
    locks = audit.image_locks()
    server = set(re.findall(r"^([a-z]\S*)==", locks["inkwell-server"], re.M))
    listed = re.findall(r"^[a-z]\S*$", (ROOT / "requirements-server.txt").read_text(), re.M)
    assert server == set(listed)
    cpu, gpu = (
        set(re.findall(r"^([a-z]\S*)==", locks[name], re.M))
        for name in ("inkwell-cpu", "inkwell-gpu")
    )
    assert server < cpu < gpu


@pytest.fixture
def manifests(tmp_path, monkeypatch):
    """A copy of the manifests, and a registry whose answer is ``tmp_path/answer``."""
    shutil.copytree(ROOT / "kubernetes", tmp_path / "kubernetes")
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(f"#!/bin/sh\nexec cat {tmp_path}/answer\n")
    docker.chmod(0o755)
    monkeypatch.setattr(pin_images, "ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    # As `docker buildx imagetools inspect` prints it.
    form = "Name:      docker.io/tensorflow/serving:2.21.0\nMediaType: application/vnd.oci\n"
    (tmp_path / "answer").write_text(f"{form}Digest:    {DIGEST}\n\nManifests:\n  Name: x\n")
    return tmp_path


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_pinned_images_are_rendered_with_their_digests(manifests):
    """A tag that was moved in the registry became the server of every model."""

    def images(folder: str, *components: str) -> set[str]:
        path = manifests / "try" / "kustomization.yaml"
        path.parent.mkdir(exist_ok=True)
        listed = [f"../kubernetes/components/{name}" for name in components]
        path.write_text(
            json.dumps({"resources": [f"../kubernetes/{folder}"], "components": listed})
        )
        command = ["kubectl", "kustomize", str(path.parent)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return set(re.findall(r"image: (\S+)", text))

    for _ in range(2):  # the second time it replaces its own
        pin_images.pin()
    assert images("overlays/dev") == {f"tensorflow/serving:2.21.0@{DIGEST}"}
    assert images("overlays/dev", "gpu") == {f"tensorflow/serving:2.21.0-gpu@{DIGEST}"}
    assert images("overlays/dev", "kserve") == {f"tensorflow/serving:2.21.0@{DIGEST}"}
    own = images("overlays/dev", "inkwell-server")
    assert own == {"inkwell-server:name-it-in-your-overlay"}


def test_without_an_answer_of_the_registry_nothing_is_written(manifests):
    (manifests / "answer").write_text("")
    before = {path: (manifests / path).read_text() for path in pin_images.PLACES}
    with pytest.raises(SystemExit, match="gave no digest of tensorflow/serving:2.21.0"):
        pin_images.pin()
    assert before == {path: (manifests / path).read_text() for path in pin_images.PLACES}


@pytest.mark.parametrize("script", ["audit.py", "pin_images.py"])
def test_the_scripts_start_on_the_python_of_a_fresh_machine(script):
    ast.parse((ROOT / "scripts" / script).read_text(), feature_version=(3, 8))


def test_the_base_image_has_a_digest():
    first = re.findall(r"^FROM (\S+) AS base$", (ROOT / "Dockerfile").read_text(), re.M)
    assert len(first) == 1 and re.search(r"@sha256:[0-9a-f]{64}$", first[0])
