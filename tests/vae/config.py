"""Settings of the VAE, with units and reasons."""

from __future__ import annotations

import dataclasses

from core.config import require
from trainer_modules.common.config import SingleLossConfig


@dataclasses.dataclass(frozen=True)
class VaeConfig(SingleLossConfig):
    """Size and training of encoder and decoder."""

    epochs: int = 1
    batch_size: int = 128
    learning_rate: float = 2e-3
    code_size: int = 16  # dimensions of the latent
    units: int = 128  # of the hidden layer on either side

    def __post_init__(self):
        super().__post_init__()
        require(self.code_size >= 1, "code_size must be at least 1.")
