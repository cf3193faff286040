"""Layers that more than one model uses, in backend-neutral Keras 3.

Everything here is ``keras.ops`` only, so it runs on TensorFlow and JAX alike.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable("inkwell")
class RMSNorm(keras.layers.Layer):
    """Root-mean-square norm of each image's whole map, without weights.

    Zhang & Sennrich 2019, eq. 4, over (height, width, channels): relative brightness between
    positions survives, which a norm per position would erase. The next layer has its own gain.
    """

    def call(self, x):
        # Not ops.rms_normalization: under mixed_bfloat16 TensorFlow rounds it differently.
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=(1, 2, 3), keepdims=True) + 1e-6)


@keras.saving.register_keras_serializable("inkwell")
class SpaceToDepth(keras.layers.Layer):
    """Folds each 2x2 block of pixels into channels: [B, H, W, C] -> [B, H/2, W/2, 4C]."""

    def call(self, x):
        return ops.space_to_depth(x, 2)


@keras.saving.register_keras_serializable("inkwell")
class DepthToSpace(keras.layers.Layer):
    """The inverse of ``SpaceToDepth``: [B, H, W, 4C] -> [B, 2H, 2W, C]."""

    def call(self, x):
        return ops.depth_to_space(x, 2)
