"""Settings of the diffusion model and of its fine-tuning, with units and reasons."""

from pydantic import NonNegativeFloat, PositiveFloat
from pydantic.dataclasses import dataclass

from core.config import STRICT, Count, require
from trainer_modules.common.config import (
    BatchSize,
    FinetuneConfig,
    FirstStage,
    GroupedChannels,
    Layers,
    Momentum,
    Rate,
    SingleLossConfig,
)


@dataclass(frozen=True, config=STRICT)
class DiffusionConfig(FirstStage, SingleLossConfig):
    """The denoiser's size and training."""

    epochs: Count = 6  # five to eight minutes on two cores
    # With 64 the same images at the same rate gave an FD 1.1 times as high, and took a tenth less
    # time (docs/lab-book.md).
    batch_size: BatchSize = 32
    learning_rate: Rate = 1.7e-3  # with 2.5e-3 the FD was 1.07 times as high
    ema_momentum: Momentum = 0.995  # of the served weights; horizon of 200 steps
    channels: GroupedChannels = 32  # at 14x14; twice as many at 7x7
    global_width: Count = 512  # hidden units of the dense block that sees the whole image
    # Clusters of the train images, found by K-Means without labels. One of them conditions each
    # generated image: the network is given its learned code and its mean image.
    clusters: Count = 200
    unconditional: Rate = 0.15  # share of train images whose cluster is hidden, for denoising
    # Step of the sampler away from the linear denoiser; 0: none. A network that trained for longer
    # needs less: on held-out digits 1.2 was best after two epochs, 0.4 after six.
    guidance: NonNegativeFloat = 0.4
    # Noise that a step of the sampler adds and removes: 0 is deterministic, 1 follows the reverse
    # stochastic equation. More made the Fréchet distance larger (docs/lab-book.md).
    eta: NonNegativeFloat = 1.0
    sample_steps: Count = 20  # network calls of the sample grids made in training


@dataclass(frozen=True, config=STRICT)
class DiffusionFinetuneConfig(FinetuneConfig):
    """Fine-tuning of the last layers for denoising pictures that were clipped to [0, 1]."""

    layers: Layers = ("decode7", "up", "decode14", "head")  # all after the global block
    learning_rate: Rate = 1e-3  # held-out PSNR at 0.4 is 0.05 dB better than with 3e-4
    noise_low: PositiveFloat = 0.05  # smallest noise trained on, in [0, 1] pixel units
    noise_high: PositiveFloat = 1.0  # largest

    def __post_init__(self):
        require(self.noise_low < self.noise_high, "noise_low must be below noise_high.")
