"""Convolutional encoder and decoder around a 32-dimensional bottleneck, and their objective.

The decoder ends in logits: binary cross-entropy is then stable, and pixels are their sigmoid.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from trainer_modules.autoencoder.config import AutoencoderConfig
from trainer_modules.common.distribution import share_of_mean
from trainer_modules.common.layers import DepthToSpace, SpaceToDepth

IMAGE_SHAPE = (28, 28, 1)


def build_encoder(config: AutoencoderConfig) -> keras.Model:
    """Images [B, 28, 28, 1] in [0, 1] -> codes [B, code_size]."""
    narrow, wide = config.channels, 2 * config.channels
    image = keras.Input(IMAGE_SHAPE, name="image")
    x = layers.Conv2D(narrow, 3, padding="same", activation="relu", name="stem")(
        SpaceToDepth()(image)
    )
    x = layers.Conv2D(narrow, 3, padding="same", activation="relu", name="conv14")(x)
    x = layers.Dense(wide, activation="relu", name="down7")(SpaceToDepth()(x))
    x = layers.Conv2D(wide, 3, padding="same", activation="relu", name="conv7")(x)
    x = layers.Dense(256, activation="relu", name="mlp")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(config.code_size, name="code")(x), name="encoder")


def build_decoder(config: AutoencoderConfig) -> keras.Model:
    """Codes [B, code_size] -> logits of pixels [B, 28, 28, 1]."""
    narrow, wide = config.channels, 2 * config.channels
    code = keras.Input((config.code_size,), name="code")
    x = layers.Dense(256, activation="relu", name="mlp")(code)
    x = layers.Dense(7 * 7 * wide, activation="relu", name="seed")(x)
    x = layers.Reshape((7, 7, wide))(x)
    x = layers.Conv2D(wide, 3, padding="same", activation="relu", name="conv7")(x)
    x = DepthToSpace()(layers.Dense(4 * narrow, activation="relu", name="up14")(x))
    x = layers.Conv2D(narrow, 3, padding="same", activation="relu", name="conv14")(x)
    x = layers.Conv2D(4, 3, padding="same", name="head")(x)
    return keras.Model(code, DepthToSpace()(x), name="decoder")


def pixel_cross_entropy(logits, target):
    """Binary cross-entropy per image, mean over pixels, in nats: [B, 28, 28, 1] twice -> [B]."""
    loss = ops.maximum(logits, 0.0) - logits * target + ops.log1p(ops.exp(-ops.abs(logits)))
    return ops.mean(loss, axis=(1, 2, 3))


def pixel_entropy(target):
    """The least ``pixel_cross_entropy`` any model can reach on grey pixels ``target``: [B]."""
    p = ops.clip(target, 1e-7, 1.0 - 1e-7)
    entropy = -(p * ops.log(p) + (1.0 - p) * ops.log(1.0 - p))
    return ops.mean(entropy, axis=(1, 2, 3))


class AutoencoderTrainer(keras.Model):
    """Fits decoder(encoder(noisy x)) to the clean x by binary cross-entropy.

    A share of each batch is shown with Gaussian noise of a deviation drawn from [0, noise_high],
    clipped to [0, 1] as any stored picture is. Evaluation sees clean images only.
    """

    def __init__(self, encoder, decoder, noisy_share: float, noise_high: float, seed: int):
        super().__init__(name="autoencoder_trainer")
        self.encoder = encoder
        self.decoder = decoder
        self.noisy_share = noisy_share
        self.noise_high = noise_high
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        """Images [B, 28, 28, 1] in [0, 1] -> logits of the same shape."""
        x = self._add_noise(images) if training else images
        return self.decoder(self.encoder(x, training=training), training=training)

    def _add_noise(self, images):
        one_each = (ops.shape(images)[0], 1, 1, 1)
        noisy = keras.random.uniform(one_each, seed=self.seed_generator) < self.noisy_share
        sigma = keras.random.uniform(one_each, 0.0, self.noise_high, seed=self.seed_generator)
        noise = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        return ops.where(noisy, ops.clip(images + sigma * noise, 0.0, 1.0), images)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return share_of_mean(ops.mean(pixel_cross_entropy(y_pred, y)))
