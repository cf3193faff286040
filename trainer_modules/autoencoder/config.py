"""Settings of the autoencoder and of its fine-tuning, with units and reasons."""

from __future__ import annotations

import dataclasses

from core.config import require
from trainer_modules.common.config import FinetuneConfig, SingleLossConfig


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig(SingleLossConfig):
    """Size and training of encoder and decoder."""

    epochs: int = 4
    batch_size: int = 128
    learning_rate: float = 2e-3
    code_size: int = 32  # dimensions of the bottleneck
    channels: int = 32  # at 14x14; twice as many at 7x7
    noisy_share: float = 0.5  # of each batch that is shown with noise; the target is always clean
    noise_high: float = 0.8  # largest deviation of that noise, in [0, 1] pixel units
    # Weight of the contrastive loss beside the reconstruction's. It is what makes the codes of one
    # class cluster: K-Means accuracy on held-out digits after two passes was 0.62 at 0, 0.87 at
    # 0.01 and 0.93 at 0.03. After all passes the reconstruction error is what it is without.
    contrastive_weight: float = 0.02

    def __post_init__(self):
        super().__post_init__()
        require(1 <= self.code_size <= 784, "code_size must be from 1 to 784.")
        require(self.channels >= 4, "channels must be at least 4.")
        require(0 <= self.noisy_share <= 1, "noisy_share must be in [0, 1].")
        require(self.noise_high >= 0, "noise_high must not be negative.")
        require(self.contrastive_weight >= 0, "contrastive_weight must not be negative.")


@dataclasses.dataclass(frozen=True)
class AutoencoderFinetuneConfig(FinetuneConfig):
    """Fine-tuning of the decoder's final layers; the code stays what it was."""

    layers: tuple[str, ...] = ("conv14", "head")  # the two convolutions that draw the strokes
    noisy_share: float = 0.5  # as in the first training
    noise_high: float = 0.8

    def __post_init__(self):
        super().__post_init__()
        require(0 <= self.noisy_share <= 1, "noisy_share must be in [0, 1].")
        require(self.noise_high >= 0, "noise_high must not be negative.")
