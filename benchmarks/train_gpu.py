"""Trains and samples every model with Keras only: no TFX, and no TensorFlow with JAX.

    KERAS_BACKEND=jax python -m benchmarks.train_gpu --output DIR      profile full, meant for a GPU

Contract: see ``benchmarks.train_models``. Seconds are those of a whole training, compilation and
held-out losses included; shares are of the float32 matrix product that the backend reaches
(``benchmarks.train_speed``). The folder gets the table and the images.
"""

import dataclasses
import sys
from pathlib import Path

from core.processors import use_processors

if __name__ == "__main__":
    use_processors()  # before TensorFlow is imported below

from benchmarks import command, tables
from benchmarks.command import mistakes_exit
from benchmarks.splits import Splits, read_splits
from benchmarks.train_models import Work, train_all
from benchmarks.train_speed import MODELS, caption, measure, product_gflops
from pipeline.config import RunConfig, load_config

_TITLES = ["model", "work", "metrics on test images", "seconds", "images / s", "share of product"]


@mistakes_exit("train_gpu")
def main(arguments: list[str] | None = None) -> int:
    """Trains all models and prints the table after the last; returns 2 after a user's mistake."""
    parser = command.parser(__doc__, "full")
    parser.add_argument("--seconds", type=float, help="limit per training; lowers its epochs")
    parser.add_argument("--output", required=True, help="folder of the table and the images")
    options = parser.parse_args(arguments)
    folder = Path(options.output)
    config = load_config(options.profile, options.data, options.set)
    splits = read_splits(config.data_dir, config.data.max_images)
    if options.seconds:
        config = limited(config, splits, options.seconds)
    peak, lines = product_gflops(), [_TITLES]
    text = f"{caption(peak)}; profile {options.profile} {' '.join(options.set)}"
    folder.mkdir(parents=True, exist_ok=True)
    for work in train_all(config, splits, folder):
        lines.append(row(work, peak))
        print("  ".join(lines[-1]), file=sys.stderr, flush=True)
        # After each, as a longer one comes next.
        tables.write(folder / "table.md", text, lines)
    tables.show(text, lines, 180)
    return 0


def limited(config: RunConfig, splits: Splits, seconds: float) -> RunConfig:
    """As many epochs as fit in ``seconds`` at the measured speed, at least one.

    The learning rate still falls to zero, unlike in a training that the clock ends.
    """
    changed = {}
    for name in MODELS:
        speed = measure(name, config, splits, seconds / 20)[0].images_per_second
        most = max(1, int(seconds * speed / len(splits.train.images)))
        for key in (name, f"finetune_{name}"):
            if hasattr(config, key):
                settings = getattr(config, key)
                changed[key] = dataclasses.replace(settings, epochs=min(settings.epochs, most))
    return dataclasses.replace(config, **changed)


def row(work: Work, peak: float) -> list[str]:
    """A line of the table; ``peak`` in GFLOP/s."""
    speed = work.images / work.seconds
    share = f"{speed * work.flops / 1e9 / peak:.0%}"
    figures = "; ".join(f"{name} {value:.4g}" for name, value in work.figures.items())
    return [work.model, work.name, figures, f"{work.seconds:.1f}", f"{speed:.0f}", share]


if __name__ == "__main__":
    sys.exit(main())
