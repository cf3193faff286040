"""Settings of the Evaluator and its gates; imports nothing heavy.

Contract: thresholds live in the profiles, each with its reason; nothing here has a default gate,
and a model without a gate is not blessed. A gate names a figure of ``catalogue``.
"""

from __future__ import annotations

import dataclasses
import math

from components.evaluator.catalogue import catalogue
from core.config import require
from core.models import MODELS
from trainer_modules.common.export import MAX_COUNT


@dataclasses.dataclass(frozen=True)
class Gate:
    """One condition of the blessing: a value, and not to be significantly worse than the champion.

    ``retrain_spread`` is what retraining alone moves the figure by: two standard deviations over
    seeds, as ``python -m benchmarks.retrain_spread`` measures them. The chance in the choice of
    test images comes on top, from the bootstrap.
    """

    metric: str
    direction: str  # "max": at most the threshold; "min": at least
    threshold: float
    retrain_spread: float | None = None  # in the figure's unit; None: no comparison
    relative: bool = False  # whether retrain_spread is a share of the champion's figure
    reason: str = ""  # why this threshold; a line for the reader of the profile

    def __post_init__(self):
        require(self.direction in ("max", "min"), f"{self.metric}: direction is max or min.")
        require(math.isfinite(self.threshold), f"{self.metric}: threshold must be finite.")
        spread = self.retrain_spread
        require(
            spread is None or (math.isfinite(spread) and spread >= 0),
            f"{self.metric}: retrain_spread must be at least 0, or null.",
        )


@dataclasses.dataclass(frozen=True)
class EvaluatorConfig:
    """How much is measured, with which seed, and what a model must hold."""

    seed: int = 1
    samples: int = 10_000  # generated images, as many as there are real test images
    generate_steps: int = 20  # network calls per generated image of the diffusion model
    batch_size: int = 500  # images per call of a signature; also the unit of generation seeds
    bootstrap_replicates: int = 1000  # resampled sets of images behind every interval
    distance_replicates: int = 100  # the same for FD, KID and Inception Score, which cost more
    pair_images: int = 5000  # images per side where all pairs are compared
    memorisation_images: int = 2000  # generated images whose nearest train image is looked up
    fid_weights: str | None = None  # Inception-v3 for FID: a file, or imagenet to download; slow
    inception_splits: int = 10  # parts of the samples over which the Inception Score is averaged
    clusters: int | None = None  # of K-Means; None: as many as the data has classes, ten for MNIST
    kmeans_seeds: int = 10  # runs of K-Means, one start each; figures are their mean
    tsne_samples: int = 4000  # test images on the map; 10,000 take a minute alone on two cores
    tsne_perplexity: float = 30.0  # effective number of neighbours; the usual value
    noise_levels: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # deviation, pixels in 0..1
    denoising_images: int = 2000  # test images per noise level; the filters take most of the time
    anomaly_images: int = 2000  # test images per corruption
    # Directories of IDX files, as Fashion-MNIST's: their test images are anomalies of another kind.
    anomaly_data: tuple[str, ...] = ()
    deep: bool = False  # also measure what takes minutes and gates nothing in a pipeline's run
    gates: dict[str, tuple[Gate, ...]] = dataclasses.field(  # by model; all must pass
        default_factory=lambda: dict.fromkeys(MODELS, ())
    )

    def __post_init__(self):
        require(0 <= self.seed < 2**30, "seed must be between 0 and 1073741823.")
        require(self.samples >= 16, "samples must be at least 16.")
        require(1 <= self.generate_steps <= 1000, "generate_steps must be between 1 and 1000.")
        most = MAX_COUNT
        require(1 <= self.batch_size <= most, f"batch_size must be between 1 and {most}.")
        require(self.bootstrap_replicates >= 2, "bootstrap_replicates must be at least 2.")
        require(self.distance_replicates >= 2, "distance_replicates must be at least 2.")
        require(self.pair_images >= 16, "pair_images must be at least 16.")
        require(self.memorisation_images >= 16, "memorisation_images must be at least 16.")
        require(self.fid_weights != "", "fid_weights must be a file, imagenet, or null.")
        require(self.inception_splits >= 1, "inception_splits must be at least 1.")
        require(
            self.clusters is None or self.clusters >= 2, "clusters must be at least 2, or null."
        )
        require(self.kmeans_seeds >= 1, "kmeans_seeds must be at least 1.")
        require(self.tsne_samples >= 50, "tsne_samples must be at least 50.")
        require(self.tsne_perplexity >= 2, "tsne_perplexity must be at least 2.")
        require(
            bool(self.noise_levels) and all(0 < level <= 2 for level in self.noise_levels),
            "noise_levels must be one or more numbers above 0 and at most 2.",
        )
        hundredths = [100 * level for level in self.noise_levels]
        require(
            all(abs(h - round(h)) < 1e-6 for h in hundredths)
            and len(set(hundredths)) == len(hundredths),
            "noise_levels must be different multiples of 0.01; figures are named by them.",
        )
        require(self.denoising_images >= 16, "denoising_images must be at least 16.")
        require(self.anomaly_images >= 16, "anomaly_images must be at least 16.")
        for model in self.gates:
            self._check_gates(model)

    def gates_of(self, model: str) -> tuple[Gate, ...]:
        """The gates of ``model``."""
        return self.gates.get(model, ())

    def _check_gates(self, model: str) -> None:
        require(
            model in MODELS, f"gates: there is no model {model}; known are {', '.join(MODELS)}."
        )
        known = catalogue(model, self.noise_levels)
        names = [gate.metric for gate in self.gates_of(model)]
        for name in names:
            require(
                name in known,
                f"gates.{model}: there is no metric {name}; known are {', '.join(known)}.",
            )
            require(names.count(name) == 1, f"gates.{model}: {name} has more than one gate.")
