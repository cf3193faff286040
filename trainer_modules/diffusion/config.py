"""Settings of the diffusion model and of its fine-tuning, with units and reasons."""

from __future__ import annotations

import dataclasses

from core.config import require
from trainer_modules.common.config import FinetuneConfig, SingleLossConfig


@dataclasses.dataclass(frozen=True)
class DiffusionConfig(SingleLossConfig):
    """The denoiser's size and training."""

    epochs: int = 6  # five to eight minutes on two cores
    batch_size: int = 64  # at 128 the same images gave an FD 1.4 times as high
    learning_rate: float = 2e-3
    ema_momentum: float = 0.995  # of the served weights; horizon of 200 steps
    channels: int = 32  # at 14x14; twice as many at 7x7
    global_width: int = 512  # hidden units of the dense block that sees the whole image
    # Step of the sampler away from the linear denoiser; 0: none. On held-out digits it halved the
    # Fréchet distance; a network that trained for longer may need less.
    guidance: float = 0.6
    sample_steps: int = 20  # network calls of the sample grids drawn in training

    def __post_init__(self):
        super().__post_init__()
        require(0 <= self.ema_momentum < 1, "ema_momentum must be in [0, 1).")
        require(self.channels >= 4 and self.channels % 4 == 0, "channels must be a multiple of 4.")
        require(self.global_width >= 1, "global_width must be at least 1.")
        require(self.guidance >= 0, "guidance must not be negative.")
        require(self.sample_steps >= 1, "sample_steps must be at least 1.")


@dataclasses.dataclass(frozen=True)
class DiffusionFinetuneConfig(FinetuneConfig):
    """Fine-tuning of the last layers for denoising pictures that were clipped to [0, 1]."""

    layers: tuple[str, ...] = ("decode7", "up", "decode14", "head")  # all after the global block
    learning_rate: float = 1e-3  # held-out PSNR at 0.4 is 0.05 dB better than with 3e-4
    noise_low: float = 0.05  # smallest noise trained on, in [0, 1] pixel units
    noise_high: float = 1.0  # largest

    def __post_init__(self):
        super().__post_init__()
        require(
            0 < self.noise_low < self.noise_high, "noise_low must be above 0, below noise_high."
        )
