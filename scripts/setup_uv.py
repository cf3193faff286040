"""uv, the installer of set-up, and the lock it installs from.

uv comes from requirements.lock like everything else, through a Python's own venv and pip, into
``.uv/boot``. ``make lock`` runs this file to resolve pyproject.toml into requirements.lock.

    python3 scripts/setup_uv.py [options of uv pip compile, such as --upgrade]      half a minute
"""

from __future__ import annotations

import os
import re
import shutil
import sys

import setup_machine as machine
from setup_machine import SetupError
from setup_shell import LOCK_FILE, ROOT, STATE, UV, main, run, step

LOCK_HEADER = """\
# Every package Inkwell needs with the SHA-256 of its files, for Python 3.10 and 3.11, Linux x86_64.
# Made by `make lock` from pyproject.toml; not edited by hand.
"""


def lock_entry(lock: str, name: str) -> tuple[str, str]:
    """The version of package ``name`` in the text of a lock, and its entry with all hashes."""
    pattern = rf"^{re.escape(name)}==(\S+)[^\n]*\\\n(?:    --hash=\S+(?: \\)?\n)+"
    match = re.search(pattern, lock, re.MULTILINE)
    if match is None:
        raise SetupError(f"requirements.lock has no entry for {name}; restore it from git.")
    hashes = re.findall(r"--hash=\S+", match.group(0))
    return match.group(1), f"{name}=={match.group(1)} " + " ".join(hashes) + "\n"


def install_uv(preferred: list[str]) -> None:
    """Installs the locked uv under ``.uv/boot`` unless it is there already."""
    with open(LOCK_FILE, encoding="utf-8") as stream:
        version, entry = lock_entry(stream.read(), "uv")
    if os.path.exists(UV) and f"uv {version} " in run("uv", [UV, "--version"], check=False) + " ":
        return
    boot = os.path.join(STATE, "boot")
    shutil.rmtree(boot, ignore_errors=True)
    what = "Installing uv"
    run(what, [machine.bootstrap_python(preferred), "-m", "venv", boot])
    requirement = os.path.join(STATE, "uv.txt")
    with open(requirement, "w", encoding="utf-8") as stream:
        stream.write(entry)
    command = [os.path.join(boot, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    run(what, [*command, "--only-binary=:all:", "--require-hashes", "-r", requirement])


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
    index = pip_index(run("pip", [python, "-m", "pip", "config", "list"], check=False))
    return {"UV_DEFAULT_INDEX": index} if index else {}


def plain_markers(lock: str) -> str:
    """Drops the conditions of a lock that hold wherever set-up runs: Linux, x86_64, below 3.12."""
    lock = lock.replace(" and platform_machine == 'x86_64'", "")
    lock = lock.replace(" and sys_platform == 'linux'", "")
    lock = lock.replace(" ; python_full_version < '3.12' and ", " ; ")
    return lock.replace(" ; python_full_version < '3.12'", "")


def make_lock(options: list[str]) -> None:
    """Resolves pyproject.toml into requirements.lock; versions stay unless they must change.

    Args:
        options: More options of ``uv pip compile``, such as ``--upgrade``.
    """
    with step("uv, the installer"):
        install_uv([sys.executable])
    with step("Resolving pyproject.toml for Python 3.10 and 3.11"):
        draft = os.path.join(STATE, "requirements.lock")
        shutil.copyfile(LOCK_FILE, draft)  # uv keeps to the versions it finds there
        command = [UV, "pip", "compile", "pyproject.toml", "--group", "dev", "--universal"]
        command += ["--python-version", "3.10", "--generate-hashes", "--no-header", "--quiet"]
        command += ["--no-emit-index-url", "--no-emit-find-links", "--output-file", draft]
        # No second index of the user's may add files or hashes; pip's settings uv never reads.
        none = {"UV_INDEX": "", "UV_EXTRA_INDEX_URL": "", "UV_FIND_LINKS": ""}
        run("Resolving", [*command, *options], variables=none)
        with open(draft, encoding="utf-8") as stream:
            text = LOCK_HEADER + plain_markers(stream.read())
        if "://" in text or ROOT in text:
            raise SetupError(f"The new lock in {draft} names an address or a local path.")
        with open(LOCK_FILE + ".new", "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(LOCK_FILE + ".new", LOCK_FILE)


if __name__ == "__main__":
    sys.exit(main(lambda: make_lock(sys.argv[1:])))
