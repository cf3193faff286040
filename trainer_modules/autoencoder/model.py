"""Convolutional encoder and decoder around a bottleneck of ``code_size``, and their objective.

The decoder ends in logits: binary cross-entropy is then stable, and pixels are their sigmoid. With
reconstruction alone, the latent code mostly describes how a digit is written: its slant, width and
position. A contrastive loss between an image and a warped copy makes the direction of the code
describe what warping keeps, which is mostly the class. Later a clustering loss takes its place
(``clusters.py``). No label is read.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from core.images import IMAGE_SHAPE
from trainer_modules.autoencoder.clusters import (
    cluster_loss,
    sharpened,
    soft_clusters,
    squared_distances,
)
from trainer_modules.autoencoder.config import AutoencoderConfig
from trainer_modules.common.distribution import share_of_mean
from trainer_modules.common.halves import call_in_halves
from trainer_modules.common.layers import DepthToSpace, SpaceToDepth

# Largest warps under which a reader still sees the same digit.
_ROTATION = math.radians(20)
_SHIFT = 2.0  # pixels
_LOG_SCALE = 0.15  # of width and height, independently
_SHEAR = 0.25
_TEMPERATURE = 0.2  # of the contrastive loss


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


def warp(images, seed_generator: keras.random.SeedGenerator):
    """Rotates, scales, shears and shifts each image at random: [B, 28, 28, 1], same range."""
    count = ops.shape(images)[0]

    def draw(most: float):
        return keras.random.uniform((count,), -most, most, seed=seed_generator)

    cosine, sine = (f(draw(_ROTATION)) for f in (ops.cos, ops.sin))
    width, height, shear = ops.exp(draw(_LOG_SCALE)), ops.exp(draw(_LOG_SCALE)), draw(_SHEAR)
    a, b = width * cosine, width * (shear - sine)
    c, d = height * sine, height * (cosine + shear * sine)
    centre = (images.shape[1] - 1) / 2  # fixed, except for the shift
    across = centre * (1.0 - a - b) + draw(_SHIFT)
    down = centre * (1.0 - c - d) + draw(_SHIFT)
    nothing = ops.zeros_like(a)
    transform = ops.stack([a, b, across, c, d, down, nothing, nothing], axis=1)
    return ops.image.affine_transform(images, transform, interpolation="bilinear")


def contrastive_loss(code, other):
    """Cross-entropy of finding each image's own pair among the batch's: [B, D] twice -> [B].

    NT-Xent (Chen et al. 2020, arXiv 2002.05709, eq. 1) between two views, averaged over both
    directions: cosine similarities over a temperature, in nats. Guessing gives log B.
    """
    code, other = (
        z / ops.sqrt(ops.sum(ops.square(z), axis=1, keepdims=True) + 1e-12) for z in (code, other)
    )
    similarity = ops.matmul(code, ops.transpose(other)) / _TEMPERATURE
    own = ops.sum(code * other, axis=1) / _TEMPERATURE
    return 0.5 * (ops.logsumexp(similarity, axis=1) + ops.logsumexp(similarity, axis=0)) - own


class AutoencoderTrainer(keras.Model):
    """Fits decoder(encoder(noisy x)) to the clean x, and the codes of x and of its warped copy.

    The loss is the binary cross-entropy of the pixels plus ``contrastive_weight`` times the
    contrastive loss, in whose place ``cluster_weight`` times the clustering loss stands once
    ``gather`` was called. A share of each batch gets Gaussian noise with a standard deviation from
    [0, noise_high], clipped to [0, 1] as stored images are; evaluation uses clean images and the
    cross-entropy only, so that held-out losses of all epochs can be compared.
    """

    def __init__(
        self,
        encoder,
        decoder,
        noisy_share: float,
        noise_high: float,
        seed: int,
        contrastive_weight: float = 0.0,
        cluster_weight: float = 0.0,
        clusters: int = 0,
    ):
        super().__init__(name="autoencoder_trainer")
        self.encoder = encoder
        self.decoder = decoder
        self.noisy_share = noisy_share
        self.noise_high = noise_high
        self.contrastive_weight = contrastive_weight
        self.cluster_weight = cluster_weight
        self.seed_generator = keras.random.SeedGenerator(seed)
        if cluster_weight:
            size = encoder.output_shape[-1]
            self.centres = self.add_weight((clusters, size), "zeros", trainable=False)
            self.sizes = self.add_weight((clusters,), "ones", trainable=False)  # mean shares
            # Mean squared distance of a code to its own centre; 0 before there are centres.
            self.spread = self.add_weight((), "zeros", trainable=False)

    def call(self, images, training=False):
        """Images [B, 28, 28, 1] in [0, 1] -> logits of the same shape, weighted code losses [B]."""
        x = self._add_noise(images) if training else images
        code = call_in_halves(self.encoder, x, training)
        logits = call_in_halves(self.decoder, code, training)
        if not training or not (self.contrastive_weight or self.cluster_weight):
            return logits, ops.zeros_like(code[:, 0])
        other = call_in_halves(self.encoder, warp(images, self.seed_generator), training)

        def contrast():
            return self.contrastive_weight * contrastive_loss(code, other)

        def gathering():
            clean = ops.stop_gradient(call_in_halves(self.encoder, images, training))
            targets = sharpened(self._soft_clusters(clean), self.sizes)
            squares = squared_distances(other, self.centres)
            return self.cluster_weight * cluster_loss(squares, targets)

        if not self.cluster_weight:
            return logits, contrast()
        return logits, ops.cond(self.spread > 0, gathering, contrast)

    def gather(self, code, labels) -> None:
        """Replaces the centres by the means of clusters: NumPy codes [N, D], labels [N] < K."""
        centres = np.stack([code[labels == k].mean(axis=0) for k in range(self.centres.shape[0])])
        self.centres.assign(centres)
        self.spread.assign(np.mean(np.sum((code - centres[labels]) ** 2, axis=1)))
        shares = np.exp(ops.convert_to_numpy(self._soft_clusters(ops.convert_to_tensor(code))))
        self.sizes.assign(shares.mean(axis=0))

    def _soft_clusters(self, code):
        return soft_clusters(squared_distances(code, self.centres), self.spread)

    def _add_noise(self, images):
        one_each = (ops.shape(images)[0], 1, 1, 1)
        noisy = keras.random.uniform(one_each, seed=self.seed_generator) < self.noisy_share
        sigma = keras.random.uniform(one_each, 0.0, self.noise_high, seed=self.seed_generator)
        noise = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        return ops.where(noisy, ops.clip(images + sigma * noise, 0.0, 1.0), images)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        logits, code_loss = y_pred
        return share_of_mean(ops.mean(pixel_cross_entropy(logits, y) + code_loss))
