"""Layers that more than one model uses, in backend-neutral Keras 3.

Everything here is ``keras.ops`` only, so it runs on TensorFlow and JAX alike.
"""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("inkwell")
class RMSNorm(keras.layers.Layer):
    """Root-mean-square norm of each image's whole map, without weights.

    Zhang & Sennrich 2019, eq. 4, over (height, width, channels): relative brightness between
    places survives, which a norm per place would erase. What follows has a gain of its own.
    """

    def call(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=(1, 2, 3), keepdims=True) + 1e-6)


@keras.saving.register_keras_serializable("inkwell")
class SpaceToDepth(keras.layers.Layer):
    """Folds each 2x2 block of pixels into channels: [B, H, W, C] -> [B, H/2, W/2, 4C]."""

    def call(self, x):
        _, height, width, channels = x.shape
        x = ops.reshape(x, (-1, height // 2, 2, width // 2, 2, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height // 2, width // 2, 4 * channels))

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] // 2, shape[2] // 2, 4 * shape[3])


@keras.saving.register_keras_serializable("inkwell")
class DepthToSpace(keras.layers.Layer):
    """The inverse of ``SpaceToDepth``: [B, H, W, 4C] -> [B, 2H, 2W, C]."""

    def call(self, x):
        _, height, width, channels = x.shape
        x = ops.reshape(x, (-1, height, width, 2, 2, channels // 4))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, 2 * height, 2 * width, channels // 4))

    def compute_output_shape(self, shape):
        return (shape[0], 2 * shape[1], 2 * shape[2], shape[3] // 4)
