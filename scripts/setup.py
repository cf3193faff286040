"""Sets Inkwell up in this checkout and nowhere else; ``make setup`` calls it.

Makes ``.venv`` from requirements.lock and requirements-dev.lock (every package checked by its
hash) with uv, installed under ``.uv``; gives it a private C library where the Debian underneath is
too old; compiles bytecode; checks the MNIST files. A second call with nothing changed ends in well
under a second.

    python3 scripts/setup.py      about a minute on two cores with a fast network

Any Python from 3.8 may run it; standard library only. A failure is one sentence and exit status 2.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import sys
import time

import setup_machine as machine
from setup_machine import Interpreter, SetupError
from setup_runtime import install_runtime
from setup_shell import (
    LOCK_FILES,
    LOG,
    ROOT,
    STATE,
    UV,
    VENV,
    CommandError,
    main,
    open_private,
    run,
    step,
)
from setup_uv import index_variables, install_uv

STAMP = os.path.join(VENV, "inkwell-setup.json")

# What a finished set-up depends on; pyproject.toml alone asks only for a new project install.
INPUTS = (
    "pyproject.toml",
    "requirements.lock",
    "requirements-dev.lock",
    "core/foreign.py",
    "scripts/setup.py",
    "scripts/setup_machine.py",
    "scripts/setup_runtime.py",
    "scripts/setup_shell.py",
    "scripts/setup_uv.py",
)
# TFDV and ml-metadata wheels carry this tag; uv would pass them over on the glibc that the
# private library replaces.
WHEEL_PLATFORM = "x86_64-manylinux_2_39"
# Native libraries that fail to load where the C library is too old.
NATIVE = ("ml_metadata", "tfx_bsl", "tensorflow_data_validation")


def file_digest(path: str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def current_state(root: str) -> dict:
    """What the stamp of a set-up finished now would say, but for the Python it used."""
    return {"root": root, "files": {name: file_digest(os.path.join(root, name)) for name in INPUTS}}


def work_to_do(stamp_path: str, state: dict) -> str:
    """``nothing``, ``project`` (only pyproject.toml changed) or ``everything``.

    A stamp is written last, so an interrupted set-up has none; it also names the checkout, as a
    moved virtual environment does not work, and the Python behind it, which may be gone by now.
    """
    try:
        with open(stamp_path, encoding="utf-8") as stream:
            stamp = json.load(stream)
        base, root, files = stamp["python"], stamp["root"], dict(stamp["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "everything"
    python = os.path.join(os.path.dirname(stamp_path), "bin", "python")
    if root != state["root"] or not (os.path.exists(base) and os.path.exists(python)):
        return "everything"
    changed = {name for name, digest in state["files"].items() if files.get(name) != digest}
    if not changed:
        return "nothing"
    return "project" if changed == {"pyproject.toml"} else "everything"


def write_stamp(stamp_path: str, python: str, state: dict) -> None:
    """Marks a set-up as finished, at once or not at all."""
    with open(stamp_path + ".new", "w", encoding="utf-8") as stream:
        json.dump({"python": python, **state}, stream, indent=1)
    os.replace(stamp_path + ".new", stamp_path)


def check_data(directory: str) -> None:
    """Refuses when a file named in ``directory``/SHA256SUMS is missing or has other bytes."""
    shown = os.path.relpath(directory, ROOT) if directory.startswith(ROOT) else directory
    with open(os.path.join(directory, "SHA256SUMS"), encoding="utf-8") as stream:
        entries = [line.split() for line in stream if line.strip()]
    for expected, name in entries:
        path = os.path.join(directory, name.lstrip("*"))
        mend = f"restore it with: git checkout -- {os.path.join(shown, name)}"
        if not os.path.isfile(path):
            raise SetupError(f"{os.path.join(shown, name)} is missing; {mend}")
        if file_digest(path) != expected:
            raise SetupError(
                f"{os.path.join(shown, name)} is damaged (its SHA-256 is not the one in "
                f"SHA256SUMS); {mend}"
            )


def managed_python(looked_at: list[Interpreter]) -> Interpreter:
    """uv's own Python 3.11, installed under ``.uv/python``."""
    command = [UV, "python", "install", "--no-bin", "--compile-bytecode", "3.11"]
    try:
        run("Downloading Python 3.11", command)
    except CommandError as error:
        raise machine.missing_python(looked_at, error.reason) from None
    pattern = os.path.join(STATE, "python", "cpython-3.11*", "bin", "python3.11")
    interpreter = machine.choose_python([i for i in map(machine.probe, glob.glob(pattern)) if i])
    if interpreter is None:
        raise machine.missing_python(looked_at, "the downloaded one does not run")
    return interpreter


def make_venv(base: str) -> None:
    """Makes an empty virtual environment; what an earlier or broken set-up left is removed."""
    if os.path.islink(VENV):
        os.unlink(VENV)
    elif os.path.exists(VENV):
        shutil.rmtree(VENV)
    command = [UV, "venv", "--quiet", "--no-project", "--prompt", "inkwell", "--python", base, VENV]
    run("Making the virtual environment", command)


def install_packages() -> None:
    """Installs the locks with every hash checked, those of the build tools too, and bytecode."""
    command = [UV, "pip", "install", "--python", os.path.join(VENV, "bin", "python")]
    for file in LOCK_FILES:
        command += ["--requirements", file, "--build-constraints", file]
    command += ["--require-hashes", "--python-platform", WHEEL_PLATFORM, "--no-deps"]
    command += ["--compile-bytecode"]
    run("Installing the packages", command, variables=index_variables())


def install_project() -> None:
    """Installs Inkwell itself, editable, with the build tools that the lock has brought."""
    command = [UV, "pip", "install", "--python", os.path.join(VENV, "bin", "python"), "--offline"]
    command += ["--no-deps", "--no-build-isolation", "--reinstall-package", "inkwell"]
    run("Installing Inkwell", [*command, "--editable", ROOT])


def check_native() -> None:
    """Loads the libraries that ask for the newest C library, without importing TensorFlow."""
    files: list[str] = []
    for package in NATIVE:
        pattern = os.path.join(VENV, "lib", "python3*", "site-packages", package, "**", "*.so")
        found = glob.glob(pattern, recursive=True)
        if not found:
            raise SetupError(f"{package} came without its native library; see .uv/setup.log.")
        files += found
    program = "import ctypes, sys; [ctypes.CDLL(file) for file in sys.argv[1:]]"
    python = os.path.join(VENV, "bin", "python")
    run("Loading the native libraries", [python, "-I", "-c", program, *files])


def set_up() -> None:
    """All of it, or what is left to do."""
    start = time.monotonic()
    check_data(os.path.join(ROOT, "data", "mnist"))
    state = current_state(ROOT)
    work = work_to_do(STAMP, state)
    if work == "nothing":
        print("Set-up: nothing to do.")
        return
    if work == "project":
        with open(STAMP, encoding="utf-8") as stream:
            python = json.load(stream)["python"]
        with step("Inkwell itself"):
            install_project()
    else:
        with open_private(LOG, "w"):
            pass  # the log of this set-up alone
        with step("Checking the machine"):
            if os.path.lexists(STAMP):
                os.unlink(STAMP)
            private = machine.check_machine(ROOT)
            base, looked_at = machine.find_python(os.environ.get("PATH", os.defpath))
        with step("uv, the installer"):
            install_uv([i.executable for i in ([base] if base else looked_at)])
        if base is None:
            with step("Python 3.11"):
                base = managed_python(looked_at)
        with step("Virtual environment, Python {}.{}.{}".format(*base.version)):
            make_venv(base.executable)
        with step("Packages of the two locks, with bytecode"):
            install_packages()
        if private:
            with open("/etc/os-release", encoding="utf-8") as stream:
                codename = machine.read_os_release(stream.read())["VERSION_CODENAME"]
            with step(f"Newer C library for {codename}, in .venv/runtime"):
                work_dir = os.path.join(STATE, "apt")
                install_runtime(run, VENV, work_dir, codename, base.executable, base.library_dir)
        with step("Inkwell itself"):
            install_project()
        with step("Loading the native libraries"):
            check_native()
        python = base.executable
    write_stamp(STAMP, python, state)
    print(f"Set-up finished in {time.monotonic() - start:.0f} s.")


if __name__ == "__main__":
    sys.exit(main(set_up))
