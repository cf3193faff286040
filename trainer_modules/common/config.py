"""Settings that several trainings share, with units and reasons.

A model's own config gives the defaults that differ from model to model, with their reasons.
"""

from __future__ import annotations

import dataclasses

from core.config import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every training has."""

    seed: int = 1
    epochs: int  # passes over the train split
    batch_size: int  # images per step; over all replicas together
    precision: str = "float32"  # or mixed_bfloat16, for GPUs; what is served is float32
    distribution: str = "none"  # or mirrored (all GPUs of a pod), multi_worker (TF_CONFIG)

    def __post_init__(self):
        _require_one_of("distribution", self.distribution, "none", "mirrored", "multi_worker")
        _require_one_of("precision", self.precision, "float32", "mixed_bfloat16")
        require(self.epochs >= 1, "epochs must be at least 1.")
        require(self.batch_size >= 2, "batch_size must be at least 2.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SingleLossConfig(TrainingConfig):
    """A training of one loss, which a held-out loss can end early."""

    learning_rate: float  # peak of Adam, warmed up and then decayed to zero by a cosine
    patience: int = 0  # epochs without a lower held-out loss that end the training; 0: never

    def __post_init__(self):
        super().__post_init__()
        require(self.patience >= 0, "patience must be at least 0; 0 never stops early.")
        require(0 < self.learning_rate < 1, "learning_rate must be between 0 and 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig(SingleLossConfig):
    """Fine-tuning of a trained model: every layer is frozen but those named here."""

    epochs: int = 1
    batch_size: int = 128
    learning_rate: float = 3e-4  # a tenth or so of the first training's
    layers: tuple[str, ...]  # beginnings of the names of the layers that are trained

    def __post_init__(self):
        super().__post_init__()
        require(len(self.layers) > 0, "layers must name at least one layer.")


def _require_one_of(name: str, value: str, *known: str) -> None:
    require(value in known, f"{name} is one of {', '.join(known)}, not {value!r}.")
