"""Samples images from the GAN: two candidates each, of which the discriminator picks one.

The best discriminator of a relativistic pairing scores log p_real / p_fake up to a constant (set
the derivative of the pairing loss to zero), so what the generator makes too often can be corrected:
candidate a is kept over b with probability r(a) / (r(a) + r(b)) for the ratio r. That is Barker's
rule in one step of a chain as in Turner et al. 2019 ("Metropolis-Hastings generative adversarial
networks"). The gradient penalties flatten the scores, so they are calibrated first, as there. With
4, 8 or 16 candidates the Inception Score rises further, but so does the Fréchet distance
(docs/lab-book.md).
"""

import dataclasses

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Of discriminator scores: sigmoid(slope (score - midpoint)) = P(real | score)."""

    midpoint: float  # half-way between the mean real and the mean fake
    slope: float  # nats per unit of score; 0 (no information) if fakes score higher


def calibrate(real: np.ndarray, fake: np.ndarray) -> Calibration:
    """Calibrates from scores of reals [N] and of fakes [N], taken as normals of one variance.

    The linear discriminant of one variable: Hastie et al. 2009, section 4.3, eq. 4.9.
    """
    gap, variance = real.mean() - fake.mean(), (real.var() + fake.var()) / 2
    slope = max(float(gap), 0.0) / max(float(variance), 1e-12)
    return Calibration(float(real.mean() + fake.mean()) / 2, slope)


class Sampler(keras.Model):
    """Both networks as one model; all noise is an input, so that it compiles on any backend."""

    def __init__(self, generator: keras.Model, discriminator: keras.Model, slope: float):
        super().__init__(name="sampler", dtype="float32")
        self.generator = generator
        self.discriminator = discriminator
        self.slope = slope

    def call(self, noise):
        """(latents [B, 2, Z], uniform numbers [B] in [0, 1)) -> images [B, 28, 28, 1] in [0, 1]."""
        latents, uniform = noise
        images = [self.generator(latents[:, i], training=False) for i in range(2)]
        scores = [self.discriminator(image, training=False) for image in images]
        first = uniform < ops.sigmoid(self.slope * (scores[0] - scores[1]))
        return ops.where(ops.reshape(first, (-1, 1, 1, 1)), *images)

    def noise(self, count: int, seed: int):
        """The model's input for ``count`` images; equal seeds give equal noise."""
        seeds, size = keras.random.SeedGenerator(seed), self.generator.input_shape[-1]
        latents = keras.random.normal((count, 2, size), seed=seeds)
        return latents, keras.random.uniform((count,), seed=seeds)
