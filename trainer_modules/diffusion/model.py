"""The denoising network (a U-Net on space-to-depth patches) and its training objective.

``build_network`` maps (x_t [B, 28, 28, 1], t [B], cluster [B]) to the velocity v [B, 28, 28, 1].
Pixels are folded to 14x14x4 at once and the wide work is done at 14x14 and 7x7, where a CPU spends
its time in matrix products instead of memory traffic; mixer blocks give global context at 7x7.
"""

import math

import keras
from keras import layers, ops

from core.images import IMAGE_SHAPE
from trainer_modules.common.distribution import share_of_mean
from trainer_modules.common.halves import call_in_halves
from trainer_modules.common.layers import DepthToSpace, RMSNorm, SpaceToDepth
from trainer_modules.diffusion import schedule
from trainer_modules.diffusion.clusters import ClusterCode, nearest_cluster, no_cluster
from trainer_modules.diffusion.config import DiffusionConfig

_TIME_FEATURES = 16


@keras.saving.register_keras_serializable("inkwell")
class TimeFeatures(layers.Layer):
    """Sines and cosines of t in [0, 1] at octave frequencies: [B] -> [B, 16]."""

    def call(self, t):
        frequency = ops.power(2.0, ops.arange(_TIME_FEATURES // 2, dtype="float32")) * (math.pi / 2)
        angle = ops.expand_dims(t, -1) * frequency
        return ops.concatenate([ops.sin(angle), ops.cos(angle)], axis=-1)


def _modulate(x, time, channels, name):
    """Scales and shifts each channel by the code of time and cluster (FiLM, Perez et al. 2018)."""
    scale = layers.Dense(channels, name=f"{name}_scale")(time)
    shift = layers.Dense(channels, name=f"{name}_shift")(time)
    scale = layers.Reshape((1, 1, channels))(scale)
    shift = layers.Reshape((1, 1, channels))(shift)
    return x * (1.0 + scale) + shift


def _residual_block(x, time, name):
    channels = x.shape[-1]
    h = layers.Conv2D(channels, 3, padding="same", name=f"{name}_conv1")(RMSNorm()(x))
    h = layers.Activation("silu")(_modulate(h, time, channels, name))
    h = layers.Conv2D(
        channels, 3, padding="same", kernel_initializer="zeros", name=f"{name}_conv2"
    )(h)
    return x + h


def _global_block(x, time, width, name):
    """A residual dense network over the flattened map: every position sees every other.

    It costs two thirds of a 3x3 convolution at this size and makes the strokes form one digit;
    local convolutions alone generate crisp pieces of several digits.
    """
    height, width_px, channels = x.shape[1:]
    h = layers.Dense(16, name=f"{name}_squeeze")(RMSNorm()(x))
    h = layers.Dense(width, name=f"{name}_in")(layers.Flatten()(h))
    h = layers.Activation("relu")(h + layers.Dense(width, name=f"{name}_time1")(time))
    h = layers.Dense(width, name=f"{name}_hidden")(h)
    h = layers.Activation("relu")(h + layers.Dense(width, name=f"{name}_time2")(time))
    h = layers.Dense(height * width_px * 16, name=f"{name}_out")(h)
    h = layers.Reshape((height, width_px, 16))(h)
    return x + layers.Dense(channels, kernel_initializer="zeros", name=f"{name}_expand")(h)


def build_network(config: DiffusionConfig) -> keras.Model:
    """The U-Net: (x_t, t, cluster) -> v [B, 28, 28, 1].

    x_t [B, 28, 28, 1] is standardised, t [B] in [0, 1], cluster int32 [B] from 0 (none) to K.
    """
    wide = 2 * config.channels
    x_t = keras.Input(IMAGE_SHAPE, name="x_t")
    t = keras.Input((), name="t")
    cluster = keras.Input((), name="cluster", dtype="int32")
    time = layers.Dense(64, activation="relu", name="time1")(TimeFeatures()(t))
    code, centre = ClusterCode(config.clusters, 64, name="cluster_code")(cluster)
    time = layers.Dense(64, activation="relu", name="time2")(time + code)  # and cluster

    x = SpaceToDepth()(layers.Concatenate()([x_t, centre]))
    x = layers.Conv2D(config.channels, 3, padding="same", name="stem")(x)
    skip = _residual_block(x, time, "encode14")  # [B, 14, 14, channels]
    x = layers.Dense(wide, name="down")(SpaceToDepth()(skip))
    x = _residual_block(x, time, "encode7")  # [B, 7, 7, wide]
    x = _global_block(x, time, config.global_width, "global7")
    x = _residual_block(x, time, "decode7")
    x = DepthToSpace()(layers.Dense(4 * config.channels, name="up")(x))
    x = _residual_block(x + skip, time, "decode14")
    x = layers.Conv2D(4, 3, padding="same", kernel_initializer="zeros", name="head")(RMSNorm()(x))
    return keras.Model([x_t, t, cluster], DepthToSpace()(x), name="denoiser")


def _no_error_beyond_range(residual, x_0, images):
    """``residual`` [B, 28, 28, 1], but 0 where a black pixel is estimated blacker than black.

    Estimates of x_0 are clipped to the range of pixels before use, so an estimate blacker than a
    black pixel (or whiter than a white one) costs nothing. A network that need not hit the bounds
    exactly spends its capacity on strokes (docs/lab-book.md). For a pixel within the range, an
    estimate outside is still penalised, which a clip in the loss would not do.

    Args:
        residual: Errors, in any unit.
        x_0: The network's estimate in pixel units, not clipped.
        images: The clean images, in [0, 1].
    """
    black = ops.logical_and(images <= 0.0, x_0 < 0.0)
    white = ops.logical_and(images >= 1.0, x_0 > 1.0)
    return ops.where(ops.logical_or(black, white), 0.0, residual)


class _ResidualTrainer(keras.Model):
    """Fits a network by the mean square of the residuals that ``call`` returns."""

    def __init__(self, network: keras.Model, pixel_mean: float, pixel_std: float, seed: int):
        super().__init__()
        self.network = network
        self.pixel_mean = pixel_mean
        self.pixel_std = pixel_std
        self.seed_generator = keras.random.SeedGenerator(seed)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return share_of_mean(ops.mean(ops.square(y_pred)))


class DiffusionTrainer(_ResidualTrainer):
    """Fits the network: E |v - v_theta(x_t, t, cluster)|^2 over images, times and noise.

    The call samples t and eps and returns the residual v_theta - v, so that Keras' own training
    step works unchanged on every backend.
    """

    def __init__(self, network, pixel_mean: float, pixel_std: float, centres, config):
        super().__init__(network, pixel_mean, pixel_std, config.seed)
        self.centres = centres  # [K, 784]
        self.unconditional = config.unconditional

    def call(self, images, training=False):
        """Images [B, 28, 28, 1] in [0, 1] -> residual of the same shape."""
        x_0 = (images - self.pixel_mean) / self.pixel_std
        count = ops.shape(x_0)[0]
        # One random offset and an even spread: every batch covers all times, which lowers the
        # variance of the loss (Kingma et al. 2021, appendix I.1).
        offset = keras.random.uniform((), seed=self.seed_generator)
        share = (offset + ops.arange(count, dtype="float32") / ops.cast(count, "float32")) % 1.0
        t = schedule.training_time(share)
        eps = keras.random.normal(ops.shape(x_0), seed=self.seed_generator)
        x_t = schedule.diffuse(x_0, eps, t)
        hidden = keras.random.uniform((count,), seed=self.seed_generator) < self.unconditional
        cluster = ops.where(hidden, no_cluster(t), nearest_cluster(images, self.centres))
        v = call_in_halves(self.network, [x_t, t, cluster], training)
        drawn, _ = schedule.split_velocity(x_t, v, t)
        drawn = drawn * self.pixel_std + self.pixel_mean
        return _no_error_beyond_range(v - schedule.velocity(x_0, eps, t), drawn, images)


class DenoisingTrainer(_ResidualTrainer):
    """Fits the trainable layers to E |x_0 - x_theta(y, sigma)|^2 on images y clipped to [0, 1].

    The diffusion objective never shows clipped noise, but every stored image is clipped: its noise
    is not Gaussian where the digit is black or white. sigma is sampled log-uniformly; the error is
    in units of standardised images.
    """

    def __init__(self, network, pixel_mean: float, pixel_std: float, config):
        super().__init__(network, pixel_mean, pixel_std, config.seed)
        self.log_noise = (math.log(config.noise_low), math.log(config.noise_high))

    def call(self, images, training=False):
        """Images [B, 28, 28, 1] in [0, 1] -> residual x_theta - x_0 of the same shape."""
        low, high = self.log_noise
        sigma = ops.exp(
            keras.random.uniform((ops.shape(images)[0],), low, high, seed=self.seed_generator)
        )
        noise = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        y = ops.clip(images + ops.reshape(sigma, (-1, 1, 1, 1)) * noise, 0.0, 1.0)
        t = schedule.time_of_noise(sigma / self.pixel_std)
        signal = ops.sqrt(ops.reshape(schedule.alpha_bar(t), (-1, 1, 1, 1)))
        x_t = signal * (y - self.pixel_mean) / self.pixel_std
        v = call_in_halves(self.network, [x_t, t, no_cluster(t)], training)
        x_0, _ = schedule.split_velocity(x_t, v, t)
        drawn = x_0 * self.pixel_std + self.pixel_mean
        return _no_error_beyond_range((drawn - images) / self.pixel_std, drawn, images)
