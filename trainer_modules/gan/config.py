"""Settings of the GAN, with units and reasons.

There is no early stop: neither side's loss says how good the images are, as each is measured
against the other, so no held-out loss could tell when to end.
"""

from pydantic import NonNegativeFloat
from pydantic.dataclasses import dataclass

from core.config import STRICT, Count
from trainer_modules.common.config import (
    BatchSize,
    FirstStage,
    GroupedChannels,
    Momentum,
    Precision,
    Rate,
    TrainingConfig,
)


@dataclass(frozen=True, config=STRICT)
class GanConfig(FirstStage, TrainingConfig):
    """Sizes and training of generator and discriminator."""

    epochs: Count = 5  # each batch is one step of either side
    batch_size: BatchSize = 64  # real images
    # As elsewhere. The penalty is a small difference of scores, of which bfloat16 rounds away a
    # part: compare the metrics before relying on it.
    precision: Precision = "float32"
    # Dimensions of the standard normal latent. 16 have a lower Fréchet distance after two passes,
    # but a higher one after all five (docs/lab-book.md).
    latent_size: Count = 64
    channels: GroupedChannels = 32  # at 14x14; twice as many at 7x7
    generator_learning_rate: Rate = 3e-3  # peak of Adam
    discriminator_learning_rate: Rate = 3e-3  # peak of Adam
    # Weight gamma of R1 and R2 (pixels of [0, 1]; in [-1, 1] it would be a quarter). On held-out
    # digits, after two passes, the Fréchet distance was 11.4 times its floor at rates of 0.001 and
    # gamma 1, 6.1 at 0.001 and 0.25, 2.7 at 0.002 and 0.15 and 2.3 at 0.004 and 0.15, which fooled
    # a nearest neighbour less well.
    gradient_penalty: NonNegativeFloat = 0.15
    penalty_noise: Rate = 0.05  # standard deviation of the step that measures the slope
    ema_momentum: Momentum = 0.995  # of the served generator; horizon of 200 steps
    sample_every: Count = 500  # steps between sample grids at the fixed latents
