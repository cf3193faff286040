"""Runs that no terminal holds: started in a session of their own, and followed from any terminal.

Contract: ``start`` returns at once; what the run says goes to ``logs/<run id>.screen`` below the
directory of its profile, and its exit code, at the end, to ``logs/<run id>.code``. ``follow``
repeats what it says until it ends.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from core.config import require
from core.files import open_own
from pipeline.config import RunConfig
from pipeline.local.workspace import (
    RUN_ID,
    absolute,
    lock,
    make_directory,
    new_run_id,
    spelled_out,
)
from pipeline.results import CRASHED, order_of

_SCREEN, _CODE = ".screen", ".code"
# The shell outlives the run, however that ends, and writes its exit code down.
_SHELL = '"$@"; echo $? >"$0"'
_SECONDS = 0.3  # between looks


def start(config: RunConfig, arguments: Sequence[str]) -> str:
    """Starts ``inkwell`` with the arguments; returns the id of the run.

    Raises:
        InputError: The output directory cannot be written, or another run is using it.
    """
    output = Path(absolute(config).output_dir)
    logs = output / config.profile / "logs"
    for folder in (output, logs.parent, logs):
        make_directory(folder)
    with lock(output):
        run_id = new_run_id(logs.parent)
    base = logs / run_id
    with open(open_own(f"{base}{_SCREEN}", os.O_RDWR), "r+b") as screen:
        with contextlib.suppress(OSError):  # a file system that cannot lock
            fcntl.flock(screen, fcntl.LOCK_EX)  # until the last process of the run has ended
        program = [sys.executable, "-m", "pipeline.cli.main", *arguments]
        subprocess.Popen(
            ["/bin/sh", "-c", _SHELL, f"{base}{_CODE}", *program],
            env={**os.environ, RUN_ID: run_id},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=screen,
        )
    return run_id


def find(output_dir: Path, run_id: str | None) -> Path:
    """What a detached run says, without the ending of the file's name.

    Args:
        output_dir: Directory of the runs.
        run_id: Of the run; None takes the newest.

    Raises:
        InputError: There is no such run.
    """
    found = {path.stem: path for path in output_dir.glob(f"*/logs/*{_SCREEN}")}
    where = spelled_out(output_dir)
    require(
        bool(found), f"There is no detached run in {where}; start one with: inkwell run --detach"
    )
    if run_id is None:
        run_id = max(found, key=order_of)
    require(run_id in found, f"There is no detached run {run_id} in {where}; see: inkwell runs")
    return found[run_id].with_suffix("")  # run ids hold no dot


def follow(base: Path) -> Iterator[str]:
    """Yields what the run says, piece by piece, until it has ended."""
    with open(f"{base}{_SCREEN}", encoding="utf-8", errors="replace") as said:
        is_over = False
        while not is_over:
            is_over = Path(f"{base}{_CODE}").exists() or not _is_going_on(said)
            if piece := said.read():
                yield piece
            if not is_over:
                time.sleep(_SECONDS)


def exit_code(base: Path) -> int:
    """That of a run that has ended; as of a crash if it was killed with all that watched it."""
    try:
        return int(Path(f"{base}{_CODE}").read_text())
    except (OSError, ValueError):
        return CRASHED


def _is_going_on(said: TextIO) -> bool:
    try:
        fcntl.flock(said, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it is locked, or cannot be: then the exit code tells the end
        return True
    fcntl.flock(said, fcntl.LOCK_UN)
    return False
