"""Settings of the judge, with units and reasons."""

from __future__ import annotations

import dataclasses

from core.config import require
from trainer_modules.common.config import require_distribution, require_patience, require_precision


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """Size and training of the classifier."""

    seed: int = 1
    epochs: int = 4  # passes over the train split
    batch_size: int = 128  # images per step
    learning_rate: float = 3e-3  # peak of AdamW, warmed up and then decayed to zero by a cosine
    dropout: float = 0.3  # share of the 128 features that is dropped in training
    channels: int = 32  # at 28x28; twice as many at 14x14 and 7x7
    patience: int = 0  # epochs without a lower held-out loss that end the training; 0: never
    precision: str = "float32"  # or mixed_bfloat16, for GPUs; what is served is float32
    distribution: str = "none"  # or mirrored (all GPUs of a pod), multi_worker (TF_CONFIG)

    def __post_init__(self):
        require_distribution(self.distribution)
        require_precision(self.precision)
        require_patience(self.patience)
        require(self.epochs >= 1, "epochs must be at least 1.")
        require(self.batch_size >= 2, "batch_size must be at least 2.")
        require(0 < self.learning_rate < 1, "learning_rate must be between 0 and 1.")
        require(0 <= self.dropout < 1, "dropout must be in [0, 1).")
        require(self.channels >= 4, "channels must be at least 4.")
