"""Counts the collapses of the GAN over many seeds.

    python -m benchmarks.collapse --output DIR              20 seeds, 20 to 30 minutes on two cores

Contract: each seed begins a training with the profile's settings, rates that fall over all epochs
included, and ends it after ``--steps`` steps, as every collapse known began early. A collapse is
what the training itself answers with new weights (``BalanceMonitor``). Spread is the pixels'
standard deviation between generated images over that between real ones; it is taken every 20 steps.
"""

import contextlib
import dataclasses
import sys
import time
from pathlib import Path

from core.processors import use_processors

if __name__ == "__main__":
    use_processors()  # before TensorFlow is imported below

import keras

from benchmarks import command, tables
from benchmarks.command import mistakes_exit
from benchmarks.splits import read_splits
from core.config import require
from pipeline.config import load_config
from trainer_modules.common.schedule import total_steps
from trainer_modules.common.trained import Hooks
from trainer_modules.gan import train as gan
from trainer_modules.gan.monitor import COLLAPSED, GRACE, WINDOW, BalanceMonitor

_TITLES = ["seed", "steps", "seconds", "collapses at step", "least spread", "spread at the end"]


@mistakes_exit("collapse")
def main(arguments: list[str] | None = None) -> int:
    """Begins the trainings and prints the table; returns 2 after a user's mistake."""
    parser = command.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many, from the profile's on")
    parser.add_argument("--steps", type=int, default=500, help="of each training")
    parser.add_argument("--output", required=True, help="folder of the table")
    options = parser.parse_args(arguments)
    require(options.seeds >= 1, "--seeds must be at least 1.")
    config = load_config(options.profile, options.data, options.set)
    splits = read_splits(config.data_dir, config.data.max_images)
    most = total_steps(config.gan, len(splits.train.images))
    wrong = (
        f"--steps must be more than {GRACE}, before which no collapse counts, and at most {most}."
    )
    require(GRACE < options.steps <= most, wrong)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    words = command.caption(options)
    lines = [_TITLES]
    for seed in range(config.seed, config.seed + options.seeds):
        watch = Watch(options.steps)
        settings = dataclasses.replace(config.gan, seed=seed)
        with contextlib.suppress(_Ended):
            gan.train(settings, splits.train, splits.held_out, Hooks([watch]))
        lines.append([str(seed), *watch.row()])
        print(*lines[-1], sep="  ", file=sys.stderr, flush=True)
        tables.write(folder / "table.md", words, lines)
    tables.show(words, lines)
    return 0


class _Ended(Exception):
    """The training has had its steps."""


class Watch(keras.callbacks.Callback):
    """Follows the first ``steps`` steps of a GAN's training, then ends it."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps, self.spreads, self.collapses = steps, [], []
        self.monitor, self.begun = BalanceMonitor(), time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        values = logs or {}
        self.spreads.append(values["fake_spread"])
        found = self.monitor.update(*(values[name] for name in gan.WATCHED))
        if COLLAPSED in dict(found):
            self.collapses.append(len(self.spreads))
            self.monitor = BalanceMonitor()  # as the training does for its new weights
        if len(self.spreads) == self.steps:
            raise _Ended

    def row(self) -> list[str]:
        """The cells of the table, without the seed; the least spread after the first window."""
        late = self.spreads[WINDOW:]
        return [
            str(len(self.spreads)),
            f"{time.monotonic() - self.begun:.0f}",
            ", ".join(map(str, self.collapses)) or "none",
            *(f"{value:.2f}" for value in (min(late), late[-1])),
        ]


if __name__ == "__main__":
    sys.exit(main())
