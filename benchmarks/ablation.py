"""Measures what each choice of the diffusion model is worth: it is trained again without it.

    python -m benchmarks.ablation --examples DIR --judge DIR    10 minutes a variant on two cores

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
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from benchmarks.pipeline import machine
from benchmarks.scaling import table
from components.evaluator.frechet import frechet_distance_of
from components.evaluator.inception_score import inception_score
from components.evaluator.models import LoadedModel, load_model
from pipeline.config import load_config
from trainer_modules.common.config import InputError, require
from trainer_modules.common.data import Digits, read_digits
from trainer_modules.diffusion import sampler, train
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.diffusion.model import DiffusionTrainer, build_network

_BATCH = 500  # images per call of sampler and judge


@dataclasses.dataclass(frozen=True)
class Variant:
    """What differs from the defaults: settings of the model, and of the sampler."""

    settings: dict[str, object] = dataclasses.field(default_factory=dict)
    etas: tuple[float, ...] = (sampler.ETA,)  # each draws from the same trained network


VARIANTS = {
    "default": Variant(etas=(0.0, 1.0, sampler.ETA)),
    "batch of 128": Variant({"batch_size": 128}),
    "twice the steps' length": Variant({"learning_rate": 4e-3}),
    "narrow global block": Variant({"global_width": 64}),
    "no guidance": Variant({"guidance": 0.0}),
    "narrow channels": Variant({"channels": 24}),
}
_TITLES = ["variant", "eta", "parameters", "images", "seconds", "FD / floor", "IS"]


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
        common = load_config(options.profile, None, options.set).diffusion
        judge = load_model("judge", options.judge, _BATCH)
        splits = [
            read_digits([str(Path(options.examples) / f"Split-{name}" / "*")])
            for name in ("train", "eval")
        ]
        lines = [_TITLES]
        for name in options.variants:
            variant = VARIANTS[name]
            config = dataclasses.replace(common, **variant.settings)
            lines += measure(name, config, variant.etas, *splits, judge, options.samples)
    except InputError as error:
        print(f"ablation: {error}", file=sys.stderr)
        return 2
    Console(width=140).print(machine(), table(lines), sep="\n", highlight=False)
    return 0


def measure(
    name: str,
    config: DiffusionConfig,
    etas: tuple[float, ...],
    digits: Digits,
    held_out: Digits,
    judge: LoadedModel,
    samples: int,
) -> list[list[str]]:
    """Trains one variant; gives one line of the table for each sampler.

    Raises:
        InputError: There are fewer train images than ``samples``.
    """
    require(samples <= len(digits.images), "There are fewer train images than --samples.")
    keras.utils.set_random_seed(config.seed)
    network = build_network(config)
    mean, std = digits.pixel_mean, digits.pixel_std
    steps = len(digits.images) // config.batch_size * config.epochs
    trainer = DiffusionTrainer(network, mean, std, config.seed)
    optimizer = train.build_optimizer(config, len(digits.images))
    start = time.process_time()
    train.fit(trainer, config, "train", optimizer, digits, held_out)
    seconds = time.process_time() - start
    optimizer.finalize_variable_values(network.trainable_variables)

    generator = train.generator_of(network, config, digits)

    target = judge.run("serving_default", image=held_out.images)["features"]
    part = np.random.default_rng(config.seed).permutation(len(digits.images))[:samples]
    real = judge.run("serving_default", image=digits.images[part])["features"]
    floor = frechet_distance_of(real, target)
    lines = []
    for eta in etas:
        images = np.concatenate(
            [
                train.draw_samples(
                    generator, min(_BATCH, samples - i), config.sample_steps, mean, std, i, eta
                )
                for i in range(0, samples, _BATCH)
            ]
        ).astype("float32")
        judged = judge.run("serving_default", image=images)
        distance = frechet_distance_of(judged["features"], target) / floor
        score, _ = inception_score(judged["probabilities"])
        sizes = [f"{network.count_params():,}", f"{steps * config.batch_size:,}", f"{seconds:.0f}"]
        lines.append([name, f"{eta:g}", *sizes, f"{distance:.1f}", f"{score:.2f}"])
    return lines


if __name__ == "__main__":
    sys.exit(main())
