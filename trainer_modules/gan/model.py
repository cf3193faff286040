"""Generator, discriminator, and one Keras trainer for each.

The loss is the relativistic pairing with zero-centred gradient penalties on reals and fakes
(Huang et al. 2024, "The GAN is dead; long live the GAN!", eq. 2-3), which reaches every mode
without normalisation layers. The penalties are taken as finite differences, so no second
derivative is needed and the code runs on every Keras backend.
"""

import keras
from keras import layers, ops

from core.images import IMAGE_SHAPE
from trainer_modules.common.distribution import share_of_mean
from trainer_modules.common.halves import call_in_halves
from trainer_modules.common.layers import DepthToSpace, SpaceToDepth
from trainer_modules.gan.config import GanConfig

_FINE = 8  # channels at full size
# Kernels that keep the scale of their input (He et al. 2015, eq. 10). Glorot's halve it in each
# layer, so that all fakes start as one image and may stay so (docs/lab-book.md).
_KERNEL = "he_normal"


def _leaky():
    # Plain ReLUs die: momentum-free Adam pushes the generator's biases down in its first steps.
    return layers.LeakyReLU(negative_slope=0.2)


def _dense(size: int, name: str):
    return layers.Dense(size, kernel_initializer=_KERNEL, name=name)


def _conv(channels: int, name: str):
    return layers.Conv2D(channels, 3, padding="same", kernel_initializer=_KERNEL, name=name)


def build_generator(config: GanConfig) -> keras.Model:
    """Latent [B, latent_size] ~ N(0, I) -> images [B, 28, 28, 1] in [0, 1]."""
    narrow, wide = config.channels, 2 * config.channels
    latent = keras.Input((config.latent_size,), name="latent")
    x = _leaky()(_dense(256, "mlp")(latent))
    x = _leaky()(_dense(7 * 7 * wide, "seed")(x))
    x = layers.Reshape((7, 7, wide))(x)
    x = _leaky()(_conv(wide, "conv7")(x))
    x = DepthToSpace()(_leaky()(_dense(4 * narrow, "up14")(x)))
    x = _leaky()(_conv(narrow, "conv14a")(x))
    x = _leaky()(_conv(narrow, "conv14b")(x))
    # A convolution at full size: without it the four sub-pixels of a patch do not quite agree.
    x = _leaky()(DepthToSpace()(_conv(4 * _FINE, "up28")(x)))
    x = layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="head")(x)
    return keras.Model(latent, x, name="generator")


def build_discriminator(config: GanConfig) -> keras.Model:
    """Images [B, 28, 28, 1] in [0, 1] -> scores [B], of which only differences have a meaning."""
    narrow, wide = config.channels, 2 * config.channels
    image = keras.Input(IMAGE_SHAPE, name="image")
    x = _conv(narrow, "conv14a")(SpaceToDepth()(image))
    x = _conv(narrow, "conv14b")(_leaky()(x))
    x = _dense(wide, "down7")(SpaceToDepth()(_leaky()(x)))
    x = _conv(wide, "conv7")(_leaky()(x))
    x = layers.Flatten()(_leaky()(x))
    x = _leaky()(_dense(256, "mlp")(x))
    return keras.Model(image, layers.Reshape(())(layers.Dense(1, name="score")(x)), name="critic")


class Side(keras.Model):
    """Trainer of one network: both networks are called, only ``trained`` is updated."""

    def __init__(self, generator, discriminator, trained, name):
        super().__init__(name=name)
        self.generator = generator
        self.discriminator = discriminator
        self._trained_name = trained.name
        self.accuracy = keras.metrics.Mean(name="accuracy")

    # Keras' training steps read these two; the trained side must be all that is trainable.
    @property
    def trainable_weights(self):
        return self._trained().trainable_weights

    @property
    def trainable_variables(self):
        return self._trained().trainable_variables

    @property
    def non_trainable_variables(self):
        trained = {id(v) for v in self.trainable_variables}
        return [v for v in self.variables if id(v) not in trained]

    def _trained(self):
        same = self.generator.name == self._trained_name
        return self.generator if same else self.discriminator


class DiscriminatorTrainer(Side):
    """Raises D(x) over D(G(z)) on pairs, and keeps D flat around both."""

    def __init__(self, generator, discriminator, config: GanConfig):
        super().__init__(generator, discriminator, discriminator, "discriminator_trainer")
        self.gamma = config.gradient_penalty
        self.noise = config.penalty_noise
        self.seed_generator = keras.random.SeedGenerator(config.seed)

    def call(self, inputs, training=False):
        """(images [B, 28, 28, 1], latents [B, Z]) -> scores [4, B]: real, fake, both shifted."""
        images, latents = inputs
        fakes = ops.stop_gradient(call_in_halves(self.generator, latents))
        x = ops.concatenate([images, fakes], axis=0)
        eps = keras.random.normal(ops.shape(x), seed=self.seed_generator)
        x = ops.concatenate([x, x + self.noise * eps], axis=0)
        return ops.reshape(call_in_halves(self.discriminator, x), (4, -1))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        real, fake, real_shifted, fake_shifted = (y_pred[i] for i in range(4))
        self.accuracy.update_state(ops.cast(real > fake, "float32"))
        # E_eps[(D(x + s eps) - D(x))^2] / s^2 -> |grad D(x)|^2 as s -> 0: R1 on reals, R2 on fakes.
        r1 = ops.mean(ops.square((real_shifted - real) / self.noise))
        r2 = ops.mean(ops.square((fake_shifted - fake) / self.noise))
        loss = ops.mean(ops.softplus(fake - real)) + 0.5 * self.gamma * (r1 + r2)
        return share_of_mean(loss)


class GeneratorTrainer(Side):
    """Raises D(G(z)) over D(x) on pairs."""

    def __init__(self, generator, discriminator, config: GanConfig):
        super().__init__(generator, discriminator, generator, "generator_trainer")

    def call(self, inputs, training=False):
        """(images [B, 28, 28, 1], latents [B, Z]) -> scores [2, B]: real, fake."""
        images, latents = inputs
        fakes = call_in_halves(self.generator, latents, training)
        x = ops.concatenate([images, fakes], axis=0)
        return ops.reshape(call_in_halves(self.discriminator, x), (2, -1))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        real, fake = y_pred[0], y_pred[1]
        self.accuracy.update_state(ops.cast(fake > real, "float32"))
        return share_of_mean(ops.mean(ops.softplus(real - fake)))
