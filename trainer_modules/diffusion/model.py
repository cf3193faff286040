"""The denoising network (a U-Net on space-to-depth patches) and its training objective.

``build_network`` maps (x_t [B, 28, 28, 1], t [B]) to the velocity v [B, 28, 28, 1]. Pixels are
folded to 14x14x4 at once and the wide work is done at 14x14 and 7x7, where a CPU spends its time
in matrix products instead of memory traffic; mixer blocks give global context at 7x7.
"""

from __future__ import annotations

import math

import keras
from keras import layers, ops

from trainer_modules.common.layers import DepthToSpace, RMSNorm, SpaceToDepth
from trainer_modules.diffusion import schedule
from trainer_modules.diffusion.config import DiffusionConfig

IMAGE_SHAPE = (28, 28, 1)
_TIME_FEATURES = 16


@keras.saving.register_keras_serializable("inkwell")
class TimeFeatures(layers.Layer):
    """Sines and cosines of t in [0, 1] at octave frequencies: [B] -> [B, 16]."""

    def call(self, t):
        frequency = ops.power(2.0, ops.arange(_TIME_FEATURES // 2, dtype="float32")) * (math.pi / 2)
        angle = ops.expand_dims(t, -1) * frequency
        return ops.concatenate([ops.sin(angle), ops.cos(angle)], axis=-1)


def _modulate(x, time, channels, name):
    """Scales and shifts each channel by the time embedding (FiLM; Perez et al. 2018, eq. 2)."""
    scale = layers.Dense(channels, name=f"{name}_scale")(time)
    shift = layers.Dense(channels, name=f"{name}_shift")(time)
    scale = layers.Reshape((1, 1, channels))(scale)
    shift = layers.Reshape((1, 1, channels))(shift)
    return x * (1.0 + scale) + shift


def _residual_block(x, time, name):
    channels = x.shape[-1]
    h = layers.Conv2D(channels, 3, padding="same", name=f"{name}_conv1")(RMSNorm()(x))
    h = layers.Activation("relu")(_modulate(h, time, channels, name))
    h = layers.Conv2D(
        channels, 3, padding="same", kernel_initializer="zeros", name=f"{name}_conv2"
    )(h)
    return x + h


def _mixer_block(x, time, name):
    """Mixes over all places, then over channels (Tolstikhin et al. 2021, eq. 1)."""
    height, width, channels = x.shape[1:]
    places = height * width
    h = layers.Reshape((places, channels))(_modulate(RMSNorm()(x), time, channels, name))
    h = layers.Permute((2, 1))(h)
    h = layers.Dense(2 * places, activation="relu", name=f"{name}_places1")(h)
    h = layers.Dense(places, kernel_initializer="zeros", name=f"{name}_places2")(h)
    x = x + layers.Reshape((height, width, channels))(layers.Permute((2, 1))(h))
    h = layers.Dense(2 * channels, activation="relu", name=f"{name}_channels1")(RMSNorm()(x))
    h = layers.Dense(channels, kernel_initializer="zeros", name=f"{name}_channels2")(h)
    return x + h


def build_network(config: DiffusionConfig) -> keras.Model:
    """The U-Net: (x_t [B, 28, 28, 1] standardised, t [B] in [0, 1]) -> v [B, 28, 28, 1]."""
    wide = 2 * config.channels
    x_t = keras.Input(IMAGE_SHAPE, name="x_t")
    t = keras.Input((), name="t")
    time = layers.Dense(64, activation="relu", name="time1")(TimeFeatures()(t))
    time = layers.Dense(64, activation="relu", name="time2")(time)

    x = layers.Conv2D(config.channels, 3, padding="same", name="stem")(SpaceToDepth()(x_t))
    skip = _residual_block(x, time, "encode14")  # [B, 14, 14, channels]
    x = layers.Dense(wide, name="down")(SpaceToDepth()(skip))
    x = _residual_block(x, time, "encode7")  # [B, 7, 7, wide]
    for i in range(config.mixers):
        x = _mixer_block(x, time, f"mixer{i + 1}")
    x = _residual_block(x, time, "decode7")
    x = DepthToSpace()(layers.Dense(4 * config.channels, name="up")(x))
    x = _residual_block(x + skip, time, "decode14")
    x = layers.Conv2D(4, 3, padding="same", kernel_initializer="zeros", name="head")(RMSNorm()(x))
    return keras.Model([x_t, t], DepthToSpace()(x), name="denoiser")


class DiffusionTrainer(keras.Model):
    """Fits the network: E |v - v_theta(x_t, t)|^2 over images, times and noise.

    Calling it draws t and eps and returns the residual v_theta - v, so that Keras' own training
    step works unchanged on every backend.
    """

    def __init__(self, network: keras.Model, pixel_mean: float, pixel_std: float, seed: int):
        super().__init__(name="diffusion_trainer")
        self.network = network
        self.pixel_mean = pixel_mean
        self.pixel_std = pixel_std
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        """Images [B, 28, 28, 1] in [0, 1] -> residual of the same shape."""
        x_0 = (images - self.pixel_mean) / self.pixel_std
        count = ops.shape(x_0)[0]
        # One random offset and an even spread: every batch covers all times, which lowers the
        # variance of the loss (Kingma et al. 2021, appendix I.1).
        offset = keras.random.uniform((), seed=self.seed_generator)
        t = (offset + ops.arange(count, dtype="float32") / ops.cast(count, "float32")) % 1.0
        eps = keras.random.normal(ops.shape(x_0), seed=self.seed_generator)
        x_t = schedule.diffuse(x_0, eps, t)
        return self.network([x_t, t], training=training) - schedule.velocity(x_0, eps, t)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y_pred))
