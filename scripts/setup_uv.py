"""uv, the installer of set-up, and the locks it installs from.

uv comes from requirements-dev.lock like everything else, through a Python's own venv and pip, into
``.uv/boot``. ``make lock`` runs this file to resolve pyproject.toml into three locks that share no
package: what runs, what development adds, and what the GPU image adds.

    python3 scripts/setup_uv.py [options of uv pip compile, such as --upgrade]      half a minute
"""

from __future__ import annotations

import os
import re
import shutil
import sys

import setup_machine as machine
from setup_machine import SetupError
from setup_shell import LOCK_FILES, ROOT, STATE, UV, main, run, step

LOCK_HEADER = """\
# {}, each file by its SHA-256, for Python 3.11, Linux x86_64.
# Made by `make lock` from pyproject.toml; not edited by hand.
"""
LOCKS = {
    "requirements.lock": "What Inkwell runs on",
    "requirements-dev.lock": "What set-up and tests add to requirements.lock",
    "requirements-gpu.lock": "What the GPU image adds to requirements.lock",
}


def lock_entry(lock: str, name: str) -> tuple[str, str]:
    """The version of package ``name`` in the text of the dev lock, and its entry with hashes."""
    pattern = rf"^{re.escape(name)}==(\S+)[^\n]*\\\n(?:    --hash=\S+(?: \\)?\n)+"
    match = re.search(pattern, lock, re.MULTILINE)
    if match is None:
        raise SetupError(f"requirements-dev.lock has no entry for {name}; restore it from git.")
    hashes = re.findall(r"--hash=\S+", match.group(0))
    return match.group(1), f"{name}=={match.group(1)} " + " ".join(hashes) + "\n"


def install_uv(preferred: list[str]) -> None:
    """Installs the locked uv under ``.uv/boot`` unless it is there already."""
    with open(LOCK_FILES[-1], encoding="utf-8") as stream:
        version, entry = lock_entry(stream.read(), "uv")
    if os.path.exists(UV) and f"uv {version} " in run("uv", [UV, "--version"], check=False) + " ":
        return
    boot = os.path.join(STATE, "boot")
    shutil.rmtree(boot, ignore_errors=True)
    what = "Installing uv"
    run(what, [machine.bootstrap_python(preferred), "-I", "-m", "venv", boot])
    requirement = os.path.join(STATE, "uv.txt")
    with open(requirement, "w", encoding="utf-8") as stream:
        stream.write(entry)
    command = [os.path.join(boot, "bin", "python"), "-I", "-m", "pip", "install", "--quiet"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", requirement]
    run(what, command)


def pip_index(config: str) -> str | None:
    """The package index in the output of ``pip config list``, if the user or company set one."""
    found = re.findall(r"^(:env:|global|install)\.index-url='(\S+)'$", config, re.MULTILINE)
    by_place = dict(found)
    return by_place.get(":env:") or by_place.get("install") or by_place.get("global")


def index_variables() -> dict[str, str]:
    """pip's own package index for uv too, unless uv has one of its own.

    uv does not read pip's settings, and behind a firewall that index may be the only one there is.
    What comes from it is checked against the hashes of the lock all the same.
    """
    if any(os.environ.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX")):
        return {}
    python = os.path.join(STATE, "boot", "bin", "python")
    command = [python, "-I", "-m", "pip", "config", "list"]
    index = pip_index(run("pip", command, check=False, logged=False))
    return {"UV_DEFAULT_INDEX": index} if index else {}


def plain_markers(lock: str) -> str:
    """Drops the conditions of a lock that hold wherever set-up runs.

    Those are Linux, x86_64, CPython, and Python below 3.12.
    """
    lock = lock.replace(" and implementation_name == 'cpython'", "")
    lock = lock.replace(" ; implementation_name == 'cpython'", "")
    lock = lock.replace(" and platform_machine == 'x86_64'", "")
    lock = lock.replace(" and sys_platform == 'linux'", "")
    lock = lock.replace(" ; python_full_version < '3.12' and ", " ; ")
    return lock.replace(" ; python_full_version < '3.12'", "")


def entries(lock: str) -> dict[str, str]:
    """A lock's entries with hashes and comments, by their first lines (package and condition)."""
    found = re.findall(r"^[A-Za-z0-9][^\n]*\n(?:[ ][^\n]*\n)*", lock, re.MULTILINE)
    return {entry.splitlines()[0]: entry for entry in found}


def resolve(draft: str, known: dict[str, str], options: list[str]) -> dict[str, str]:
    """Resolves pyproject.toml with ``options`` of ``uv pip compile``, in the file ``draft``.

    Versions in ``known`` are kept where nothing forces others.
    """
    with open(draft, "w", encoding="utf-8") as stream:
        stream.write("".join(known.values()))
    command = [UV, "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--quiet", "--no-emit-index-url"]
    command += ["--no-emit-find-links", "--output-file", draft]
    # No second index of the user's may add files or hashes; pip's settings uv never reads.
    none = {"UV_INDEX": "", "UV_EXTRA_INDEX_URL": "", "UV_FIND_LINKS": ""}
    run("Resolving", [*command, *options], variables=none)
    with open(draft, encoding="utf-8") as stream:
        text = plain_markers(stream.read())
    if "://" in text or ROOT in text:
        raise SetupError(f"The new lock in {draft} names an address or a local path.")
    return entries(text)


def make_locks(options: list[str]) -> None:
    """Resolves pyproject.toml into the locks; versions stay unless they must change.

    All of it is resolved at once, so that the locks agree, and then again without its parts, to
    learn what each of them adds.

    Args:
        options: More options of ``uv pip compile``, such as ``--upgrade``.
    """
    with step("uv, the installer"):
        install_uv([sys.executable])
    known: dict[str, str] = {}
    for name in LOCKS:
        with open(os.path.join(ROOT, name), encoding="utf-8") as stream:
            known.update(entries(stream.read()))
    draft = os.path.join(STATE, "draft.lock")
    with step("Resolving pyproject.toml for Python 3.11"):
        everything = resolve(draft, known, ["--extra", "gpu", "--group", "dev", *options])
    with step("Telling the GPU image's and development's share from it"):
        with_gpu = resolve(draft, everything, ["--extra", "gpu"])
        base = resolve(draft, with_gpu, [])
    if not base.keys() <= with_gpu.keys() <= everything.keys():
        raise SetupError("The locks cannot be told apart: a part changes what the others need.")
    shares = (
        base,
        {line: everything[line] for line in everything if line not in with_gpu},
        {line: with_gpu[line] for line in with_gpu if line not in base},
    )
    for (name, content), share in zip(LOCKS.items(), shares):
        target = os.path.join(ROOT, name)
        with open(target + ".new", "w", encoding="utf-8") as stream:
            stream.write(LOCK_HEADER.format(content) + "".join(share.values()))
        os.replace(target + ".new", target)


if __name__ == "__main__":
    sys.exit(main(lambda: make_locks(sys.argv[1:])))
