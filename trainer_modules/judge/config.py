"""Settings of the judge, with units and reasons."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from core.config import STRICT, Count
from trainer_modules.common.config import BatchSize, Channels, Rate, SingleLossConfig


@dataclass(frozen=True, config=STRICT)
class JudgeConfig(SingleLossConfig):
    """Size and training of the classifier."""

    epochs: Count = 4
    batch_size: BatchSize = 128
    learning_rate: Rate = 3e-3  # of AdamW
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3  # share of the 128 features, in training
    channels: Channels = 32  # at 28x28; twice as many at 14x14 and 7x7
