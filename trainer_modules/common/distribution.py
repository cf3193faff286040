"""Training on several devices: one setting, TensorFlow's strategies behind it.

Contract: ``none`` touches nothing. ``mirrored`` takes every GPU of the machine, ``multi_worker``
all workers that TF_CONFIG names; each replica works on an equal share of the batch and all hold the
same weights. A trainer does everything up to its last step of training inside ``scope``: workers
must meet before TensorFlow has run anything. Losses that are a mean over the batch go through
``share_of_mean``, as the optimizer adds up what the replicas send.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import keras

from trainer_modules.common.config import InputError


@contextlib.contextmanager
def scope(kind: str, batch_size: int) -> Iterator[None]:
    """Everything in the ``with`` block is on all replicas.

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
    """How many replicas the current block has."""
    if keras.config.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def share_of_mean(loss):
    """The part of a batch's mean loss that this replica's mean contributes."""
    return loss / replicas() if replicas() > 1 else loss


def is_chief() -> bool:
    """Whether this process writes what is kept; all others write to a folder of their own."""
    if keras.config.backend() != "tensorflow":
        return True
    import tensorflow as tf

    resolver = tf.distribute.get_strategy().cluster_resolver
    return resolver is None or not resolver.task_type or resolver.task_id in (0, None)


def local_copy(network: keras.Model) -> keras.Model:
    """The network with its weights on one device, to be exported; itself if it is so already."""
    if not any(hasattr(variable.value, "values") for variable in network.variables):
        return network
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def whole_shares(count: int) -> int:
    """The largest number of images up to ``count`` that leaves no replica without one."""
    return count - count % replicas()


def train_on_batch(trainer: keras.Model, x: list[Any]) -> dict[str, Any]:
    """``trainer.train_on_batch(x)`` with each replica taking its share of the rows of ``x``.

    Keras itself would hand the whole batch to every replica.
    """
    count = replicas()
    if count == 1:
        return trainer.train_on_batch(x, return_dict=True)
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    local = len(strategy.extended.worker_devices)
    first = _first_replica(strategy)

    def rows_of(array, replica: int):
        rows = len(array) // count
        return tf.convert_to_tensor(array[(first + replica) * rows :][:rows])

    def share(array):
        if local == 1:
            return rows_of(array, 0)
        return strategy.experimental_distribute_values_from_function(
            lambda context: rows_of(array, context.replica_id_in_sync_group - first)
        )

    if not trainer.optimizer.built:
        trainer.optimizer.build(trainer.trainable_variables)
    trainer.make_train_function()
    trainer.reset_metrics()
    logs = trainer.train_function(iter([(tuple(share(array) for array in x),)]))
    return {name: float(value) for name, value in logs.items()}


def _first_replica(strategy) -> int:
    """Index of this process' first replica among all."""
    resolver = strategy.cluster_resolver
    worker = resolver.task_id if resolver and resolver.task_type else 0
    return (worker or 0) * len(strategy.extended.worker_devices)


_STRATEGIES: dict[str, Any] = {}  # one of a kind in a process: workers meet when it is made


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
                "start the trainer by what sets it, or take mirrored."
            )
        if kind == "multi_worker":
            _STRATEGIES[kind] = tf.distribute.MultiWorkerMirroredStrategy()
        else:
            # Two virtual CPUs stand in for GPUs in tests.
            found = tf.config.list_logical_devices
            devices = found("GPU") or found("CPU")
            _STRATEGIES[kind] = tf.distribute.MirroredStrategy([d.name for d in devices])
    return _STRATEGIES[kind]
