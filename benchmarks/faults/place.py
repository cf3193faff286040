"""The place of the accidents: data, outputs and serving directory of real runs of ``inkwell``.

Contract: one unbroken run is made and kept; ``reset`` brings it back byte for byte, and
``trouble`` compares what an accident left with it.
"""

import ctypes
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.commands import ROOT, Ended, How, Lost, inkwell, system
from components.idx_example_gen.data import read_data
from components.idx_example_gen.idx import write_idx
from core.files import digests
from core.models import MODELS
from pipeline.config import load_config
from pipeline.plan import NODES, TRAINERS
from pipeline.results import RunResult, load_results

IMAGES = 1000  # per split: the fewest that a run takes
PROFILE = "smoke"
# As small as the settings allow: the accident is what is tried, not the model.
SETTINGS = (
    *("judge.channels=4", "judge.epochs=1", "autoencoder.channels=4", "autoencoder.epochs=2"),
    *("diffusion.channels=4", "diffusion.global_width=16", "diffusion.sample_steps=1"),
    *("gan.channels=4", "gan.sample_every=20", "evaluator.samples=100"),
    *("evaluator.generate_steps=1", "evaluator.tsne_samples=60", "evaluator.tsne_perplexity=5"),
    *("evaluator.kmeans_seeds=1", "evaluator.denoising_images=20", "evaluator.anomaly_images=20"),
    *("evaluator.bootstrap_replicates=5", "evaluator.distance_replicates=2"),
    *("evaluator.pair_images=50", "evaluator.memorisation_images=20"),
    *("evaluator.inception_splits=2", "evaluator.noise_levels=[0.4]"),
    *("serving_check.latency_requests=3", "serving_check.generate_steps=1"),
    *("serving_check.images=2", "evaluator.gates.autoencoder.reconstruction_mse.threshold=1"),
)
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # among the variables, but none
_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS of unshare(2)
_STAGED = re.compile(r"\..+\.[0-9a-f]{16}")  # as core.files names what it has not renamed yet


class Place:
    """Directories below one folder, and the runs that work on them."""

    def __init__(self, folder: Path, mounted: bool):
        """Makes the directories.

        Args:
            folder: Of our own; an unbroken run that is kept there is used again.
            mounted: Whether the place may be a file system of its own, in memory.
        """
        self._folder, self.mounted = folder, mounted
        self.now, self._kept, self.empty = (folder / name for name in ("now", "kept", "empty"))
        self.data, self.output = self.now / "data", self.now / "out"
        self.serving = self.now / "serving"
        self.profile = self.output / PROFILE
        self.now.mkdir(parents=True, exist_ok=True)
        self.alone()

    def alone(self) -> None:
        """Gives this process a place of its own under the same path, where it may mount."""
        self._talk = self._folder / f"talk-{os.getpid()}"
        self._talk.mkdir()
        if self.mounted:
            if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
                raise OSError(ctypes.get_errno(), "no mounts of its own")
            system("mount", "-t", "tmpfs", "tmpfs", self.now)

    def close(self) -> None:
        """Takes the file system away."""
        if self.mounted:
            system("umount", "--lazy", self.now)

    def keep(self) -> None:
        """Makes the data and runs the pipeline unbroken, and keeps what it leaves.

        Raises:
            Lost: It did not end well.
        """
        if self._kept.exists():
            self.reset()
        else:
            _few_digits(self.data)
            shutil.copytree(self.now, self.empty)
            ended = self.run()
            if ended.code != 0:
                raise Lost(f"the unbroken run ended with {ended.code}: {ended.words}")
            system("cp", "-a", self.now, self._kept)
        self.seconds = {node.id: node.seconds or 0.0 for node in self.result().nodes}
        self.expected = self.contents()
        self._input = digests(self.data)

    def reset(self, source: Path | None = None) -> None:
        """Brings the kept state back, or another one."""
        for path in self.now.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        system("cp", "-a", f"{source or self._kept}/.", self.now)

    def command(self, how: How) -> list[str]:
        """The words after ``inkwell``."""
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        return [
            *("run", "--profile", PROFILE, "--data", str(self.data)),
            *("--output", str(how.output or self.output)),
            *("--set", f"serving_dir={self.serving}", *settings, *how.options),
        ]

    def run(self, how: How | None = None) -> Ended:
        """Runs the command and waits for its end."""
        how = how or How()
        return self.inkwell(self.command(how), how)

    def inkwell(self, arguments: list[str], how: How | None = None) -> Ended:
        """Runs any command of ``inkwell``; raises ``Lost`` if it leaves a process behind."""
        return inkwell(arguments, how or How(), self._talk)

    def result(self, output: Path | None = None) -> RunResult:
        """The record of the newest run.

        Raises:
            Lost: There is none.
        """
        results = load_results(output or self.output)
        if not results:
            raise Lost("no run is recorded")
        return results[-1]

    def contents(self, output: Path | None = None) -> dict[str, str]:
        """Digests of all weights, and the values of all metrics, of the newest artifacts."""
        found = {}
        pipeline = (output or self.output) / PROFILE / "pipeline"
        for node_id in TRAINERS:
            found[node_id] = _weights(_newest(pipeline / node_id / "model") / "Format-Serving")
        for name, model in MODELS.items():
            evaluation = _newest(pipeline / model.evaluator / "evaluation") / "metrics.json"
            metrics = json.loads(evaluation.read_text(encoding="utf-8"))
            values = [[figure["name"], figure["value"]] for figure in metrics["figures"]]
            found[model.evaluator] = json.dumps(values)
            found[f"served {name}"] = _weights(_newest(self.serving / name))
        return found

    def trouble(self, output: Path | None = None) -> Iterator[str]:
        """What is not as an unbroken run leaves it, a sentence each."""
        result = self.result(output)
        states = {node.state for node in result.nodes}
        if result.failure or len(result.nodes) != len(NODES) or not states <= {"done", "cached"}:
            yield f"the run is recorded as {result.verdict}, with nodes {sorted(states)}"
        if not all(model.pushed and not model.problem for model in result.models):
            yield "not every model is in serving"
        found = self.contents(output)
        for key, value in self.expected.items():
            if found[key] != value:
                yield f"{key} is not that of the unbroken run"
        if self.data.exists() and digests(self.data) != self._input:
            yield "the input was changed"
        for path in self.now.rglob(".*"):
            if _STAGED.fullmatch(path.name):
                yield f"{path.relative_to(self.now)} was left behind"


def _few_digits(folder: Path) -> None:
    folder.mkdir()
    config = load_config(PROFILE, None, [f"data.max_images={IMAGES}"])
    for split, digits in read_data(str(ROOT / config.data_dir), config.data).splits.items():
        name = {"train": "train", "test": "t10k"}[split]
        write_idx(str(folder / f"{name}-images-idx3-ubyte.gz"), digits.images)
        write_idx(str(folder / f"{name}-labels-idx1-ubyte.gz"), digits.labels)


def _newest(folder: Path) -> Path:
    numbers = [int(path.name) for path in folder.glob("[0-9]*")]
    if not numbers:
        raise Lost(f"{folder} is empty")
    return folder / str(max(numbers))


def _weights(saved_model: Path) -> str:
    """Digest of the values of all variables; their order in the files is not always the same."""
    from tensorflow.python.training import py_checkpoint_reader

    reader = py_checkpoint_reader.NewCheckpointReader(str(saved_model / "variables" / "variables"))
    names = sorted(reader.get_variable_to_shape_map())
    values = [reader.get_tensor(name) for name in names if name != _GRAPH]
    found = sorted(
        hashlib.sha256(repr((value.dtype, value.shape)).encode() + value.tobytes()).hexdigest()
        for value in values
    )
    return hashlib.sha256(" ".join(found).encode()).hexdigest()
