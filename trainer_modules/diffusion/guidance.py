"""Guidance of the sampler away from the linear denoiser, so that digits become clearer.

A network that trained for minutes errs in the direction of weaker denoisers. Autoguidance (Karras
et al. 2024, arXiv 2406.02507, eq. 5) steps away from one: D + w (D - D_weak). The weak one here is
the best linear denoiser, which needs no training and, at 2 x 784^2 products, little time. Only the
steps in the middle are guided, where shapes are decided (Kynkaanniemi et al. 2024, arXiv
2404.07724): guidance at less noise increases the Fréchet distance, at more noise it favours the
densest class (trials in docs/lab-book.md).
"""

import keras
import numpy as np
from keras import layers, ops

from core.images import IMAGE_SHAPE, PIXELS
from trainer_modules.diffusion import schedule

_GUIDED_FROM, _GUIDED_TO = 0.7, 5.0  # sigma of standardised images


@keras.saving.register_keras_serializable("inkwell")
class LinearDenoiser(layers.Layer):
    """The linear map (x_t [B, 28, 28, 1], t [B]) -> v [B, 28, 28, 1] of least squared error.

    E[x_0 | x_t] as if images were Gaussian, mu + C (C + sigma^2 I)^-1 (x_t / sqrt(alpha_bar) - mu)
    with sigma^2 = (1 - alpha_bar) / alpha_bar (the Wiener filter), given as a velocity.
    """

    def build(self, *_):
        def weight(name, shape):
            return self.add_weight(name=name, shape=shape, initializer="zeros", trainable=False)

        self.mean = weight("mean", (PIXELS,))
        self.variances = weight("variances", (PIXELS,))  # eigenvalues of the covariance C
        self.directions = weight("directions", (PIXELS, PIXELS))  # its eigenvectors, by column

    def fit(self, images: np.ndarray, pixel_mean: float, pixel_std: float) -> None:
        """Computes mean and covariance of images [N, 28, 28, 1] in [0, 1], standardised."""
        x = ((images - pixel_mean) / pixel_std).reshape(-1, PIXELS)
        mean = x.mean(axis=0, dtype=np.float64)
        covariance = x.T @ x / len(x) - np.outer(mean, mean)
        variances, directions = np.linalg.eigh(covariance)
        self.set_weights([mean, np.maximum(variances, 0.0), directions])

    def call(self, x_t, t):
        a = ops.minimum(ops.expand_dims(schedule.alpha_bar(t), 1), 1.0 - 1e-6)  # 1 at time 0
        y = ops.reshape(x_t, (-1, PIXELS)) / ops.sqrt(a) - self.mean
        shrink = self.variances / (self.variances + (1.0 - a) / a)
        y = ops.matmul(y, self.directions) * shrink
        x_0 = self.mean + ops.matmul(y, ops.transpose(self.directions))
        x_0 = ops.reshape(x_0, ops.shape(x_t))
        a = ops.reshape(a, (-1, 1, 1, 1))
        return (ops.sqrt(a) * x_t - x_0) / ops.sqrt(1.0 - a)


@keras.saving.register_keras_serializable("inkwell")
class Guide(layers.Layer):
    """v + w (v - v_weak) where sigma lies within the guided range, v elsewhere.

    It also keeps the sampler's ``eta``, so that all settings of the sampler are saved with the
    generator.
    """

    def __init__(self, weight: float, eta: float, **kwargs):
        super().__init__(**kwargs)
        self.weight, self.eta = weight, eta

    def call(self, velocity, weak_velocity, t):
        low, high = (schedule.time_of_noise(noise) for noise in (_GUIDED_FROM, _GUIDED_TO))
        guided = ops.logical_and(t >= low, t <= high)
        w = ops.reshape(ops.where(guided, self.weight, 0.0), (-1, 1, 1, 1))
        return velocity + w * (velocity - weak_velocity)

    def get_config(self):
        return {**super().get_config(), "weight": self.weight, "eta": self.eta}


def build_generator(
    network: keras.Model,
    weight: float,
    eta: float,
    images: np.ndarray,
    pixel_mean: float,
    pixel_std: float,
) -> keras.Model:
    """``network`` (not copied) with guidance, as the sampler calls it: (x_t, t, cluster) -> v.

    Args:
        network: The trained denoiser, named ``denoiser``.
        weight: w, at least 0; 0 leaves the network as it is.
        eta: As ``sampler.sample`` takes it, for ``eta_of``.
        images: Train images [N, 28, 28, 1] in [0, 1].
    """
    x_t, t = keras.Input(IMAGE_SHAPE, name="x_t"), keras.Input((), name="t")
    cluster = keras.Input((), name="cluster", dtype="int32")
    linear = LinearDenoiser(name="linear", dtype="float32")
    v = network([x_t, t, cluster])
    v = Guide(weight, eta, name="guide", dtype="float32")(v, linear(x_t, t), t)
    linear.fit(images, pixel_mean, pixel_std)
    return keras.Model([x_t, t, cluster], v, name="generator")


def eta_of(generator: keras.Model) -> float:
    """The sampler's ``eta`` that was saved with ``generator``."""
    return generator.get_layer("guide").eta


def sizes_of(generator: keras.Model):
    """Numbers of train images in each cluster, [K], which were saved with ``generator``."""
    return generator.get_layer("denoiser").get_layer("cluster_code").sizes
