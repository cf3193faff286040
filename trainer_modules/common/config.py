"""Settings that several trainings share, with units and reasons.

A model's own config gives the defaults that differ from model to model, with their reasons.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from core.config import STRICT, Count

BatchSize = Annotated[int, Field(ge=2)]
Precision = Literal["float32", "mixed_bfloat16"]
Rate = Annotated[float, Field(gt=0, lt=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Channels = Annotated[int, Field(ge=4)]
GroupedChannels = Annotated[int, Field(ge=4, multiple_of=4)]  # normalised in groups of four
Layers = Annotated[tuple[str, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig:
    """What every training has."""

    seed: int = 1  # of weights, order of images, and noise
    epochs: Count  # passes over the train split
    batch_size: BatchSize  # images per step; over all replicas together
    precision: Precision = "float32"  # mixed_bfloat16 is for GPUs; what is served is float32
    # Over all GPUs of a pod (mirrored) or over pods (multi_worker, by TF_CONFIG).
    distribution: Literal["none", "mirrored", "multi_worker"] = "none"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SingleLossConfig(TrainingConfig):
    """A training of one loss, which a held-out loss can end early."""

    learning_rate: Rate  # peak of Adam, warmed up and then decayed to zero by a cosine
    patience: NonNegativeInt = 0  # epochs without a lower held-out loss that end it; 0: never


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FirstStage:
    """What the first training of a model has besides."""

    # Start from the weights of the version in serving, if it was made with other data. The gates
    # and the comparison with that version stay as they are.
    warm_start: bool = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FinetuneConfig(SingleLossConfig):
    """Fine-tuning of a trained model: every layer is frozen but those named here."""

    epochs: Count = 1
    batch_size: BatchSize = 128
    learning_rate: Rate = 3e-4  # a tenth or so of the first training's
    layers: Layers  # beginnings of the names of the layers that are trained
