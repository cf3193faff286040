"""The moving average of the weights that some optimizers keep (Polyak & Juditsky 1992)."""

import contextlib
from collections.abc import Sequence

import keras
import numpy as np


def use_averages(optimizer: keras.optimizers.Optimizer, variables: Sequence) -> None:
    """Writes the averages into ``variables``, for further training; no effect without averages.

    Keras lets a weight and its average share one buffer. A training step or an evaluation on JAX
    donates the buffers of the weights, and the average would be lost, so these are copies.
    """
    optimizer.finalize_variable_values(variables)
    if optimizer.use_ema:
        for variable in variables:
            variable.assign(np.array(variable.numpy()))


@contextlib.contextmanager
def averaged_weights(optimizer: keras.optimizers.Optimizer, network: keras.Model):
    """Puts the optimizer's moving average into ``network`` for the length of a ``with`` block."""
    raw = network.get_weights()
    use_averages(optimizer, network.trainable_variables)
    try:
        yield network
    finally:
        network.set_weights(raw)
