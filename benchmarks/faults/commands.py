"""Commands of ``inkwell`` that meet an accident: in a fork of this process, or in a new one.

Contract: TensorFlow is imported once, before the first fork, and has no threads then. A command has
a session of its own, whose processes must all be gone soon after its end.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
_BROKEN = 70  # exit code of a child that could not even begin
_LIMIT_SECONDS = 300.0  # of one command
_GONE_SECONDS = 20.0  # in which the processes of a killed run end


class Lost(Exception):
    """Something that must hold after an accident does not."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: the signal; None: it had to be stopped)."""

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def words(self) -> str:
        """All that it said, as one line."""
        return " ".join(f"{self.out}\n{self.err}".split())


@dataclasses.dataclass(frozen=True)
class How:
    """How the command is run that meets the accident."""

    inside: Callable[[], object] | None = None  # called in the process, before the command
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    script: str = ""  # of a shell, in a new process: "$@" is the command
    options: tuple[str, ...] = ()  # of the command
    output: Path | None = None  # where the outputs are, if not in their place


def system(*words: object) -> None:
    """Runs a program of the system; raises ``CalledProcessError`` if it fails."""
    subprocess.run([str(word) for word in words], check=True)


def inkwell(arguments: list[str], how: How, talk: Path) -> Ended:
    """Runs a command and waits for its end.

    Args:
        arguments: The words after ``inkwell``.
        how: In which circumstances.
        talk: Directory for the files of what it says.

    Raises:
        Lost: It left a process behind.
    """
    out, err = talk / "out", talk / "err"
    began = time.monotonic()
    process = (_spawn if how.script else _fork)(arguments, how, out, err)
    code = _wait(process, began + _LIMIT_SECONDS)
    seconds = time.monotonic() - began
    told = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    _expect_gone(process)
    return Ended(code, told[0], told[1], seconds)


def _spawn(arguments: list[str], how: How, out: Path, err: Path) -> int:
    words = ["bash", "-c", how.script, "bash", sys.executable, "-m", "pipeline.cli.main"]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        return subprocess.Popen(
            [*words, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **how.environment},
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        ).pid


def _fork(arguments: list[str], how: How, out: Path, err: Path) -> int:
    for path in (out, err):
        path.write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if not process:
        _never_return(arguments, how, out, err)
    return process


def _never_return(arguments: list[str], how: How, out: Path, err: Path) -> None:
    """The life of the child: whatever happens, nothing of it comes back into the parent's code."""
    code = _BROKEN
    try:
        os.setsid()
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
        try:
            code = _as_inkwell(arguments, how)
        except Exception:  # noqa: BLE001 - as Python itself would print it
            code = 1
            err.write_text(traceback.format_exc(), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _as_inkwell(arguments: list[str], how: How) -> int:
    from pipeline.cli.main import main

    os.environ.update(how.environment)
    os.chdir(ROOT)
    time.tzset()
    sys.argv = ["inkwell", *arguments]
    if how.inside:
        how.inside()
    # As Python opens them: those of the parent led to something else.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    try:
        main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


def _wait(process: int, end: float) -> int | None:
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _expect_gone(session: int) -> None:
    """Waits for the processes that a command started; raises ``Lost`` for one that stays."""
    end = time.monotonic() + _GONE_SECONDS
    while left := [process for process in psutil.pids() if _session(process) == session]:
        if time.monotonic() > end:
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            raise Lost(f"{len(left)} processes were left behind")
        time.sleep(0.05)


def _session(process: int) -> int:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return -1
