"""Training on several devices: one setting, TensorFlow's strategies behind it.

Contract: ``none`` touches nothing. ``mirrored`` takes every GPU of the machine, ``multi_worker``
all workers that TF_CONFIG names; each replica works on an equal share of the batch and all hold the
same weights. A trainer does everything up to its last training step inside ``scope``: workers must
connect before TensorFlow has run anything. Losses that are a mean over the batch go through
``share_of_mean``, as the optimizer sums the gradients of the replicas.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from core.config import InputError
from trainer_modules.common import steps
from trainer_modules.common.averages import use_averages


@contextlib.contextmanager
def scope(kind: str, batch_size: int) -> Iterator[None]:
    """Places everything in the ``with`` block on all replicas.

    Args:
        kind: none, mirrored or multi_worker.
        batch_size: Images per step over all replicas together.

    Raises:
        InputError: The backend has no strategies, TF_CONFIG is missing, or the batch cannot be
            divided into equal shares.
    """
    if kind == "none":
        yield
        return
    strategy = _strategy(kind)
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise InputError(
            f"batch_size {batch_size} cannot be divided among {replicas} replicas; "
            f"make it a multiple of {replicas}."
        )
    with strategy.scope():
        yield


def replicas() -> int:
    """Number of replicas of the current block."""
    if keras.config.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def share_of_mean(loss):
    """The part of a batch's mean loss that this replica's mean contributes."""
    return loss / replicas() if replicas() > 1 else loss


def is_chief() -> bool:
    """Whether this process writes the results; all others write to a folder of their own."""
    if keras.config.backend() != "tensorflow":
        return True
    import tensorflow as tf

    resolver = tf.distribute.get_strategy().cluster_resolver
    return resolver is None or not resolver.task_type or resolver.task_id in (0, None)


def local_copy(network: keras.Model) -> keras.Model:
    """The network with its weights on one device, for export; itself if it is so already."""
    if not any(hasattr(variable.value, "values") for variable in network.variables):
        return network
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def whole_shares(count: int) -> int:
    """The largest number of images up to ``count`` that gives every replica at least one."""
    return count - count % replicas()


def fit(
    trainer: keras.Model,
    x: np.ndarray,
    y: np.ndarray | None = None,
    *,
    validation_data: tuple[np.ndarray, ...],
    batch_size: int,
    validation_batch_size: int,
    epochs: int,
    initial_epoch: int = 0,
    callbacks: list[keras.callbacks.Callback],
    seed: int,
) -> None:
    """Trains in a loop of our own, which takes the same images in the same order everywhere.

    Keras' loop fails with several workers, waits for Python between the steps on a GPU, and takes
    the images in the same order in each epoch on TensorFlow (3.15).

    Args:
        trainer: Compiled inside ``scope``.
        x: Inputs, whole batches of them.
        y: Targets, if the loss takes any.
        validation_data: Inputs and, where there are any, targets.
        batch_size: Of all replicas together.
        validation_batch_size: Likewise.
        epochs: Number of epochs.
        initial_epoch: Number of epochs done already.
        callbacks: Keras'.
        seed: Of the order of the images, which all workers must agree on.
    """
    # Every replica needs an image, even in the last batch.
    validation_data = tuple(part[: whole_shares(len(part))] for part in validation_data)
    parts = [x] if y is None else [x, y]
    run = (_replica_steps if replicas() > 1 else steps.compiled)(trainer, parts)
    trainer.stop_training = False
    tell = teller(callbacks, trainer)
    tell("on_train_begin")
    for epoch in range(initial_epoch, epochs):
        tell("on_epoch_begin", epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(x))
        trainer.reset_metrics()
        logs: steps.Logs = {}
        for done, logs in run(order.reshape(-1, batch_size)):
            tell("on_train_batch_end", done - 1, logs)
        held_out = _evaluate(trainer, validation_data, validation_batch_size)
        tell("on_epoch_end", epoch, logs | {f"val_{k}": value for k, value in held_out.items()})
        if trainer.stop_training:
            break
    use_averages(trainer.optimizer, trainer.trainable_variables)
    tell("on_train_end")


def _replica_steps(trainer, parts) -> Callable[[np.ndarray], Iterator[tuple[int, steps.Logs]]]:
    """As ``steps.compiled``, one call for each step."""

    def epoch(rows):
        for step, batch in enumerate(rows):
            yield step + 1, _step(trainer, "train", [part[batch] for part in parts])

    return epoch


def _evaluate(trainer: keras.Model, data: tuple[np.ndarray, ...], batch_size: int) -> steps.Logs:
    """The metrics over ``data``."""
    if replicas() == 1:
        found = trainer.evaluate(*data, batch_size=batch_size, verbose=0, return_dict=True)
        return {name: float(value) for name, value in found.items()}
    trainer.reset_metrics()
    held_out, batch_size = {}, whole_shares(batch_size)
    for first in range(0, len(data[0]), batch_size):
        held_out = _step(trainer, "test", [part[first : first + batch_size] for part in data])
    return held_out


def teller(
    callbacks: Sequence[keras.callbacks.Callback], trainer: keras.Model
) -> Callable[..., None]:
    """(name of a callback's method, its arguments) -> None: calls all, in a loop of our own."""
    for callback in callbacks:
        callback.set_model(trainer)

    def tell(event: str, *details) -> None:
        for callback in callbacks:
            getattr(callback, event)(*details)

    return tell


def train_on_batch(trainer: keras.Model, x: list[np.ndarray]) -> dict[str, float]:
    """``trainer.train_on_batch(x)`` with each replica taking its share of the rows of ``x``.

    Keras itself would hand the whole batch to every replica.
    """
    trainer.reset_metrics()
    if replicas() == 1:
        logs = trainer.train_on_batch(x, return_dict=True)
        return {name: float(value) for name, value in logs.items()}
    return _step(trainer, "train", [tuple(x)])


def _step(trainer: keras.Model, kind: str, data: list[Any]) -> dict[str, float]:
    """One step of training ("train") or evaluation ("test"); metrics so far, over all replicas."""
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    key = id(trainer), kind
    if key not in _STEPS:
        if not trainer.optimizer.built:
            trainer.optimizer.build(trainer.trainable_variables)
        # As Keras' own fit does first: metrics create their variables when they are called.
        trainer._symbolic_build(data_batch=(data[0], *data[1:], *[None] * (3 - len(data))))
        method = trainer.train_step if kind == "train" else trainer.test_step

        @tf.function
        def run(shares):
            strategy.run(method, args=(shares,))

        _STEPS[key] = trainer, run  # keeps the trainer alive, so that its id stays unique
    shares = tuple(keras.tree.map_structure(_share, part) for part in data)
    _STEPS[key][1](shares)
    return {
        name: float(value) for metric in trainer.metrics for name, value in _named(metric).items()
    }


def _named(metric: keras.metrics.Metric) -> dict[str, Any]:
    value = metric.result()
    return value if isinstance(value, dict) else {metric.name: value}


def _share(array: np.ndarray):
    """This process' rows of a batch: a tensor, or one for each of its replicas."""
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    first, rows = _first_replica(strategy), len(array) // replicas()

    def rows_of(replica: int):
        return tf.convert_to_tensor(array[(first + replica) * rows :][:rows])

    if len(strategy.extended.worker_devices) == 1:
        return rows_of(0)
    return strategy.experimental_distribute_values_from_function(
        lambda context: rows_of(context.replica_id_in_sync_group - first)
    )


_STEPS: dict[tuple[int, str], tuple[keras.Model, Any]] = {}


def _first_replica(strategy) -> int:
    """Index of this process' first replica among all."""
    resolver = strategy.cluster_resolver
    worker = resolver.task_id if resolver and resolver.task_type else 0
    return (worker or 0) * len(strategy.extended.worker_devices)


_STRATEGIES: dict[str, Any] = {}  # one per kind and process: creating it connects the workers


def _strategy(kind: str):
    if keras.config.backend() != "tensorflow":
        raise InputError(
            f"distribution {kind} needs the TensorFlow backend, not {keras.config.backend()}."
        )
    import tensorflow as tf

    if kind not in _STRATEGIES:
        if kind == "multi_worker" and not os.environ.get("TF_CONFIG"):
            raise InputError(
                "distribution multi_worker needs the variable TF_CONFIG, which names the workers; "
                "set it when starting the trainer, or use mirrored."
            )
        if kind == "multi_worker":
            _STRATEGIES[kind] = tf.distribute.MultiWorkerMirroredStrategy()
        else:
            # Two virtual CPUs stand in for GPUs in tests.
            found = tf.config.list_logical_devices
            devices = found("GPU") or found("CPU")
            _STRATEGIES[kind] = tf.distribute.MirroredStrategy([d.name for d in devices])
    return _STRATEGIES[kind]
