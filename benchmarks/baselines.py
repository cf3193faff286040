"""Published example models, reimplemented, that ours must beat in equal training time.

- DCGAN as in TensorFlow's tutorial "Deep Convolutional Generative Adversarial Network": transposed
  convolutions with batch norm, the non-saturating loss (Goodfellow et al. 2014; Radford et al.
  2015).
- DDIM as in Keras' example "Denoising Diffusion Implicit Models": a U-Net of residual blocks with
  batch norm that predicts the noise, cosine schedule, mean absolute error (Song et al. 2021).
- The convolutional denoiser of Keras' example "Convolutional autoencoder for image denoising":
  28,353 weights, trained on noise of 0.4.
- The convolutional autoencoder of DCEC before its clustering loss (Guo et al. 2017, figure 2), with
  a code as long as ours, and N2D on its codes (McConville et al. 2021): a Gaussian mixture on a
  map of the codes that keeps neighbours. The map is by t-SNE, where N2D has UMAP.

Contract: architecture, losses and rates are the tutorials'; training ends by the clock. On any
Keras backend; images [N, 28, 28, 1] in [0, 1] in and out.
"""

import contextlib
import math
import time
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from components.evaluator.metrics.embedding import tsne
from core.digits import Digits
from core.images import IMAGE_SHAPE
from trainer_modules.common.averages import use_averages
from trainer_modules.gan.model import Side

_LATENT = 100
_EMA = 0.999
_SIGNAL = (0.02, 0.95)  # least and largest share of the signal, as the angles' cosines
_HELD_OUT = 1000  # images to choose between averaged and last weights
_BIG = 1_000_000  # epochs; the clock ends a training


class _Clock(keras.callbacks.Callback):
    """Ends a training after so many seconds and at least one step."""

    def __init__(self, seconds: float):
        super().__init__()
        self.end = time.monotonic() + seconds
        self.last: list[np.ndarray] = []  # the model's weights, before Keras averages any

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() >= self.end:
            if keras.config.backend() == "jax":
                self.model.jax_state_sync()
            self.last = self.model.get_weights()
            raise _TimeIsUp


class _TimeIsUp(Exception):
    pass


def _fit(model: keras.Model, x, y, batch_size: int, seconds: float) -> None:
    clock = _Clock(seconds)
    with contextlib.suppress(_TimeIsUp):
        model.fit(x, y, batch_size=batch_size, epochs=_BIG, verbose=0, callbacks=[clock])
    model.set_weights(clock.last)


def build_dcgan() -> tuple[keras.Model, keras.Model]:
    """Generator, latents [B, 100] -> [B, 28, 28, 1] in [-1, 1]; discriminator -> logits [B, 1]."""
    generator = keras.Sequential(name="dcgan_generator")
    generator.add(keras.Input((_LATENT,)))
    generator.add(layers.Dense(7 * 7 * 256, use_bias=False))
    generator.add(layers.BatchNormalization())
    generator.add(layers.LeakyReLU(negative_slope=0.3))
    generator.add(layers.Reshape((7, 7, 256)))
    for channels, strides in ((128, 1), (64, 2)):
        generator.add(layers.Conv2DTranspose(channels, 5, strides, "same", use_bias=False))
        generator.add(layers.BatchNormalization())
        generator.add(layers.LeakyReLU(negative_slope=0.3))
    generator.add(layers.Conv2DTranspose(1, 5, 2, "same", use_bias=False, activation="tanh"))
    discriminator = keras.Sequential(name="dcgan_discriminator")
    discriminator.add(keras.Input(IMAGE_SHAPE))
    for channels in (64, 128):
        discriminator.add(layers.Conv2D(channels, 5, 2, "same"))
        discriminator.add(layers.LeakyReLU(negative_slope=0.3))
        discriminator.add(layers.Dropout(0.3))
    discriminator.add(layers.Flatten())
    discriminator.add(layers.Dense(1))
    return generator, discriminator


class _Step(Side):
    """One network's step: binary cross-entropy of the discriminator on reals (if any) and fakes."""

    def call(self, inputs, training=False):
        """(images, latents) -> logits of reals and fakes [2, B]; latents alone -> fakes [1, B]."""
        if isinstance(inputs, (list, tuple)):
            images, latents = inputs
            fakes = ops.stop_gradient(self.generator(latents, training=True))
            sides = [self.discriminator(x, training=training) for x in (images, fakes)]
        else:
            sides = [self.discriminator(self.generator(inputs, training=True), training=training)]
        return ops.stack([ops.squeeze(side, -1) for side in sides])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if isinstance(x, (list, tuple)):
            return ops.mean(ops.softplus(-y_pred[0])) + ops.mean(ops.softplus(y_pred[1]))
        return ops.mean(ops.softplus(-y_pred[0]))


def train_dcgan(train: Digits, seconds: float, seed: int) -> keras.Model:
    """The generator after ``seconds`` of training, 256 images a step."""
    keras.utils.set_random_seed(seed)
    generator, discriminator = build_dcgan()
    sides = [
        _Step(generator, discriminator, side, f"{side.name}_step")
        for side in (discriminator, generator)
    ]
    for side in sides:
        side.compile(optimizer=keras.optimizers.Adam(1e-4))
    rng = np.random.default_rng(seed)
    batch = min(256, len(train.images))
    end, order = time.monotonic() + seconds, np.empty(0, int)
    while time.monotonic() < end:
        if len(order) < batch:
            order = rng.permutation(len(train.images))
        images, order = train.images[order[:batch]] * 2 - 1, order[batch:]
        latents = rng.standard_normal((batch, _LATENT), "float32")
        sides[0].train_on_batch([images, latents])
        sides[1].train_on_batch(latents)
    return generator


def draw_dcgan(generator: keras.Model, count: int, seed: int) -> np.ndarray:
    """Images [count, 28, 28, 1] in [0, 1]."""
    latents = keras.random.normal((count, _LATENT), seed=seed)
    return (generator.predict_on_batch(latents) + 1) / 2


def _angles(t):
    """Rates of signal and noise at times ``t`` in [0, 1]: cosine and sine of an angle."""
    start, end = math.acos(_SIGNAL[1]), math.acos(_SIGNAL[0])
    angle = start + t * (end - start)
    return ops.cos(angle), ops.sin(angle)


@keras.saving.register_keras_serializable("inkwell")
class NoiseFeatures(layers.Layer):
    """Sines and cosines of the noise's variance: [B, 1, 1, 1] -> [B, 1, 1, 32]."""

    def call(self, variance):
        frequency = ops.exp(ops.linspace(math.log(1.0), math.log(1000.0), 16))
        angle = 2 * math.pi * frequency * variance
        return ops.concatenate([ops.sin(angle), ops.cos(angle)], axis=-1)


def build_ddim() -> keras.Model:
    """(noisy [B, 32, 32, 1], variance of the noise [B, 1, 1, 1]) -> the noise."""
    noisy, variance = keras.Input((32, 32, 1)), keras.Input((1, 1, 1))
    embedding = layers.UpSampling2D(32, interpolation="nearest")(NoiseFeatures()(variance))
    x = layers.Concatenate()([layers.Conv2D(32, 1)(noisy), embedding])

    def block(x, width):
        residual = x if x.shape[-1] == width else layers.Conv2D(width, 1)(x)
        x = layers.BatchNormalization(center=False, scale=False)(x)
        x = layers.Conv2D(width, 3, padding="same", activation="swish")(x)
        return layers.Add()([layers.Conv2D(width, 3, padding="same")(x), residual])

    skips = []
    for width in (32, 64, 96):
        for _ in range(2):
            x = block(x, width)
            skips.append(x)
        x = layers.AveragePooling2D(2)(x)
    for _ in range(2):
        x = block(x, 128)
    for width in (96, 64, 32):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        for _ in range(2):
            x = block(layers.Concatenate()([x, skips.pop()]), width)
    x = layers.Conv2D(1, 1, kernel_initializer="zeros")(x)
    return keras.Model([noisy, variance], x, name="ddim")


class _NoisePrediction(keras.Model):
    """Images [B, 32, 32, 1], standardised, to the error of the noise that was added."""

    def __init__(self, network: keras.Model, seed: int):
        super().__init__(name="noise_prediction")
        self.network = network
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        shape = (ops.shape(images)[0], 1, 1, 1)
        signal, noise = _angles(keras.random.uniform(shape, seed=self.seed_generator))
        eps = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        found = self.network([signal * images + noise * eps, noise**2], training=training)
        return found - eps

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.abs(y_pred))


class Ddim(keras.Model):
    """``steps`` deterministic steps with a trained network, as a model that Keras compiles."""

    def __init__(self, network: keras.Model, steps: int, mean: float, std: float):
        super().__init__()
        self.network, self.steps, self.mean, self.std = network, steps, mean, std

    def call(self, x):
        """Standard normal [B, 32, 32, 1] -> images [B, 28, 28, 1] in [0, 1]."""
        image = x
        for i in range(self.steps):
            ones = ops.ones((ops.shape(x)[0], 1, 1, 1))
            signal, noise = _angles(ones * (1 - i / self.steps))
            eps = self.network([x, noise**2], training=False)
            image = (x - noise * eps) / signal
            signal, noise = _angles(ones * (1 - (i + 1) / self.steps))
            x = signal * image + noise * eps
        return ops.clip(image * self.std + self.mean, 0.0, 1.0)[:, 2:-2, 2:-2]


def draw_ddim(sampler: Ddim, count: int, seed: int) -> np.ndarray:
    """Images [count, 28, 28, 1] in [0, 1]."""
    return sampler.predict_on_batch(keras.random.normal((count, 32, 32, 1), seed=seed))


def train_ddim(train: Digits, held_out: Digits, seconds: float, seed: int) -> keras.Model:
    """The network after ``seconds`` of training on images padded to 32x32.

    The example samples with averaged weights. In a short training that average is still near the
    initial weights, so the last ones are kept if they predict the noise of ``held_out`` better.
    """
    keras.utils.set_random_seed(seed)
    network = build_ddim()
    trainer = _NoisePrediction(network, seed)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-4, use_ema=True, ema_momentum=_EMA)
    trainer.compile(optimizer=optimizer)

    def standardised(digits: Digits) -> np.ndarray:
        padded = np.pad(digits.images, ((0, 0), (2, 2), (2, 2), (0, 0)))
        return (padded - train.pixel_mean) / train.pixel_std

    images, others = standardised(train), standardised(held_out)[:_HELD_OUT]
    _fit(trainer, images, None, min(64, len(images)), seconds)
    keep_better_weights(
        network, optimizer, lambda: trainer.evaluate(others, batch_size=64, verbose=0)
    )
    return network


def keep_better_weights(network: keras.Model, optimizer, loss: Callable[[], float]) -> None:
    """Sets ``network`` to the averaged weights, or to the last if their ``loss`` is lower."""
    last, reached = network.get_weights(), loss()
    use_averages(optimizer, network.trainable_variables)
    if loss() > reached:
        network.set_weights(last)


def build_denoiser() -> keras.Model:
    """Noisy images -> clean images, both [B, 28, 28, 1] in [0, 1]; 28,353 weights."""
    x = image = keras.Input(IMAGE_SHAPE)
    for _ in range(2):
        x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2, padding="same")(x)
    for _ in range(2):
        x = layers.Conv2DTranspose(32, 3, 2, "same", activation="relu")(x)
    x = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    return keras.Model(image, x, name="convolutional_denoiser")


def train_denoiser(train: Digits, sigma: float, seconds: float, seed: int) -> keras.Model:
    """Fits noisy images, with noise sampled once, to clean ones for ``seconds``."""
    keras.utils.set_random_seed(seed)
    model = build_denoiser()
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    noise = np.random.default_rng(seed).normal(0, sigma, train.images.shape)
    noisy = np.clip(train.images + noise, 0, 1).astype("float32")
    _fit(model, noisy, train.images, min(128, len(noisy)), seconds)
    return model


def build_autoencoder(code_size: int) -> tuple[keras.Model, keras.Model]:
    """Encoder, images [B, 28, 28, 1] in [0, 1] -> [B, code_size]; decoder, back to images."""
    relu = {"activation": "relu"}
    encoder = keras.Sequential(name="convolutional_encoder")
    encoder.add(keras.Input(IMAGE_SHAPE))
    encoder.add(layers.Conv2D(32, 5, 2, "same", **relu))
    encoder.add(layers.Conv2D(64, 5, 2, "same", **relu))
    encoder.add(layers.Conv2D(128, 3, 2, **relu))
    encoder.add(layers.Flatten())
    encoder.add(layers.Dense(code_size))
    decoder = keras.Sequential(name="convolutional_decoder")
    decoder.add(keras.Input((code_size,)))
    decoder.add(layers.Dense(3 * 3 * 128, **relu))
    decoder.add(layers.Reshape((3, 3, 128)))
    decoder.add(layers.Conv2DTranspose(64, 3, 2, **relu))
    decoder.add(layers.Conv2DTranspose(32, 5, 2, "same", **relu))
    decoder.add(layers.Conv2DTranspose(1, 5, 2, "same"))
    return encoder, decoder


def train_autoencoder(
    train: Digits, code_size: int, seconds: float, seed: int
) -> tuple[keras.Model, keras.Model]:
    """Encoder and decoder after ``seconds`` of training on the squared error."""
    keras.utils.set_random_seed(seed)
    encoder, decoder = build_autoencoder(code_size)
    model = keras.Sequential([encoder, decoder])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    _fit(model, train.images, train.images, min(256, len(train.images)), seconds)
    return encoder, decoder


def n2d(
    codes: np.ndarray, perplexity: float, clusters: int, runs: int, seed: int
) -> list[np.ndarray]:
    """Partitions [N] of ``codes`` [N, D], one for each of ``runs`` starts of the mixture."""
    from sklearn.mixture import GaussianMixture

    placed = tsne(codes, perplexity, seed)
    return [
        GaussianMixture(clusters, random_state=seed + i).fit_predict(placed) for i in range(runs)
    ]
