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
from rich.console import Console
from rich.table import Table

from benchmarks.tables import machine
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
    parser.add_argument(
        "--data", default=str(ROOT / "data" / "mnist"), help="directory of IDX files"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="inkwell-benchmark-") as folder:
        data = os.path.abspath(options.data)
        cold = measure(options.profile, data, Path(folder))
        print(f"cold run: {cold.seconds:.0f} s, exit code {cold.exit_code}", file=sys.stderr)
        cached = measure(options.profile, data, Path(folder))
    print(f"profile {options.profile}, {machine()}")
    Console(width=100).print(table(cold, cached))
    return cold.exit_code or cached.exit_code


def measure(profile: str, data: str, folder: Path) -> Measurement:
    """Runs the pipeline once in ``folder``; a second call there finds everything cached."""
    command = [
        sys.executable,
        "-m",
        "pipeline.cli.main",
        "run",
        "--profile",
        profile,
        "--data",
        data,
    ]
    command += ["--output", str(folder / "out"), "--set", f"serving_dir={folder / 'serving'}"]
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


def table(cold: Measurement, cached: Measurement) -> Table:
    """One row per node, then the rest (start of Python and TFX), the sum and the memory."""
    found = Table(box=None)
    found.add_column("node")
    found.add_column("cold, s", justify="right")
    found.add_column("cached, s", justify="right")
    for node_id, seconds in cold.nodes.items():
        again = cached.nodes.get(node_id)
        found.add_row(node_id, f"{seconds:.1f}", "" if again is None else f"{again:.1f}")
    rest = [run.seconds - sum(run.nodes.values()) for run in (cold, cached)]
    found.add_row("start and end", *(f"{seconds:.1f}" for seconds in rest))
    found.add_section()
    found.add_row("all", *(f"{run.seconds:.1f}" for run in (cold, cached)))
    found.add_row("peak memory, MiB", *(f"{run.peak_mib:.0f}" for run in (cold, cached)))
    found.add_row("exit code", str(cold.exit_code), str(cached.exit_code))
    return found


if __name__ == "__main__":
    sys.exit(main())
