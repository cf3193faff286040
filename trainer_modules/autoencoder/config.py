"""Settings of the autoencoder and of its fine-tuning, with units and reasons."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt
from pydantic.dataclasses import dataclass

from core.config import STRICT, Count, Share
from trainer_modules.common.config import (
    BatchSize,
    Channels,
    FinetuneConfig,
    FirstStage,
    Layers,
    Rate,
    SingleLossConfig,
)


@dataclass(frozen=True, config=STRICT)
class AutoencoderConfig(FirstStage, SingleLossConfig):
    """Size and training of encoder and decoder."""

    epochs: Count = 4
    batch_size: BatchSize = 128
    learning_rate: Rate = 2e-3
    code_size: Annotated[int, Field(ge=1, le=784)] = 32  # dimensions of the bottleneck
    channels: Channels = 32  # at 14x14; twice as many at 7x7
    noisy_share: Share = 0.5  # of each batch that is shown with noise; the target is always clean
    noise_high: NonNegativeFloat = 0.8  # largest standard deviation of the noise, pixels in [0, 1]
    # Weight of the contrastive loss; the reconstruction's is 1. It is what makes the codes of one
    # class neighbours: K-Means accuracy on held-out digits after two passes was 0.62 at 0, 0.87 at
    # 0.01 and 0.93 at 0.03. After all passes the reconstruction error is what it is without.
    contrastive_weight: NonNegativeFloat = 0.02
    # Epochs with the contrastive loss; the clustering loss takes its place in all that follow. The
    # neighbour graph of the codes has good clusters by then; docs/lab-book.md has the trials.
    contrastive_epochs: NonNegativeInt = 2
    cluster_weight: NonNegativeFloat = 0.05  # of the clustering loss; 0: contrastive to the end
    # That the codes gather in. It is a guess about the data; labels are not read.
    clusters: Annotated[int, Field(ge=2, le=100)] = 10


@dataclass(frozen=True, config=STRICT)
class AutoencoderFinetuneConfig(FinetuneConfig):
    """Fine-tuning of the decoder's final layers; the code stays what it was."""

    layers: Layers = ("conv14", "head")  # the two convolutions that draw the strokes
    noisy_share: Share = 0.5  # as in the first training
    noise_high: NonNegativeFloat = 0.8  # as in the first training
