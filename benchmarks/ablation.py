"""Measures the effect of each choice in a generative model by training without it.

    python -m benchmarks.ablation --output DIR                    6 minutes a variant on two cores

Contract: all variants see the same number of images, under one judge that is trained first, and are
compared with the held-out images of the train file, which are in no training; the test images are
not used. The floor is the distance of as many train images. Seconds are processor seconds over all
threads, so that a busy machine changes them little. The folder gets the table and a grid of each
variant's first 64 images.
"""

import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from core.processors import use_processors

if __name__ == "__main__":
    use_processors()  # before TensorFlow is imported below

from benchmarks import command, tables
from benchmarks.command import mistakes_exit
from benchmarks.splits import Splits, read_splits
from benchmarks.train_models import (
    diffusion_draw,
    gan_draw,
    measure_sampler,
    train_judge,
)
from components.evaluator.references import References
from core.config import require
from pipeline.config import RunConfig, load_config
from trainer_modules.diffusion import train as diffusion
from trainer_modules.gan import train as gan


@dataclasses.dataclass(frozen=True)
class Variant:
    """Settings that differ from the defaults."""

    model: str  # diffusion or gan
    settings: Mapping[str, object] = dataclasses.field(default_factory=dict)
    etas: tuple[float, ...] = ()  # each samples from the same trained network; empty for its own


_GAN_BEFORE = {"generator_learning_rate": 1e-3, "discriminator_learning_rate": 1e-3}
VARIANTS = {
    "diffusion": Variant("diffusion", etas=(0.0, 1.0, 3.0)),
    "diffusion, batch of 64": Variant("diffusion", {"batch_size": 64}),
    "diffusion, longer steps": Variant("diffusion", {"learning_rate": 4e-3}),
    "diffusion, one cluster": Variant("diffusion", {"clusters": 1}),
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


@mistakes_exit("ablation")
def main(arguments: list[str] | None = None) -> int:
    """Trains and scores the variants, and prints the table; returns 2 after a user's mistake."""
    parser = command.parser(__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--samples", type=int, default=2500, help="images per set, at most 5,000")
    parser.add_argument("--output", required=True, help="folder of the table and the images")
    options = parser.parse_args(arguments)
    folder = Path(options.output)
    config = load_config(options.profile, options.data, options.set)
    evaluator = dataclasses.replace(config.evaluator, samples=options.samples)
    config = dataclasses.replace(config, evaluator=evaluator)
    splits = read_splits(config.data_dir, config.data.max_images)
    least = min(len(splits.train.images), len(splits.held_out.images))
    require(options.samples <= least, f"--samples must be at most {least}, the held-out images.")
    folder.mkdir(parents=True, exist_ok=True)
    _, references, _ = train_judge(config, splits, splits.held_out)
    words = command.caption(options)
    lines = [_TITLES]
    for name in options.variants:
        lines += measure(name, config, splits, references, folder)
        tables.write(folder / "table.md", words, lines)
    tables.show(words, lines, 140)
    return 0


def measure(
    name: str, config: RunConfig, splits: Splits, references: References, folder: Path
) -> list[list[str]]:
    """Trains the variant ``name``; returns one line of the table for each sampler."""
    variant = VARIANTS[name]
    settings = dataclasses.replace(getattr(config, variant.model), **variant.settings)
    begun = time.process_time()
    if variant.model == "gan":
        trained = gan.train(settings, splits.train, splits.held_out)
        networks = trained.served()
        network, draws = networks["generator"], {"": gan_draw(networks, settings, splits.train)}
    else:
        trained = diffusion.train(settings, splits.train, splits.held_out)
        [network] = trained.served().values()
        draws = {
            f"eta {eta:g}": diffusion_draw(
                network,
                dataclasses.replace(settings, eta=eta),
                splits.train,
                settings.sample_steps,
            )
            for eta in variant.etas or (settings.eta,)
        }
    seconds = time.process_time() - begun

    lines = []
    for label, (draw, flops) in draws.items():
        grid = f"{name} {label}".strip()
        found = measure_sampler(references, grid, label, flops, draw, folder).figures
        images = trained.history.steps * settings.batch_size
        sizes = [f"{network.count_params():,}", f"{images:,}", f"{seconds:.0f}"]
        figures = [f"{found['FD / floor']:.1f}", f"{found['Inception Score']:.2f}"]
        lines.append([name, label, *sizes, *figures, f"{found['class TV']:.3f}"])
    return lines


if __name__ == "__main__":
    sys.exit(main())
