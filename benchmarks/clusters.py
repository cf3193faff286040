"""Measures the clusters of the autoencoder's codes epoch by epoch, for several settings.

    python -m benchmarks.clusters --output DIR                    5 minutes a training on two cores

Contract: the metrics are of the held-out images of the train file, which are in no training; the
test images are not used. Labels give accuracy and NMI. Two scores need none, and choices between
settings use these: the stability, which is the mean NMI between two K-Means runs from different
starts, and the modularity of the run of least inertia in the neighbour graph of the pixels, which
is the same graph for all variants. Seconds are processor seconds over all threads.
"""

import dataclasses
import itertools
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.processors import use_processors

if __name__ == "__main__":
    use_processors()  # before TensorFlow is imported below

import keras
import numpy as np
from scipy.special import expit

from benchmarks import command, tables
from benchmarks.command import mistakes_exit
from benchmarks.splits import Splits, read_splits
from components.evaluator.metrics.agreement import agreement
from components.evaluator.metrics.clustering import kmeans_runs
from components.evaluator.metrics.reconstruction import (
    pca_reconstruction,
    pixel_statistics,
    squared_error,
)
from core.clusters import modularity, neighbour_graph
from pipeline.config import RunConfig, load_config
from trainer_modules.autoencoder.train import train
from trainer_modules.common.trained import Hooks

VARIANTS: dict[str, Mapping[str, Any]] = {
    "default": {},
    "contrastive to the end": {"cluster_weight": 0.0},
    "one contrastive epoch": {"contrastive_epochs": 1},
    "twice the cluster weight": {"cluster_weight": 0.1},
}
_TITLES = [
    "variant",
    "seed",
    "epoch",
    "seconds",
    "MSE / PCA",
    "accuracy",
    "NMI",
    "stability",
    "modularity",
]


@mistakes_exit("clusters")
def main(arguments: list[str] | None = None) -> int:
    """Trains the variants and prints the table; returns 2 after a user's mistake."""
    parser = command.parser(__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--epochs", nargs="+", type=int, help="one training of each length")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--output", required=True, help="folder of the table")
    options = parser.parse_args(arguments)
    folder = Path(options.output)
    config = load_config(options.profile, options.data, options.set)
    splits = read_splits(config.data_dir, config.data.max_images)
    folder.mkdir(parents=True, exist_ok=True)
    words = command.caption(options)
    lines = [_TITLES]
    lengths = options.epochs or [config.autoencoder.epochs]
    for name, epochs, seed in itertools.product(options.variants, lengths, options.seeds):
        changes = {**VARIANTS[name], "epochs": epochs, "seed": seed}
        settings = dataclasses.replace(config.autoencoder, **changes)
        watch = Watch(config, splits, settings.code_size)
        train(settings, splits.train, splits.held_out, Hooks([watch]))
        for epoch, found in enumerate(watch.rows, 1):
            lines.append([name, str(seed), f"{epoch} of {epochs}", *found])
        tables.write(folder / "table.md", words, lines)
    tables.show(words, lines, 140)
    return 0


class Watch(keras.callbacks.Callback):
    """Measures the held-out images after each epoch; ``rows`` are the cells of the table."""

    def __init__(self, config: RunConfig, splits: Splits, code_size: int):
        super().__init__()
        self.held_out = splits.held_out
        images = self.held_out.images
        linear = pca_reconstruction(images, pixel_statistics(splits.train.images), code_size)
        self.linear = float(squared_error(images, linear).mean())
        self.graph = neighbour_graph(images)
        self.clusters = splits.train.num_classes
        self.runs, self.seed = config.evaluator.kmeans_seeds, config.evaluator.seed
        self.rows: list[list[str]] = []
        self.begun, self.paused = time.process_time(), 0.0

    def on_epoch_end(self, epoch, logs=None):
        now = time.process_time()
        seconds = now - self.begun - self.paused
        found = self._measure(self.model.encoder, self.model.decoder)
        self.rows.append([f"{seconds:.0f}", *(f"{value:.3f}" for value in found)])
        print(*self.rows[-1], sep="  ", file=sys.stderr, flush=True)
        self.paused += time.process_time() - now

    def _measure(self, encoder: keras.Model, decoder: keras.Model) -> list[float]:
        images, labels = self.held_out.images, self.held_out.labels
        code = encoder.predict(images, batch_size=500, verbose=0)
        drawn = expit(decoder.predict(code, batch_size=500, verbose=0))
        found = kmeans_runs(code, labels, self.clusters, self.runs, self.seed)
        pairs = itertools.combinations([run.labels for run in found.clusters], 2)
        return [
            float(squared_error(images, drawn).mean()) / self.linear,
            found.mean("accuracy"),
            found.mean("nmi"),
            float(np.mean([agreement(one, other).nmi for one, other in pairs])),
            modularity(self.graph, found.clusters[found.best].labels),
        ]


if __name__ == "__main__":
    sys.exit(main())
