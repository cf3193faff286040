"""Running commands for set-up: one line of progress for a step, one sentence for a failure.

Everything that a command writes stays in the checkout: caches, temporary files, the log and uv's
own Python go under ``.uv``. Standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from typing import IO, Callable, Iterator

from setup_machine import SetupError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(1, ROOT)  # before the packages of another checkout

from core.foreign import masked, safe  # noqa: E402

VENV = os.path.join(ROOT, ".venv")
STATE = os.path.join(ROOT, ".uv")  # uv itself, its cache, its Python, the log
UV = os.path.join(STATE, "boot", "bin", "uv")
LOG = os.path.join(STATE, "setup.log")
# What runs, and what development adds to it; no package is in both.
LOCK_FILES = tuple(
    os.path.join(ROOT, name) for name in ("requirements.lock", "requirements-dev.lock")
)


class CommandError(SetupError):
    """A command that failed; ``reason`` is the line of its output that says why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} failed: {why} (whole output in {os.path.relpath(LOG, ROOT)}).")
        self.reason = why


def child_environment() -> dict[str, str]:
    """The user's environment, but with all that commands write kept in the checkout."""
    environment = dict(os.environ)
    for name in (
        "PYTHONDONTWRITEBYTECODE",  # set-up is there to write it
        "PYTHONHOME",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "PIP_PREFIX",
        "PIP_REQUIRE_VIRTUALENV",
        "PIP_TARGET",
        "PIP_USER",
        "UV_NO_CACHE",
        "UV_PROJECT_ENVIRONMENT",
        "UV_PYTHON",
        "UV_SYSTEM_PYTHON",
    ):
        environment.pop(name, None)
    environment.update(
        TMPDIR=os.path.join(STATE, "tmp"),
        PIP_NO_CACHE_DIR="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        UV_CACHE_DIR=os.path.join(STATE, "cache"),
        UV_PYTHON_INSTALL_DIR=os.path.join(STATE, "python"),
        UV_NO_PROGRESS="1",
    )
    # Certificates of the machine, as pip and apt use, so that a company's proxy is trusted.
    environment.setdefault("UV_SYSTEM_CERTS", "1")
    return environment


def reason(output: str) -> str:
    """The line of a failed command's output that best says why: uv's deepest cause, or an error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in (r"^(?:cause|Caused by):\s*(.*)", r"^(?:error|E)\s*:\s*(.*)"):
        matches = [m for m in (re.match(pattern, line, re.IGNORECASE) for line in lines) if m]
        if matches:
            return matches[-1].group(1).rstrip(".")
    return lines[-1].rstrip(".") if lines else "it printed nothing"


_held: list[int] = []  # descriptor of the set-up lock, handed on to every command


def _end_with_parent() -> None:
    """In a child, before its program starts: asks the kernel for SIGTERM when set-up dies."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG of <linux/prctl.h>


def run(
    what: str,
    command: list[str],
    *,
    variables: dict[str, str] | None = None,
    cwd: str = ROOT,
    check: bool = True,
    logged: bool = True,
) -> str:
    """Runs ``command`` with its output in the log file, and returns the output.

    The log holds no password as far as one can be told from other text, and nothing of what a
    command prints that is there to print settings (``logged`` is false): users attach the log to
    reports. Should this process be killed, the command is ended too, and what the command has
    started in turn holds the set-up lock until it has ended as well.

    Raises:
        CommandError: It failed, and ``check`` is set; ``what`` opens the sentence.
    """
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**child_environment(), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=_held,
            preexec_fn=_end_with_parent,
        )
        status, output = done.returncode, done.stdout.decode(errors="replace")
    except OSError as error:
        status, output = 127, f"error: {command[0]}: {error.strerror}"
    shown_output = output if logged else "(settings, which may hold passwords, are not logged)"
    with open_private(LOG, "a") as log:
        log.write(masked("$ {}\n{}\n".format(" ".join(command), shown_output)))
    if status and check:
        raise CommandError(what, reason(output))
    return output


def open_private(path: str, mode: str) -> IO[str]:
    """Opens a text file that its owner alone may read; ``mode`` is that of ``open``."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | os.O_NOFOLLOW, 0o600)
        os.fchmod(descriptor, 0o600)  # an older set-up let all read it
        return descriptor

    return open(path, mode, encoding="utf-8", opener=opener)


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Prints one line: the title at once, the seconds when the step has ended."""
    print(f"  {title:<58}", end="", flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print("  failed", flush=True)
        raise
    print(f"{time.monotonic() - start:6.1f} s", flush=True)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Holds the lock of this checkout's set-up; a second set-up waits for the first."""
    os.makedirs(os.path.join(STATE, "tmp"), exist_ok=True)
    with open_private(os.path.join(STATE, "lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is at work in this checkout; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        _held[:] = [lock.fileno()]
        try:
            yield
        finally:
            _held.clear()


def _interrupt(*_: object) -> None:
    """Ends a terminated set-up like an interrupted one, the command at work included."""
    raise KeyboardInterrupt


def main(work: Callable[[], None]) -> int:
    """Does ``work`` as this checkout's only set-up; returns the exit status, 2 for a failure."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with only_one():
            work()
    except SetupError as error:
        print(safe(str(error)), file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Set-up failed on {error.filename}: {error.strerror}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nSet-up was interrupted; make setup starts it anew.", file=sys.stderr)
        return 130
    return 0
