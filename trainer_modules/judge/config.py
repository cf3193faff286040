"""Settings of the judge, with units and reasons."""

from __future__ import annotations

import dataclasses

from core.config import require
from trainer_modules.common.config import SingleLossConfig


@dataclasses.dataclass(frozen=True)
class JudgeConfig(SingleLossConfig):
    """Size and training of the classifier."""

    epochs: int = 4
    batch_size: int = 128
    learning_rate: float = 3e-3  # of AdamW
    dropout: float = 0.3  # share of the 128 features that is dropped in training
    channels: int = 32  # at 28x28; twice as many at 14x14 and 7x7

    def __post_init__(self):
        super().__post_init__()
        require(0 <= self.dropout < 1, "dropout must be in [0, 1).")
        require(self.channels >= 4, "channels must be at least 4.")
