"""Learning rate and gradient clipping of the optimizers."""

from typing import Any

import keras

from core.config import InputError

# Largest global norm of a gradient, for every optimizer: a guard against a single step that would
# ruin a training. In the first 100 steps at the learning rates of the models, warm-up
# included, the largest norms were 7 (judge), 3 (autoencoder), 2 (diffusion), 15 and 4 (GAN's
# discriminator and generator), medians 0.1 to 1.5. A power of two scales by exactly 1 below it.
CLIP_NORM = 64.0


def cosine_schedule(peak: float, steps: int, warmup: float = 0.05):
    """Linear warm-up, then cosine decay to zero (Loshchilov & Hutter 2017, eq. 5)."""
    warm = max(1, round(steps * warmup))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak * 0.01,
        decay_steps=max(1, steps - warm),
        alpha=0.0,
        warmup_target=peak,
        warmup_steps=warm,
    )


def adam(peak: float, steps: int, **settings: Any) -> keras.optimizers.Adam:
    """Adam at the rates of ``cosine_schedule``, with clipped gradients; ``settings`` are Keras'."""
    rate = cosine_schedule(peak, steps)
    return keras.optimizers.Adam(rate, global_clipnorm=CLIP_NORM, **settings)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in one epoch.

    Raises:
        InputError: There are fewer images than one batch holds.
    """
    if images < batch_size:
        raise InputError(
            f"The train split holds {images} images, fewer than one batch of {batch_size}; "
            "lower batch_size or give more images."
        )
    return images // batch_size


def total_steps(config, images: int) -> int:
    """Whole batches in all ``config.epochs`` epochs of so many images."""
    return steps_per_epoch(images, config.batch_size) * config.epochs
