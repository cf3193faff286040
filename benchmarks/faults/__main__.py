"""Does accidents to real runs of the pipeline, and prints how many were tried, held and lost.

    python -m benchmarks.faults                 all, at most 20 minutes on two cores
    python -m benchmarks.faults --part quick    some of each kind, three minutes
    python -m benchmarks.faults --table         the table of docs/reliability.md

Contract: exit code 0 if every accident held, else 1. Chance is repeated by ``--seed``.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ONE_THREAD = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OPENBLAS_NUM_THREADS")
_INSIDE = "INKWELL_FAULTS_MOUNTS"  # is set where this process may mount: yes or no


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", choices=["all", "quick"], default="all")
    parser.add_argument("--kind", action="append", help="only those of this kind; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="accidents at a time")
    parser.add_argument("--folder", help="keeps the unbroken run here, and takes it from here")
    parser.add_argument("--table", action="store_true", help="print the table and exit")
    options = parser.parse_args(given)
    from benchmarks.faults import table

    rows = table.read_table()
    if options.table:
        print(table.markdown(rows), end="")
        return 0
    if _INSIDE not in os.environ:
        _start_with_mounts(given)
    found = table.accidents(rows, options.seed, options.part == "quick")
    found = [one for one in found if one.row.kind in (options.kind or [one.row.kind])]
    may_mount = os.environ[_INSIDE] == "yes"
    if options.folder:
        return _try_all(Path(options.folder).absolute(), found, may_mount, options.workers)
    with tempfile.TemporaryDirectory(prefix="inkwell-faults-") as folder:
        return _try_all(Path(folder), found, may_mount, options.workers)


def _start_with_mounts(arguments: list[str]) -> None:
    """Becomes a process with mounts of its own, which end with it, if the system allows that."""
    words = [sys.executable, "-m", "benchmarks.faults", *arguments]
    program = shutil.which("unshare")
    for options in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        if program and not subprocess.run([program, *options, "true"], check=False).returncode:
            os.environ[_INSIDE] = "yes"
            os.execv(program, [program, *options, *words])  # noqa: S606 - there is no shell
    os.environ[_INSIDE] = "no"


def _try_all(folder: Path, found: list, may_mount: bool, workers: int) -> int:
    began = time.monotonic()
    for name in _ONE_THREAD:  # forks must not meet threads that wait
        os.environ.setdefault(name, "1")
    _import_all(folder)
    from benchmarks.faults.place import Place

    place = Place(folder, may_mount)
    try:
        place.keep()
        print(f"Imports and an unbroken run took {time.monotonic() - began:.0f} s.", flush=True)
        return _count(place, found, workers, began)
    finally:
        place.close()


def _count(place: Any, found: list, workers: int, began: float) -> int:
    from benchmarks.faults import trial

    left_out = [one for one in found if one.row.mounts and not place.mounted]
    counts = {"held": 0, "lost": 0}
    with concurrent.futures.ProcessPoolExecutor(
        workers if place.mounted else 1,
        multiprocessing.get_context("fork"),
        initializer=trial.begin,
        initargs=(place,),
    ) as pool:
        tried = [one for one in found if one not in left_out]
        jobs = [pool.submit(trial.try_all, job) for job in trial.jobs(tried)]
        for job in concurrent.futures.as_completed(jobs):
            for title, words in job.result():
                counts["lost" if words else "held"] += 1
                told = f"LOST  {title}: {words}" if words else f"held  {title}"
                print(f"{time.monotonic() - began:5.0f} s  {told}", flush=True)
    for one in left_out:
        print(f"not tried, as nothing can be mounted here: {one.title}")
    print(f"tried {sum(counts.values())}  held {counts['held']}  lost {counts['lost']}")
    return 0 if counts["lost"] == 0 and not left_out else 1


def _import_all(folder: Path) -> None:
    """Imports what a run imports, and lets libraries start no threads."""
    log = os.open(folder / "imports", os.O_WRONLY | os.O_CREAT)
    screen = os.dup(2)
    os.dup2(log, 2)
    from pipeline.environment import set_environment

    argv = sys.argv
    set_environment()
    sys.argv = argv
    import pipeline.cli.main
    import pipeline.local.runner
    import pipeline.pipeline  # noqa: F401 - TensorFlow and TFX, ten seconds

    os.dup2(screen, 2)
    os.close(screen)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main())
