"""What ``make setup`` asks of the machine: platform, C library, disk, compiler, and a Python.

Every function either answers or raises ``SetupError`` with one sentence for the user. Standard
library only, and Python 3.8 syntax, because any Python 3 of a fresh machine may run it.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sys

# The ml-metadata and TFDV wheels are built for manylinux_2_39: they ask for symbols of glibc 2.38
# and of GCC 14's libstdc++ (Debian 13, Ubuntu 24.04 and later have both).
NEEDED_GLIBC = (2, 38)
NEEDED_CXXABI = (1, 3, 15)
WAY_OUT = "use Debian 12 or later, Ubuntu 24.04 or later, or the container image (Dockerfile)"

DISK_GIB = 5.0  # measured: 4.0 with bytecode and caches, which share their files
PYTHON = (3, 11)  # the only one: tfx[kfp] exists below 3.12, and 3.10 gets no more fixes
LIBRARY_DIRS = ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")

_PROBE = """
import json, os, struct, sys, sysconfig
base = sys.executable
if sys.prefix != sys.base_prefix:  # an activated environment, perhaps the one to be made anew
    base = os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2])
base = os.path.realpath(base)
shared = sysconfig.get_config_var("Py_ENABLE_SHARED")
print(json.dumps({
    "executable": base,
    "version": list(sys.version_info[:3]),
    "cpython": sys.implementation.name == "cpython" and struct.calcsize("P") == 8,
    "headers": os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")),
    "library_dir": sysconfig.get_config_var("LIBDIR") if shared else None,
}))
"""


class SetupError(Exception):
    """A set-up that cannot go on, told in one sentence: what is wrong and what would mend it."""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """One Python of the machine, as it describes itself; never a virtual environment's."""

    executable: str  # real path
    version: tuple[int, int, int]
    cpython: bool  # CPython with 64-bit pointers
    headers: bool  # Python.h is there: one dependency, pyfarmhash, is compiled
    library_dir: str | None  # where a shared libpython lives; None when it is linked in


def check_platform(system: str, machine: str, glibc: str | None) -> None:
    """Refuses everything but Linux on x86-64 with the GNU C library.

    Args:
        system: As ``platform.system()``.
        machine: As ``platform.machine()``.
        glibc: As ``glibc_string()``; None on another C library.
    """
    if system != "Linux" or machine not in ("x86_64", "AMD64"):
        raise SetupError(
            f"Inkwell's packages exist for Linux on x86_64, and this is {system} on {machine}; "
            "use such a machine or run the container image (Dockerfile)."
        )
    if glibc is None:
        raise SetupError(
            "Inkwell's packages need the GNU C library, which this Linux does not have; use a "
            "distribution such as Debian or Ubuntu, or the container image (Dockerfile)."
        )


def glibc_string() -> str | None:
    """The C library's own name and version, such as ``glibc 2.36``; None if it is not glibc."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        return None


def parse_glibc(text: str) -> tuple[int, int]:
    """(2, 36) for ``glibc 2.36`` and the like."""
    match = re.search(r"(\d+)\.(\d+)", text)
    if match is None:
        raise SetupError(f"The version of the C library cannot be read from {text!r}.")
    return int(match.group(1)), int(match.group(2))


def newest_cxxabi(content: bytes) -> tuple[int, ...]:
    """The newest CXXABI version that the bytes of a libstdc++ offer; () if there is none."""
    found = re.findall(rb"CXXABI_(\d+(?:\.\d+)*)\0", content)
    return max((tuple(int(n) for n in item.split(b".")) for item in found), default=())


def libstdcxx_cxxabi(directories: tuple[str, ...] = LIBRARY_DIRS) -> tuple[int, ...]:
    """The newest CXXABI of the machine's libstdc++; () if it has no libstdc++."""
    for directory in directories:
        path = os.path.join(directory, "libstdc++.so.6")
        if os.path.exists(path):
            with open(path, "rb") as stream:
                return newest_cxxabi(stream.read())
    return ()


def read_os_release(text: str) -> dict[str, str]:
    """The fields of an /etc/os-release file, quotes removed."""
    fields = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith("#"):
            fields[key] = value.strip("\"'")
    return fields


def needs_runtime(
    glibc: tuple[int, int], cxxabi: tuple[int, ...], os_release: dict[str, str]
) -> bool:
    """Whether a private C library is needed; refuses where it is and none can be had."""
    if glibc >= NEEDED_GLIBC and cxxabi >= NEEDED_CXXABI:
        return False
    if os_release.get("ID") == "debian" and os_release.get("VERSION_CODENAME"):
        return True
    abi = "CXXABI " + ".".join(map(str, cxxabi)) if cxxabi else "no libstdc++"
    raise SetupError(
        "Inkwell's packages need glibc 2.38 and the libstdc++ of GCC 14 (CXXABI 1.3.15), and "
        f"{os_release.get('PRETTY_NAME', 'this system')} has glibc {glibc[0]}.{glibc[1]} and "
        f"{abi}; {WAY_OUT}."
    )


def check_disk(path: str, needed_gib: float = DISK_GIB) -> None:
    """Refuses when the disk that holds ``path`` has less than ``needed_gib`` free."""
    free = shutil.disk_usage(path).free / 2**30
    if free < needed_gib:
        raise SetupError(
            f"Set-up needs {needed_gib:.1f} GiB of free disk under {path}, and {free:.1f} GiB are "
            "free; make room or move the checkout to a larger disk."
        )


def check_compiler() -> None:
    """Refuses when no C++ compiler is there; pyfarmhash, which TFDV imports, has no wheel."""
    names = ("c++", "g++", "clang++")
    if not os.environ.get("CXX") and not any(shutil.which(name) for name in names):
        raise SetupError(
            "One dependency (pyfarmhash) is compiled and no C++ compiler was found; install one "
            "(Debian and Ubuntu: apt-get install g++) and run make setup again."
        )


def probe(executable: str) -> Interpreter | None:
    """What the Python at ``executable`` says of itself; None if it does not run."""
    environment = dict(os.environ)
    for name in ("PYTHONHOME", "PYTHONPATH"):
        environment.pop(name, None)
    try:
        output = subprocess.run(
            [executable, "-I", "-c", _PROBE],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=True,
        ).stdout
        fields = json.loads(output.decode())
        return Interpreter(**{**fields, "version": tuple(fields["version"])})
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, KeyError):
        return None  # a shim of a version manager, for one, may print anything


def python_candidates(path: str) -> list[str]:
    """Executables on the search path ``path`` that may be a fitting Python, likeliest first."""
    directories = [d for d in path.split(os.pathsep) if os.path.isabs(d)]
    directories += ["/usr/local/bin", "/usr/bin"]
    names = ["python{}.{}".format(*PYTHON), "python3", "python"]
    found = []
    for name in names:
        for directory in directories:
            file = os.path.join(directory, name)
            if os.access(file, os.X_OK) and os.path.isfile(file) and file not in found:
                found.append(file)
    return found


def choose_python(interpreters: list[Interpreter]) -> Interpreter | None:
    """The first CPython 3.11 that has its headers; None if there is none."""
    for interpreter in interpreters:
        if interpreter.version[:2] == PYTHON and interpreter.cpython and interpreter.headers:
            return interpreter
    return None


def find_python(path: str) -> tuple[Interpreter | None, list[Interpreter]]:
    """The fitting Python on the search path, or None, and every Python that was looked at."""
    seen: dict[str, Interpreter] = {}
    for file in python_candidates(path):
        interpreter = probe(file)
        if interpreter is None or interpreter.executable in seen:
            continue
        seen[interpreter.executable] = interpreter
        if choose_python([interpreter]):
            break
    looked_at = list(seen.values())
    return choose_python(looked_at), looked_at


def missing_python(looked_at: list[Interpreter], reason: str) -> SetupError:
    """The sentence for a machine with no fitting Python, ``reason``: why none was downloaded."""
    headless = [i for i in looked_at if i.version[:2] == PYTHON and i.cpython and not i.headers]
    if headless:
        name = "python{}.{}".format(*PYTHON)
        return SetupError(
            f"{headless[0].executable} lacks its headers (Python.h), which one dependency needs, "
            f"and another Python could not be downloaded ({reason}); install them (Debian and "
            f"Ubuntu: apt-get install {name}-dev) and run make setup again."
        )
    have = ", ".join(sorted({"{}.{}".format(*i.version[:2]) for i in looked_at})) or "none"
    return SetupError(
        f"Inkwell needs Python 3.11 (found: {have}) and one could not be downloaded "
        f"({reason}); install python3.11 with its headers and run make setup again."
    )


def bootstrap_python(preferred: list[str]) -> str:
    """The first Python that can make a virtual environment with pip, to install uv with."""
    program = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 8))"
    for executable in preferred + python_candidates(os.environ.get("PATH", os.defpath)):
        try:
            subprocess.run(
                [executable, "-I", "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return executable
    raise SetupError(
        "No Python here can make a virtual environment with pip; install it (Debian and Ubuntu: "
        "apt-get install python3-venv) and run make setup again."
    )


def check_machine(root: str) -> bool:
    """All checks of the machine but Python; returns whether a private C library is needed."""
    glibc = glibc_string()
    check_platform(platform.system(), platform.machine(), glibc)
    os_release = {}
    for file in glob.glob("/etc/os-release") or glob.glob("/usr/lib/os-release"):
        with open(file, encoding="utf-8") as stream:
            os_release = read_os_release(stream.read())
    need = needs_runtime(parse_glibc(glibc or ""), libstdcxx_cxxabi(), os_release)
    check_compiler()
    check_disk(root)
    return need


if __name__ == "__main__":
    sys.exit("This file is a part of scripts/setup.py; run make setup.")
