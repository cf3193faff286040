"""Settings of the GAN, with units and reasons.

There is no early stop: neither side's loss says how good the images are, as each is measured
against the other, so no held-out loss could tell when to end.
"""

from __future__ import annotations

import dataclasses

from core.config import require
from trainer_modules.common.config import TrainingConfig


@dataclasses.dataclass(frozen=True)
class GanConfig(TrainingConfig):
    """Sizes and training of generator and discriminator."""

    epochs: int = 5  # each batch is one step of either side
    batch_size: int = 64  # real images
    # As elsewhere. The penalty is a small difference of scores, of which bfloat16 rounds away a
    # part: compare the figures before relying on it.
    precision: str = "float32"
    # Dimensions of the standard normal latent. 16 have a lower Fréchet distance after two passes,
    # but a higher one after all five (docs/lab-book.md).
    latent_size: int = 64
    channels: int = 32  # at 14x14; twice as many at 7x7
    # Peaks of Adam, and the weight gamma of R1 and R2 (pixels of [0, 1]; in [-1, 1] it would be a
    # quarter). On held-out digits, after two passes, the Fréchet distance was 11.4 times its floor
    # at rates of 0.001 and gamma 1, 6.1 at 0.001 and 0.25, 2.7 at 0.002 and 0.15 and 2.3 at 0.004
    # and 0.15, which fooled a nearest neighbour less well.
    generator_learning_rate: float = 3e-3
    discriminator_learning_rate: float = 3e-3
    gradient_penalty: float = 0.15
    penalty_noise: float = 0.05  # deviation of the finite difference that measures the slope
    ema_momentum: float = 0.995  # of the served generator; horizon of 200 steps
    sample_every: int = 500  # steps between sample grids at the fixed latents

    def __post_init__(self):
        super().__post_init__()
        require(self.latent_size >= 1, "latent_size must be at least 1.")
        require(self.channels >= 4 and self.channels % 4 == 0, "channels must be a multiple of 4.")
        for name in ("generator_learning_rate", "discriminator_learning_rate"):
            require(0 < getattr(self, name) < 1, f"{name} must be between 0 and 1.")
        require(self.gradient_penalty >= 0, "gradient_penalty must not be negative.")
        require(0 < self.penalty_noise < 1, "penalty_noise must be between 0 and 1.")
        require(0 <= self.ema_momentum < 1, "ema_momentum must be in [0, 1).")
        require(self.sample_every >= 1, "sample_every must be at least 1.")
