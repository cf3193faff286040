"""Measures a whole run: seconds per node, cold and cached, and the peak memory of both.

    python -m benchmarks.pipeline --profile quick

Contract: two runs of ``inkwell run`` as processes of their own in a fresh directory; memory is the
resident size of the process and its children, sampled twice a second. Takes as long as the profile.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import tables
from pipeline.profiles import profile_names

ROOT = Path(__file__).resolve().parents[1]
_MNIST = ROOT / "data" / "mnist"
_SECONDS_BETWEEN_SAMPLES = 0.5


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One run: seconds by node, seconds in all with start-up, peak memory in MiB, exit code."""

    nodes: dict[str, float]
    seconds: float
    peak_mib: float
    exit_code: int


def main(arguments: list[str] | None = None) -> int:
    """Runs twice and prints the table; returns the exit code of the first run that failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="quick", choices=profile_names())
    parser.add_argument("--data", default=str(_MNIST), help="directory of IDX files")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="inkwell-benchmark-") as folder:
        data = os.path.abspath(options.data)
        cold = measure(options.profile, data, Path(folder))
        print(f"cold run: {cold.seconds:.0f} s, exit code {cold.exit_code}", file=sys.stderr)
        cached = measure(options.profile, data, Path(folder))
    tables.show(f"profile {options.profile}, {tables.machine()}", rows(cold, cached), 100)
    return cold.exit_code or cached.exit_code


def measure(profile: str, data: str, folder: Path) -> Measurement:
    """Runs the pipeline once in ``folder``; a second call there finds everything cached."""
    command = [sys.executable, "-P", "-m", "pipeline.cli.main", "run"]
    command += ["--profile", profile, "--data", data, "--output", str(folder / "out")]
    command += ["--set", f"serving_dir={folder / 'serving'}"]
    started, peak = time.monotonic(), 0
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while process.poll() is None:
        peak = max(peak, tree_memory(process.pid))
        time.sleep(_SECONDS_BETWEEN_SAMPLES)
    seconds = time.monotonic() - started
    records = sorted((folder / "out" / profile / "runs").glob("*.json"))
    result = json.loads(records[-1].read_text())["result"] if records else {"nodes": []}
    nodes = {n["id"]: n["seconds"] for n in result["nodes"] if n["seconds"] is not None}
    return Measurement(nodes, seconds, peak / 2**20, process.returncode)


def tree_memory(pid: int) -> int:
    """Resident bytes of a process and all its children; 0 once it has gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def rows(cold: Measurement, cached: Measurement) -> list[list[str]]:
    """A line of titles, one per node, then the rest (start of Python and TFX), sum and memory."""
    lines = [["node", "cold, s", "cached, s"]]
    for node_id, seconds in cold.nodes.items():
        again = cached.nodes.get(node_id)
        lines.append([node_id, f"{seconds:.1f}", "" if again is None else f"{again:.1f}"])
    both = (cold, cached)
    rest = [run.seconds - sum(run.nodes.values()) for run in both]
    lines.append(["start and end", *(f"{seconds:.1f}" for seconds in rest)])
    lines.append(["all", *(f"{run.seconds:.1f}" for run in both)])
    lines.append(["peak memory, MiB", *(f"{run.peak_mib:.0f}" for run in both)])
    return [*lines, ["exit code", *(f"{run.exit_code}" for run in both)]]


if __name__ == "__main__":
    sys.exit(main())
