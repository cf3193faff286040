"""Settings that several trainings share, with units and reasons."""

from __future__ import annotations

import dataclasses

from core.config import require


def require_distribution(kind: str) -> None:
    """Raises ``InputError`` unless ``kind`` is a way to train that there is."""
    kinds = ("none", "mirrored", "multi_worker")
    require(kind in kinds, f"distribution is one of {', '.join(kinds)}, not {kind!r}.")


def require_precision(kind: str) -> None:
    """Raises ``InputError`` unless ``kind`` is a precision that networks are trained in."""
    kinds = ("float32", "mixed_bfloat16")
    require(kind in kinds, f"precision is one of {', '.join(kinds)}, not {kind!r}.")


def require_patience(epochs: int) -> None:
    """Raises ``InputError`` for a negative number of epochs."""
    require(epochs >= 0, "patience must be at least 0; 0 never stops early.")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tuning of a trained model: every layer is frozen but those named here."""

    layers: tuple[str, ...]  # beginnings of the names of the layers that are trained
    seed: int = 1
    epochs: int = 1  # passes over the train split
    batch_size: int = 128  # images per step
    learning_rate: float = 3e-4  # peak; a tenth or so of the first training's
    patience: int = 0  # as in the first training
    precision: str = "float32"  # as in the first training
    distribution: str = "none"  # as in the first training

    def __post_init__(self):
        require(len(self.layers) > 0, "layers must name at least one layer.")
        require_distribution(self.distribution)
        require_precision(self.precision)
        require_patience(self.patience)
        require(self.epochs >= 1, "epochs must be at least 1.")
        require(self.batch_size >= 2, "batch_size must be at least 2.")
        require(0 < self.learning_rate < 1, "learning_rate must be between 0 and 1.")
