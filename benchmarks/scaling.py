"""Measures how every node grows with the data: CPU seconds, time and memory, 10k to 120k images.

    python -m benchmarks.scaling --markdown scaling.md                     about half an hour

Contract: every node runs as a process of its own, through the simulation of a Kubeflow backend, as
its pod would; CPU seconds and the largest resident size are the kernel's. 10,000 and 30,000 are the
first of MNIST's training file, 60,000 are all of it, 120,000 are all of it twice; the test file is
the same 10,000. The order is the slope of log(CPU seconds - those of the node ``schema``, which
does nothing but start) over log(images), with its standard error.
"""

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import tables
from components.idx_example_gen.data import read_data
from components.idx_example_gen.idx import write_idx
from pipeline.plan import NODES
from pipeline.profiles import profile_names

ROOT = Path(__file__).resolve().parents[1]
MNIST = ROOT / "data" / "mnist"
SIZES = (10_000, 30_000, 60_000, 120_000)
SETTINGS = (  # one epoch of each training, everything else as in the quick profile
    *("judge.epochs=1", "autoencoder.epochs=1", "diffusion.epochs=1", "gan.epochs=1"),
    *("finetune_autoencoder.epochs=1", "finetune_diffusion.epochs=1"),
)
START = "schema"  # its process imports TFX and copies two small files
_LEAST_GROWTH = 2.0  # CPU seconds from the smallest to the largest size; less is not growth


@dataclasses.dataclass(frozen=True)
class Cost:
    """One node at one size."""

    cpu_seconds: float
    seconds: float
    mib: float


def main(arguments: list[str] | None = None) -> int:
    """Measures all sizes and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--profile", default="quick", choices=profile_names())
    parser.add_argument("--set", action="append", default=None, metavar="KEY=VALUE")
    parser.add_argument("--workers", type=int, default=1, help="nodes that run at the same time")
    parser.add_argument("--markdown", help="file to write the table to as well")
    options = parser.parse_args(arguments)
    settings = SETTINGS if options.set is None else options.set
    costs: dict[int, dict[str, Cost]] = {}
    loads = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="inkwell-scaling-") as folder:
            data = write_data(Path(folder) / "data", size)
            costs[size] = measure(
                data, Path(folder), options.profile, list(settings), options.workers
            )
        loads.append(os.getloadavg()[0])
        print(f"{size} images measured, load {loads[-1]:.1f}", file=sys.stderr, flush=True)
        caption = (
            f"{tables.machine()}, {options.workers} node(s) at a time, load "
            f"{min(loads):.1f} to {max(loads):.1f}; profile {options.profile} with "
            f"{' '.join(settings)}"
        )
        lines = rows(costs)
        tables.write(options.markdown, caption, lines)  # the next size takes longer still
    tables.show(caption, lines)
    return 0


def write_data(folder: Path, size: int) -> Path:
    """A data directory with ``size`` training images; without a baseline, so without drift."""
    folder.mkdir(parents=True)
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        shutil.copy(MNIST / name, folder)
    train = read_data(str(MNIST)).splits["train"]
    images, labels = train.images, train.labels
    if size > len(images):
        images = np.concatenate([images, images])
        labels = np.concatenate([labels, labels])
    if size > len(images):
        raise ValueError(f"There are only {len(images)} images, not {size}.")
    write_idx(str(folder / "train-images-idx3-ubyte.gz"), images[:size])
    write_idx(str(folder / "train-labels-idx1-ubyte.gz"), labels[:size])
    return folder


def measure(
    data: Path, folder: Path, profile: str, settings: Sequence[str], workers: int
) -> dict[str, Cost]:
    """Runs the pipeline once; raises ``RuntimeError`` with the log of a node that failed."""
    from pipeline.environment import set_environment

    set_environment()
    from benchmarks.kubeflow_backend import Backend
    from pipeline.config import load_config
    from pipeline.kubeflow.cluster import load_cluster
    from pipeline.kubeflow.compiler import compile_pipeline

    cluster = load_cluster()
    store = dataclasses.replace(cluster.serving_store, mount=str(folder / "models"))
    cluster = dataclasses.replace(cluster, data_uri=str(data), serving_store=store, max_retries=0)
    package = folder / "pipeline.yaml"
    compile_pipeline(load_config(profile, str(data), settings), cluster, package)
    run = Backend(folder / "kfp", workers).run(package)
    for task in run.tasks.values():
        if task.state == "FAILED":
            raise RuntimeError(f"{task.name} failed:\n{task.log[-3000:]}")
    return {
        name: Cost(task.cpu_seconds, task.ended - task.started, task.peak_bytes / 2**20)
        for name, task in run.tasks.items()
    }


def order(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Slope of log(seconds) over log(sizes), and its standard error (least squares)."""
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float))
    slope, intercept = np.polyfit(x, y, 1)
    if len(x) <= 2:
        return float(slope), float("nan")
    rest = y - slope * x - intercept
    variance = (rest**2).sum() / (len(x) - 2) / ((x - x.mean()) ** 2).sum()
    return float(slope), float(np.sqrt(variance))


def growth(sizes: Sequence[int], seconds: Sequence[float], start: Sequence[float]) -> str:
    """The order in words: ``1.02 ± 0.03``, or ``constant``."""
    if seconds[-1] - seconds[0] < _LEAST_GROWTH:
        return "constant"
    work = [max(taken - idle, 0.1) for taken, idle in zip(seconds, start, strict=True)]
    slope, error = order(sizes, work)
    return f"{slope:.2f}" if np.isnan(error) else f"{slope:.2f} ± {error:.2f}"


def rows(costs: Mapping[int, Mapping[str, Cost]]) -> list[list[str]]:
    """A line of titles, one for each node, and one of sums."""
    sizes = sorted(costs)
    titles = ["node", *(f"{size // 1000}k, CPU s" for size in sizes), "order"]
    lines = [[*titles, f"{sizes[-1] // 1000}k, s", *(f"{size // 1000}k, MiB" for size in sizes)]]
    start = [costs[size][START].cpu_seconds for size in sizes]
    for node_id in NODES:
        found = [costs[size][node_id] for size in sizes]
        cpu = [cost.cpu_seconds for cost in found]
        lines.append(
            [
                *(node_id, *(f"{value:.1f}" for value in cpu), growth(sizes, cpu, start)),
                *(f"{found[-1].seconds:.1f}", *(f"{cost.mib:.0f}" for cost in found)),
            ]
        )
    sums = [sum(cost.cpu_seconds for cost in costs[size].values()) for size in sizes]
    peaks = [max(cost.mib for cost in costs[size].values()) for size in sizes]
    all_starts = [len(NODES) * value for value in start]
    whole = sum(cost.seconds for cost in costs[sizes[-1]].values())
    lines.append(
        [
            *("all (memory: the largest)", *(f"{value:.1f}" for value in sums)),
            *(growth(sizes, sums, all_starts), f"{whole:.1f}", *(f"{peak:.0f}" for peak in peaks)),
        ]
    )
    return lines


if __name__ == "__main__":
    started = time.monotonic()
    status = main()
    print(f"measured in {time.monotonic() - started:.0f} s", file=sys.stderr)
    sys.exit(status)
