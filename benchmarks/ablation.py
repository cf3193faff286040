"""Measures what each choice of a generative model is worth: it is trained again without it.

    python -m benchmarks.ablation --examples DIR --judge DIR     6 minutes a variant on two cores

Contract: ``--examples`` is the output of the Transform node, ``--judge`` a judge's SavedModel. All
variants see the same number of images and are compared to the eval split, which is in no training;
the test split is never read. The floor is the distance of as many train images. Seconds are those
of the processor over all threads, so that a busy machine does not change them much.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from benchmarks.pipeline import machine
from benchmarks.scaling import table
from components.evaluator.frechet import frechet_distance_of
from components.evaluator.inception_score import class_histogram, inception_score, total_variation
from components.evaluator.models import LoadedModel, load_model
from pipeline.config import RunConfig, load_config
from trainer_modules.common.config import InputError, require
from trainer_modules.common.data import Digits, read_digits
from trainer_modules.diffusion import sampler
from trainer_modules.diffusion import train as diffusion
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.diffusion.model import DiffusionTrainer, build_network
from trainer_modules.gan import train as gan
from trainer_modules.gan.config import GanConfig

_BATCH = 500  # images per call of sampler and judge


@dataclasses.dataclass(frozen=True)
class Variant:
    """What differs from the defaults: settings of the model, and of the diffusion's sampler."""

    model: str  # diffusion or gan
    settings: Mapping[str, object] = dataclasses.field(default_factory=dict)
    etas: tuple[float, ...] = (sampler.ETA,)  # each draws from the same trained network


@dataclasses.dataclass(frozen=True)
class Trained:
    """One trained variant, and how to draw from it."""

    parameters: int
    images: int  # seen in training
    draws: dict[str, Callable[[int, int], np.ndarray]]  # by sampler: (count, seed) -> images


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """What every variant is compared with."""

    features: np.ndarray  # [N, D] of the eval split
    shares: np.ndarray  # [K] of its classes
    floor: float  # distance of as many train images as a variant draws


_GAN_BEFORE = {"generator_learning_rate": 1e-3, "discriminator_learning_rate": 1e-3}
VARIANTS = {
    "diffusion": Variant("diffusion", etas=(0.0, 1.0, sampler.ETA)),
    "diffusion, batch of 128": Variant("diffusion", {"batch_size": 128}),
    "diffusion, twice the steps' length": Variant("diffusion", {"learning_rate": 4e-3}),
    "diffusion, narrow global block": Variant("diffusion", {"global_width": 64}),
    "diffusion, no guidance": Variant("diffusion", {"guidance": 0.0}),
    "diffusion, narrow channels": Variant("diffusion", {"channels": 24}),
    "gan": Variant("gan"),
    "gan, a third of the steps' length": Variant("gan", _GAN_BEFORE),
    "gan, a third of it, more penalty": Variant("gan", {**_GAN_BEFORE, "gradient_penalty": 1.0}),
    "gan, no penalty": Variant("gan", {"gradient_penalty": 0.0}),
    "gan, narrow channels": Variant("gan", {"channels": 24}),
}
_TITLES = ["variant", "sampler", "parameters", "images", "seconds", "FD / floor", "IS", "TV"]


def main(arguments: list[str] | None = None) -> int:
    """Trains and scores the variants, and prints the table; 2 is the user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", required=True, help="output directory of Transform")
    parser.add_argument("--judge", required=True, help="directory of the judge's SavedModel")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--profile", default="quick", help="quick, full or smoke")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--samples", type=int, default=2500, help="images per set, at most 5,000")
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.profile, None, options.set)
        judge = load_model("judge", options.judge, _BATCH)
        splits = [
            read_digits([str(Path(options.examples) / f"Split-{name}" / "*")])
            for name in ("train", "eval")
        ]
        beside = look(config, *splits, judge, options.samples)
        lines = [_TITLES]
        for name in options.variants:
            lines += measure(name, config, *splits, judge, beside, options.samples)
    except InputError as error:
        print(f"ablation: {error}", file=sys.stderr)
        return 2
    Console(width=140).print(machine(), table(lines), sep="\n", highlight=False)
    return 0


def look(
    config: RunConfig, digits: Digits, held_out: Digits, judge: LoadedModel, samples: int
) -> HeldOut:
    """The judge's view of the eval split, and the distance of ``samples`` train images from it.

    Raises:
        InputError: There are fewer train images than ``samples``.
    """
    require(samples <= len(digits.images), "There are fewer train images than --samples.")
    target = judge.run("serving_default", image=held_out.images)
    part = np.random.default_rng(config.seed).permutation(len(digits.images))[:samples]
    real = judge.run("serving_default", image=digits.images[part])["features"]
    floor = frechet_distance_of(real, target["features"])
    return HeldOut(target["features"], class_histogram(target["probabilities"]), floor)


def measure(
    name: str,
    config: RunConfig,
    digits: Digits,
    held_out: Digits,
    judge: LoadedModel,
    beside: HeldOut,
    samples: int,
) -> list[list[str]]:
    """Trains the variant ``name``; gives one line of the table for each sampler."""
    variant = VARIANTS[name]
    settings = dataclasses.replace(getattr(config, variant.model), **variant.settings)
    keras.utils.set_random_seed(settings.seed)
    start = time.process_time()
    if variant.model == "gan":
        trained = _train_gan(settings, digits)
    else:
        trained = _train_diffusion(settings, variant.etas, digits, held_out)
    seconds = time.process_time() - start

    lines = []
    for label, draw in trained.draws.items():
        images = np.concatenate(
            [draw(min(_BATCH, samples - i), i) for i in range(0, samples, _BATCH)]
        ).astype("float32")
        judged = judge.run("serving_default", image=images)
        distance = frechet_distance_of(judged["features"], beside.features) / beside.floor
        score, _ = inception_score(judged["probabilities"])
        off = total_variation(class_histogram(judged["probabilities"]), beside.shares)
        sizes = [f"{trained.parameters:,}", f"{trained.images:,}", f"{seconds:.0f}"]
        figures = [f"{distance:.1f}", f"{score:.2f}", f"{off:.3f}"]
        lines.append([name, label, *sizes, *figures])
    return lines


def _train_diffusion(
    config: DiffusionConfig, etas: tuple[float, ...], digits: Digits, held_out: Digits
) -> Trained:
    network = build_network(config)
    mean, std = digits.pixel_mean, digits.pixel_std
    trainer = DiffusionTrainer(network, mean, std, config.seed)
    optimizer = diffusion.build_optimizer(config, len(digits.images))
    history = diffusion.fit(trainer, config, "train", optimizer, digits, held_out)
    optimizer.finalize_variable_values(network.trainable_variables)
    generator = diffusion.generator_of(network, config, digits)

    def drawn_with(eta: float):
        return lambda count, seed: diffusion.draw_samples(
            generator, count, config.sample_steps, mean, std, seed, eta
        )

    draws = {f"eta {eta:g}": drawn_with(eta) for eta in etas}
    return Trained(network.count_params(), history.steps * config.batch_size, draws)


def _train_gan(config: GanConfig, digits: Digits) -> Trained:
    steps = len(digits.images) // config.batch_size * config.epochs
    model = gan.build_gan(config, steps)
    gan.fit(model, config, digits, lambda *_: None)

    def draw(count: int, seed: int) -> np.ndarray:
        latents = np.random.default_rng(seed).standard_normal((count, config.latent_size))
        return model.generator.predict(latents.astype("float32"), batch_size=_BATCH, verbose=0)

    return Trained(model.generator.count_params(), steps * config.batch_size, {"": draw})


if __name__ == "__main__":
    sys.exit(main())
