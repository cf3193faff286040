"""Many training steps in one compiled program, over images that lie on the device.

A GPU does a step of these networks in a millisecond and then waits for Python. Here a program
takes the rows of many batches, gathers each batch on the device and does its step, so Python waits
for the GPU instead. The steps are those of Keras' ``train_step``, in the same order.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

STEPS = 20  # in one call: 30 ms of a fast GPU, a second or two of two CPU cores
Logs = dict[str, float]


def compiled(
    trainer: keras.Model, parts: Sequence[np.ndarray]
) -> Callable[[np.ndarray], Iterator[tuple[int, Logs]]]:
    """A function that does the steps of an epoch, or of a part of one.

    It takes the rows of every batch, integers [steps, B]. After every ``STEPS`` steps and at the
    end it yields the number of steps done and the trainer's metrics so far. The trainer's variables
    have their new values when the iteration has ended, not before.

    Args:
        trainer: Compiled, on one device.
        parts: Inputs [N, ...], and targets [N, ...] if the loss takes any.
    """
    batch = tuple(part[:1] for part in parts)
    trainer._symbolic_build(data_batch=(*batch, *[None] * (3 - len(batch))))
    start: Any = {"jax": _on_jax, "tensorflow": _on_tensorflow}[keras.config.backend()]
    return start(trainer, parts)


def _on_tensorflow(trainer, parts):
    import tensorflow as tf

    on_device = [tf.constant(part) for part in parts]
    step = trainer.train_step
    if trainer.jit_compile:  # as Keras does in fit
        step = tf.function(step, jit_compile=True, reduce_retracing=True)
    logs = dict.fromkeys(trainer.get_metrics_result(), tf.TensorSpec([], tf.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def run(rows) -> Any:
        def one(batch):
            return step(tuple(tf.gather(part, batch) for part in on_device))

        return tf.map_fn(one, rows, fn_output_signature=logs, parallel_iterations=1)

    def epoch(rows):
        for first in range(0, len(rows), STEPS):
            chunk = rows[first : first + STEPS]
            found = run(tf.constant(chunk, tf.int32))
            yield first + len(chunk), {name: float(value[-1]) for name, value in found.items()}

    return epoch


def _on_jax(trainer, parts):
    import jax

    on_device = tuple(jax.device_put(part) for part in parts)

    # The old values are given away, so that they and the new ones need not both have memory.
    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, parts, rows, count) -> Any:
        def step(i, found):
            logs, new = trainer.train_step(found[0], tuple(part[rows[i]] for part in parts))
            return new, logs

        logs = dict.fromkeys(trainer.get_metrics_result(), jax.numpy.zeros(()))
        return jax.lax.fori_loop(0, count, step, (state, logs))

    def epoch(rows):
        variables = (
            trainer.trainable_variables,
            trainer.non_trainable_variables,
            trainer.optimizer.variables,
            trainer.metrics_variables,
        )
        state = tuple([variable.value for variable in group] for group in variables)
        try:
            for first in range(0, len(rows), STEPS):
                chunk = rows[first : first + STEPS]
                filled = np.resize(chunk, (STEPS, rows.shape[1]))  # one shape, compiled once
                state, logs = run(state, on_device, filled, len(chunk))
                yield first + len(chunk), {name: float(value) for name, value in logs.items()}
        finally:
            for group, values in zip(variables, state, strict=True):
                for variable, value in zip(group, values, strict=True):
                    variable.assign(value)

    return epoch
