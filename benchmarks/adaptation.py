"""Compares ways to adapt a trained autoencoder and denoiser to new data in equal processor time.

    python -m benchmarks.adaptation --serving serving_models --other DIR      15 processor minutes

Contract: a way is a choice of the layers that are trained and of their first weights: none of the
pushed network, its last layers (the pipeline's fine-tuning), all its layers, all layers of a new
network. Two things are the same for all: the objective, which is pixels alone, without contrastive
or clustering loss, and the peak of the learning rate, which is the first training's. Each training
gets as many steps as fit into ``--seconds`` of processor time over all threads, without
compilation; images repeat where there are fewer than the steps need. Metrics are of the held-out
images of the train file, which are in no training; the test images are not used. Intervals are
over images, in pairs, of the means over seeds.
"""

import dataclasses
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.processors import use_processors

if __name__ == "__main__":
    use_processors()  # before TensorFlow is imported below

import keras
import numpy as np
from scipy.ndimage import grey_dilation
from scipy.special import expit

from benchmarks import command, tables
from benchmarks.command import mistakes_exit
from benchmarks.splits import Splits, first_images, read_splits
from benchmarks.train_models import SIGMA, denoised
from benchmarks.train_speed import per_step
from components.evaluator.metrics.bootstrap import interval, mean_replicates
from components.evaluator.metrics.denoising import add_noise
from components.evaluator.metrics.reconstruction import psnr
from core.artifacts import KERAS_DIR
from core.config import InputError, require
from core.digits import Digits
from pipeline.config import RunConfig, load_config
from serving.releases import whole_version
from serving.versions import extra_file
from trainer_modules.autoencoder import train as autoencoder
from trainer_modules.common.keras_files import load_network, save_network
from trainer_modules.common.steps import STEPS
from trainer_modules.common.trained import Hooks, Trained
from trainer_modules.diffusion import train as diffusion
from trainer_modules.diffusion.model import build_network

OLD, LAST, ALL, NEW = "unchanged", "last layers", "all layers", "new network"
_OTHER = "another data set"
_THICK, _NOISY = "thick strokes", "more noise"
TASKS = (_OTHER, _THICK, _NOISY)
_STRONG = 1.2  # standard deviation of the noise of that task, pixels in [0, 1]
_TIMED_STEPS = 3 * STEPS  # from which the seconds of a step follow
_MONITORED = 512  # held-out images for the trainings' own curves
_TITLES = [
    *("model", "new data", "trained", "weights", "steps", "seconds", "dB", "dB on old data"),
    "last layers better by, dB",
]
Networks = Mapping[str, keras.Model]
Base = Callable[[str], keras.Model]  # loads a network by the name of its file
_RECIPES: Mapping[str, Any] = {"autoencoder": autoencoder, "diffusion": diffusion}
_NETWORKS = {"autoencoder": ("encoder", "decoder"), "diffusion": ("denoiser",)}


@dataclasses.dataclass(frozen=True)
class Task:
    """New data; ``noise``, if there is any, is stronger than that of the first training."""

    train: Digits
    held_out: Digits
    noise: float | None = None


class Clock(keras.callbacks.Callback):
    """Notes steps done and processor seconds after each call, which is of ``STEPS`` steps."""

    def __init__(self):
        super().__init__()
        self.ends: list[tuple[int, float]] = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append((batch + 1, time.process_time()))

    def step(self) -> float:
        """Seconds of a step, without the first call's, which compiles."""
        return per_step(self.ends)


@mistakes_exit("adaptation")
def main(arguments: list[str] | None = None) -> int:
    """Adapts the models and prints the table; returns 2 after a user's mistake."""
    parser = command.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=list(_RECIPES), choices=list(_RECIPES))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--serving", help="directory of pushed models; they are trained without it")
    parser.add_argument("--other", help=f"IDX files of {_OTHER}; that task is left out without it")
    parser.add_argument("--images", type=int, help="new train images; without it, all")
    parser.add_argument("--seconds", type=float, default=8.0, help="processor time of a training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each way")
    parser.add_argument("--markdown", help="file to write the table to as well")
    options = parser.parse_args(arguments)
    require(options.seeds >= 1, "--seeds must be at least 1.")
    require(options.seconds > 0, "--seconds must be above 0.")
    require(options.images is None or options.images >= 1, "--images must be at least 1.")
    config = load_config(options.profile, options.data, options.set)
    splits = read_splits(config.data_dir, config.data.max_images)
    tasks = {name: _changed(name, splits) for name in options.tasks if name != _OTHER}
    if options.other and _OTHER in options.tasks:
        other = read_splits(options.other, config.data.max_images)
        tasks = {_OTHER: Task(other.train, other.held_out), **tasks}
    words = command.caption(options)
    lines = [_TITLES]
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            base = _base(model, config, splits, options.serving, Path(folder) / model)
            effort: dict[str, Effort] = {}
            for name, task in tasks.items():
                task = dataclasses.replace(task, train=first_images(task.train, options.images))
                adaptation = Adaptation(model, config, base, splits.held_out, task)
                effort = effort or adaptation.effort_in(options.seconds)
                found = adaptation.measure(effort, range(1, options.seeds + 1))
                lines += [[model, name, *line] for line in rows(found, config)]
                tables.write(options.markdown, words, lines)
    tables.show(words, lines, 160, left=3)
    return 0


def _changed(name: str, splits: Splits) -> Task:
    """The data of the run with other ink or noise."""
    train, held_out = splits.train.images, splits.held_out.images
    if name == _THICK:
        train, held_out = (grey_dilation(images, (1, 2, 2, 1)) for images in (train, held_out))
    statistics = {"pixel_mean": float(train.mean()), "pixel_std": float(train.std())}
    return Task(
        dataclasses.replace(splits.train, images=train, **statistics),
        dataclasses.replace(splits.held_out, images=held_out, **statistics),
        _STRONG if name == _NOISY else None,
    )


def _base(model: str, config: RunConfig, splits: Splits, serving: str | None, folder: Path) -> Base:
    """The pushed networks of ``model``; without ``serving``, trained now and kept in ``folder``."""
    if serving:
        version = whole_version(serving, model)
        if version is None:
            raise InputError(f"{serving} has no version of {model} in serving.")
        return functools.partial(load_network, extra_file(version, KERAS_DIR))
    data, recipe = (splits.train, splits.held_out), _RECIPES[model]
    first = recipe.train(getattr(config, model), *data).served()
    tuned = recipe.finetune(getattr(config, f"finetune_{model}"), first.__getitem__, *data)
    for name, network in tuned.served().items():
        save_network(network, folder, name)
    return functools.partial(load_network, folder / KERAS_DIR)


@dataclasses.dataclass(frozen=True)
class Effort:
    """What a training costs."""

    steps: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Found:
    """What one way reached, and how."""

    decibels: np.ndarray  # [seeds, N] of the new held-out images
    old: float  # mean of the old ones
    weights: int = 0  # that are trained
    effort: Effort = Effort()


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """One model and one task."""

    model: str
    config: RunConfig
    base: Base
    old: Digits  # held-out images of the data that the base was trained on
    task: Task

    def effort_in(self, seconds: float) -> dict[str, Effort]:
        """How many steps of each way fit into ``seconds``."""
        found = {}
        for way in (LAST, ALL):
            clock = Clock()
            self._train(way, _TIMED_STEPS, 1, [clock])
            steps = max(2, round(seconds / clock.step()))
            found[way] = Effort(steps, steps * clock.step())
        return {**found, NEW: found[ALL]}

    def measure(self, effort: Mapping[str, Effort], seeds: Sequence[int]) -> dict[str, Found]:
        """The base as it is, then each way, trained with each seed."""
        base = {name: self.base(name) for name in _NETWORKS[self.model]}
        new, old = self._decibels(base, self.old)
        found = {OLD: Found(new[None], float(old.mean()))}
        for way, cost in effort.items():
            measured, weights = [], 0
            for seed in seeds:
                trained = self._train(way, cost.steps, seed)
                networks = trained.networks.values()
                weights = sum(int(np.prod(w.shape)) for n in networks for w in n.trainable_weights)
                measured.append(self._decibels(trained.served(), self.task.train))
            new, old = (np.stack(part) for part in zip(*measured, strict=True))
            found[way] = Found(new, float(old.mean()), weights, cost)
            print(self.model, way, f"{new.mean():.2f} dB", file=sys.stderr, flush=True)
        return found

    def _train(
        self, way: str, steps: int, seed: int, callbacks: Sequence[keras.callbacks.Callback] = ()
    ) -> Trained:
        """Trains for so many steps by one way."""
        first = getattr(self.config, self.model)
        settings = getattr(self.config, f"finetune_{self.model}")
        changes = {"learning_rate": first.learning_rate, "epochs": 1, "seed": seed, **self._noise()}
        if way != LAST:
            changes["layers"] = ("",)  # with which every name begins
        settings = dataclasses.replace(settings, **changes)
        order = np.random.default_rng(seed).permutation(len(self.task.train.images))
        rows = np.resize(order, steps * settings.batch_size)
        train = self.task.train
        train = dataclasses.replace(train, images=train.images[rows], labels=train.labels[rows])
        data, hooks = (train, first_images(self.task.held_out, _MONITORED)), Hooks(callbacks)
        if self.model == "diffusion":

            def start(_: str) -> keras.Model:
                return build_network(first) if way == NEW else self.base("denoiser")

            return diffusion.finetune(settings, start, *data, hooks)
        if way == LAST:
            return autoencoder.finetune(settings, self.base, *data, hooks)
        shared = dataclasses.asdict(settings)
        del shared["layers"]
        pixels = dataclasses.replace(first, **shared, contrastive_weight=0.0, cluster_weight=0.0)
        hooks = dataclasses.replace(hooks, initial=None if way == NEW else self.base)
        return autoencoder.train(pixels, *data, hooks)

    def _noise(self) -> dict[str, float]:
        """Settings of the noise of the task; nothing if it has none of its own."""
        if self.task.noise is None:
            return {}
        own = (
            {"noisy_share": 1.0}
            if self.model == "autoencoder"
            else {"noise_low": self.task.noise / 2}
        )
        return {**own, "noise_high": 1.5 * self.task.noise}

    def _decibels(self, networks: Networks, statistics: Digits) -> tuple[np.ndarray, np.ndarray]:
        """PSNR of each new and each old held-out image: [N] and [M].

        Without noise of the task, the autoencoder sees clean images, the denoiser noise 0.4.
        """
        usual = 0.0 if self.model == "autoencoder" else SIGMA
        settings, mean, std = self.config.evaluator, statistics.pixel_mean, statistics.pixel_std

        def measure(data: Digits, noise: float) -> np.ndarray:
            clean = data.images[: settings.denoising_images]
            noisy = add_noise(clean, noise, settings.seed)
            if self.model == "diffusion":
                return psnr(clean, denoised(networks["denoiser"], noisy, mean, std, noise))
            code = networks["encoder"].predict(noisy, batch_size=500, verbose=0)
            logits = networks["decoder"].predict(code, batch_size=500, verbose=0)
            return psnr(clean, expit(logits))

        return measure(self.task.held_out, self.task.noise or usual), measure(self.old, usual)


def rows(found: Mapping[str, Found], config: RunConfig) -> list[list[str]]:
    """A line of the table for each way, without model and task."""
    settings, lines = config.evaluator, []
    for way, one in found.items():
        means, better = one.decibels.mean(axis=1), ""
        deviation = f" ± {means.std(ddof=1):.2f}" if len(means) > 1 else ""
        if way != LAST:
            gains = (found[LAST].decibels.mean(axis=0) - one.decibels.mean(axis=0)).astype(float)
            replicates = mean_replicates(gains, settings.bootstrap_replicates, settings.seed)
            low, high = interval(float(gains.mean()), replicates)
            better = f"{gains.mean():.2f} ({low:.2f} to {high:.2f})"
        cost = [f"{one.weights:,}", f"{one.effort.steps}", f"{one.effort.seconds:.1f}"]
        lines.append([way, *cost, f"{means.mean():.2f}{deviation}", f"{one.old:.2f}", better])
    return lines


if __name__ == "__main__":
    sys.exit(main())
