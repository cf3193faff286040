"""A network called on both halves of a batch, which TensorFlow computes at the same time on a CPU.

For networks that treat each image on its own, as all of this project do: outputs and gradients are
those of the whole batch, up to rounding. The gradient of a weight is the sum over both halves.
"""

import functools
from typing import Any

import keras
from keras import ops

from core.processors import AT_A_TIME
from trainer_modules.common import distribution


def call_in_halves(network: keras.Model, inputs: Any, training: bool = False) -> Any:
    """``network(inputs, training=training)``, in halves where that is faster.

    Args:
        network: Takes one tensor [B, ...] or a list of them; returns one [B, ...].
        inputs: Of the network.
        training: Likewise.
    """
    if not _in_halves():
        return network(inputs, training=training)
    size = ops.shape(keras.tree.flatten(inputs)[0])[0]

    def part(i: int) -> Any:
        first, last = (size * j // AT_A_TIME for j in (i, i + 1))
        # TensorFlow's kernels fail without any image, so a single one goes through each part.
        rows = slice(first, ops.maximum(last, first + 1))
        return network(keras.tree.map_structure(lambda x: x[rows], inputs), training=training)

    return ops.concatenate([part(i) for i in range(AT_A_TIME)], axis=0)[-size:]


def _in_halves() -> bool:
    """Not on a GPU, which prefers large batches, nor where replicas share the processors."""
    return _on_cpu(keras.config.backend()) and distribution.replicas() == 1


@functools.cache
def _on_cpu(backend: str) -> bool:
    """Whether TensorFlow computes, and on a CPU; JAX plans a whole program by itself."""
    if backend != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")
