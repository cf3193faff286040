"""Plants small faults in a copy of the code, one at a time, and tells which ones no test notices.

Contract: ``mutants.yaml`` lists the faults and the tests that must notice each. Those tests run
once without a fault first, and must pass. Exit code 1 if a fault survives or its tests could not
run. `make mutants` plants all of them, `make mutants ARGS="gan kid"` those with such a name.
"""

import argparse
import concurrent.futures
import dataclasses
import multiprocessing
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tests" / "mutants.yaml"
NOTICED, SURVIVES, NOT_RUN = "noticed", "SURVIVES", "NOT RUN"
_LIMIT_S = 1200  # of the tests of one fault; above pytest's own, which ends a test that hangs
# Imported once, before any of our code: each run of tests is a fork of that process.
_PRELOAD = ["pytest", "tensorflow", "keras", "scipy.stats", "sklearn.cluster"]


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One fault: ``new`` in place of ``old``, which is in ``file`` exactly once."""

    name: str
    file: str  # relative to the root
    old: str
    new: str
    tests: tuple[str, ...]  # node ids of pytest; one of them must fail

    def apply(self, tree: Path) -> str:
        """Plants the fault in ``tree``; returns the file's former text."""
        path = tree / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: its text is {text.count(self.old)} times in {path}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return text


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """The faults of the list, in its order."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [Mutant(**{**given, "tests": tuple(given["tests"])}) for given in found]


def copy_tree(target: Path) -> None:
    """Copies the files of the checkout that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def run_pytest(tree: Path, tests: Sequence[str], log: Path) -> None:
    """Runs ``tests`` of ``tree`` until one fails, in this process, and ends it."""
    os.setsid()  # servers that a test starts are killed with it
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    own = {"", str(ROOT), str(ROOT / "tests")}
    sys.path[:] = [str(tree), *(place for place in sys.path if place not in own)]
    import pytest

    options = ["-x", "-q", "-m", "not slow", "-p", "no:randomly", "-p", "no:cacheprovider"]
    sys.exit(int(pytest.main([*options, *tests])))


def run_tests(tree: Path, tests: Sequence[str], limit_s: float) -> tuple[str, str, float]:
    """What comes of ``tests`` in ``tree``: the verdict, the test or words behind it, seconds."""
    log, started = tree.with_suffix(".log"), time.monotonic()
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=run_pytest, args=(tree, tests, log))
    process.start()
    process.join(limit_s)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return NOT_RUN, f"no end within {limit_s:g} s", limit_s
    seconds, said = time.monotonic() - started, log.read_text(errors="replace")
    if process.exitcode == 0:
        return SURVIVES, "", seconds
    found = re.search(r"^(?:FAILED|ERROR) \S+?::(\S+)", said, re.M)
    if process.exitcode == 1 and found:
        return NOTICED, found.group(1), seconds
    last = (said.strip().splitlines() or ["no output"])[-1]
    return NOT_RUN, f"exit code {process.exitcode}: {last}", seconds


def run_mutants(mutants: Sequence[Mutant], workers: int) -> int:
    """Tests all faults and prints a table; the number of those that were not noticed."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: queue.Queue[Path] = queue.Queue()
        for number in range(workers):
            copy_tree(tree := Path(folder) / f"tree{number}")
            trees.put(tree)
        for mutant in mutants:  # all can be planted, or nothing is run
            (tree / mutant.file).write_text(mutant.apply(tree), encoding="utf-8")
        tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        verdict, words, seconds = run_tests(trees.queue[0], tests, _LIMIT_S * workers * 10)
        if verdict != SURVIVES:
            print(f"The tests fail without a fault: {words}", flush=True)
            return len(mutants)
        print(f"{len(tests)} tests pass without a fault ({seconds:.0f} s)", flush=True)
        width = max(len(mutant.name) for mutant in mutants)

        def one(mutant: Mutant) -> str:
            tree = trees.get()
            text = mutant.apply(tree)
            verdict, words, seconds = run_tests(tree, mutant.tests, _LIMIT_S)
            (tree / mutant.file).write_text(text, encoding="utf-8")
            trees.put(tree)
            print(f"{mutant.name:{width}}  {verdict:8}  {seconds:4.0f} s  {words}", flush=True)
            return verdict

        started = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            verdicts = list(pool.map(one, mutants))
    missed = [m.name for m, verdict in zip(mutants, verdicts, strict=True) if verdict != NOTICED]
    print(f"{len(mutants) - len(missed)} of {len(mutants)} faults noticed, ", end="")
    print(f"{time.monotonic() - started:.0f} s{''.join(f'; not {name}' for name in missed)}")
    return len(missed)


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of names; none: all faults")
    parser.add_argument("--workers", type=int, default=1, help="copies of the tree at work at once")
    given = parser.parse_args()
    mutants = [
        mutant
        for mutant in read_mutants()
        if not given.words or any(word in mutant.name for word in given.words)
    ]
    if not mutants:
        parser.error(f"no fault's name holds {' or '.join(given.words)}")
    os.environ |= {"TF_USE_LEGACY_KERAS": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}  # read by the import
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # so is this; threads that wait for each other cost
    multiprocessing.set_forkserver_preload(_PRELOAD)
    return 1 if run_mutants(mutants, given.workers) else 0


if __name__ == "__main__":
    sys.exit(main())
