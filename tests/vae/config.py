"""Settings of the VAE, with units and reasons."""

from pydantic.dataclasses import dataclass

from core.config import STRICT, Count
from trainer_modules.common.config import BatchSize, Rate, SingleLossConfig


@dataclass(frozen=True, config=STRICT)
class VaeConfig(SingleLossConfig):
    """Size and training of encoder and decoder."""

    epochs: Count = 1
    batch_size: BatchSize = 128
    learning_rate: Rate = 2e-3
    code_size: Count = 16  # dimensions of the latent code
    units: Count = 128  # of the hidden layer on either side
