"""Settings of the Evaluator and its gates; imports nothing heavy.

Contract: thresholds live in the profiles, each with its reason; nothing here has a default gate,
and a model without a gate is not blessed. A gate names a metric of ``catalogue``.
"""

import dataclasses
import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat
from pydantic.dataclasses import dataclass

from components.evaluator.catalogue import REFERENCES, catalogue
from core.config import STRICT, Count, require, suggest
from core.models import MODELS
from trainer_modules.common.export import MAX_COUNT

_Batch = Annotated[int, Field(ge=1, le=MAX_COUNT)]
_Images = Annotated[int, Field(ge=16)]
_Weights = Annotated[str, Field(min_length=1, description="a file, or imagenet")]
_Several = Annotated[int, Field(ge=2)]
_Steps = Annotated[int, Field(ge=1, le=1000)]
_NoiseLevels = Annotated[tuple[Annotated[float, Field(gt=0, le=2)], ...], Field(min_length=1)]
_NOISE_LEVELS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, config=STRICT)
class Gate:
    """One condition of the approval: a value, and not to be significantly worse than the champion.

    The threshold is a number in the metric's unit, or is made from the metric's own reference,
    which is measured in the same evaluation: ``threshold: 0.9, times: real_test`` is nine tenths
    of what real test images have, ``threshold: 0.1, plus: pixels`` is a tenth above what the pixels
    reach. Such a gate means the same on any data set.

    ``retrain_spread`` is what retraining alone moves the metric by: two standard deviations over
    seeds, as ``python -m benchmarks.gates`` measures them. The chance in the choice of test images
    comes on top, from the bootstrap.
    """

    metric: str  # name of a metric
    direction: Literal["max", "min"]  # "max": at most the threshold; "min": at least
    threshold: float  # in the metric's unit; with times, a multiple
    retrain_spread: NonNegativeFloat | None = None  # in the metric's unit; None: no comparison
    relative: bool = False  # whether retrain_spread is a share of the champion's value
    reason: str = ""  # why this threshold; a line for the reader of the profile
    times: str = ""  # the metric's reference, which the threshold is multiplied by
    plus: str = ""  # the metric's reference, which the threshold is added to

    def bound(self, reference: float | None) -> float | None:
        """The threshold in the metric's unit; None if its reference is needed and missing."""
        if not (self.times or self.plus):
            return self.threshold
        if reference is None or not math.isfinite(reference):
            return None
        return self.threshold * reference if self.times else self.threshold + reference


@dataclass(frozen=True, config=STRICT)
class EvaluatorConfig:
    """How much is measured, with which seed, and what a model must hold."""

    seed: Annotated[int, Field(ge=0, le=2**30 - 1)] = 1  # of samples, K-Means and bootstrap
    samples: _Images = 10_000  # generated images, as many as there are real test images
    generate_steps: _Steps = 20  # network calls per diffusion image
    # Numbers of steps whose quality the report compares.
    step_counts: Annotated[tuple[_Steps, ...], Field(min_length=1)] = (5, 10, 20, 50)
    step_images: _Images = 1500  # for each of them; about 20 s on two cores in all
    batch_size: _Batch = 500  # images per call of a signature; also the unit of generation seeds
    bootstrap_replicates: _Several = 1000  # resampled sets of images behind every interval
    distance_replicates: _Several = 100  # the same for FD, KID and Inception Score, which cost more
    pair_images: _Images = 5000  # images per side where all pairs are compared
    memorisation_images: _Images = 2000  # generated images whose nearest train image is looked up
    fid_weights: _Weights | None = None  # Inception-v3 for FID; imagenet is downloaded; slow
    inception_splits: Count = 10  # parts of the samples over which the Inception Score is averaged
    clusters: _Several | None = None  # of K-Means; null: as many as the data has classes
    kmeans_seeds: Count = 10  # runs of K-Means, one start each; figures are their mean
    tsne_samples: Annotated[int, Field(ge=50)] = 4000  # test images on the map; 10,000: a minute
    tsne_perplexity: Annotated[float, Field(ge=2)] = 30.0  # neighbours in effect; the usual value
    noise_levels: _NoiseLevels = _NOISE_LEVELS  # standard deviation, pixels in 0..1
    denoising_images: _Images = 2000  # test images per noise level; filters take most of the time
    anomaly_images: _Images = 2000  # test images per corruption
    # Data directories, such as Fashion-MNIST's: their test images are anomalies of another kind.
    anomaly_data: tuple[str, ...] = ()
    deep: bool = False  # also measure what takes minutes and gates nothing in a pipeline's run
    # Whether the gates judge quality. Where not, as in the profile smoke, an approved version is
    # marked everywhere, and no other version is compared with it.
    quality_gates: bool = True
    gates: dict[str, tuple[Gate, ...]] = dataclasses.field(  # by model; all must pass
        default_factory=lambda: dict.fromkeys(MODELS, ())
    )

    def __post_init__(self):
        hundredths = [100 * level for level in self.noise_levels]
        require(
            all(abs(h - round(h)) < 1e-6 for h in hundredths)
            and len(set(hundredths)) == len(hundredths),
            "noise_levels must be different multiples of 0.01; figures are named by them.",
        )
        for model in self.gates:
            self._check_gates(model)

    def gates_of(self, model: str) -> tuple[Gate, ...]:
        """The gates of ``model``."""
        return self.gates.get(model, ())

    def _check_gates(self, model: str) -> None:
        require(
            model in MODELS,
            f"gates: there is no model {model}; the models are {', '.join(MODELS)}.",
        )
        known = catalogue(model, self.noise_levels)
        usual = catalogue(model, _NOISE_LEVELS)
        names = [gate.metric for gate in self.gates_of(model)]
        levels = ", ".join(f"{level:g}" for level in self.noise_levels)
        for name in names:
            require(
                name in known or name not in usual,
                f"gates.{model}.{name} is of a noise level that is not measured; noise_levels has "
                f"only {levels}. Add the level there, or remove the gate.",
            )
            require(
                name in known,
                f"gates.{model}: there is no metric {name}{suggest(name, list(known))}; the "
                f"metrics are {', '.join(known)}.",
            )
            require(names.count(name) == 1, f"gates.{model}: {name} has more than one gate.")
        for gate in self.gates_of(model):
            _check_reference(f"gates.{model}.{gate.metric}", gate, known[gate.metric].reference)


def _check_reference(place: str, gate: Gate, own: str) -> None:
    require(not (gate.times and gate.plus), f"{place}: times and plus cannot both be set.")
    for key in ("times", "plus"):
        given = getattr(gate, key)
        require(
            given in ("", own),
            f"{place}.{key}: {given} is not the reference of this metric; "
            + (f"its reference is {own}, {REFERENCES[own]}." if own else "it has none."),
        )
