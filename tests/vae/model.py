"""A small VAE (Kingma & Welling 2014): dense encoder and decoder, Bernoulli pixels."""

import keras
from keras import ops

from core.images import IMAGE_SHAPE
from tests.vae.config import VaeConfig


def build_encoder(config: VaeConfig) -> keras.Model:
    """Images [B, 28, 28, 1] in [0, 1] to mean and log variance of the latent: [B, 2 D]."""
    image = keras.Input(IMAGE_SHAPE)
    x = keras.layers.Dense(config.units, "relu")(keras.layers.Flatten()(image))
    return keras.Model(image, keras.layers.Dense(2 * config.code_size)(x), name="encoder")


def build_decoder(config: VaeConfig) -> keras.Model:
    """Latents [B, D] to logits [B, 28, 28, 1]."""
    code = keras.Input((config.code_size,))
    x = keras.layers.Dense(config.units, "relu")(code)
    logits = keras.layers.Reshape(IMAGE_SHAPE)(
        keras.layers.Dense(IMAGE_SHAPE[0] * IMAGE_SHAPE[1])(x)
    )
    return keras.Model(code, logits, name="decoder")


class VaeTrainer(keras.Model):
    """Both networks and the negative evidence lower bound, eq. 10 of the paper, per pixel."""

    def __init__(self, encoder: keras.Model, decoder: keras.Model, seed: int):
        super().__init__(name="vae_trainer")
        self.encoder, self.decoder = encoder, decoder
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, image, training=False):
        mean, log_variance = ops.split(self.encoder(image), 2, axis=-1)
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds) if training else 0.0
        return self.decoder(mean + ops.exp(log_variance / 2) * noise), mean, log_variance

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        logits, mean, log_variance = y_pred
        pixels = ops.binary_crossentropy(x, logits, from_logits=True)
        divergence = ops.square(mean) + ops.exp(log_variance) - log_variance - 1
        size = IMAGE_SHAPE[0] * IMAGE_SHAPE[1]
        return ops.mean(pixels) + ops.mean(ops.sum(divergence, axis=-1)) / (2 * size)
