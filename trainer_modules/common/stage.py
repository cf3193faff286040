"""The one entry of TFX's Trainer: settings and data in, a recipe's model and its records out.

Contract: the folder of a trained model holds ``Format-Serving`` (SavedModel), ``Format-Keras``
(warm start), ``history.json`` (curves, events, which layers were trained), ``config.json`` (the
resolved settings) and ``samples/`` (grids of images). With several workers only the chief writes.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from core.artifacts import CONFIG_FILE, HISTORY_FILE, KERAS_DIR, SAMPLES_DIR, WARM_START
from core.config import InputError, from_dict
from core.digits import read_digits
from core.files import difference, digests, write_whole
from trainer_modules.common import distribution, export
from trainer_modules.common.config import TrainingConfig
from trainer_modules.common.keras_files import load_network, save_grid, save_network
from trainer_modules.common.trained import Hooks, Trained


def run(fn_args, name: str, settings: type[TrainingConfig], recipe: Callable[..., Trained]) -> None:
    """Trains by ``recipe`` and exports the result.

    Args:
        fn_args: TFX's FnArgs; ``custom_config`` holds the settings as ``config`` and perhaps the
            path of a ``checkpoint``, which is removed once the model is exported, and the version
            of a ``warm_start``, as ``pipeline.warm_start`` has it.
        name: Of the settings in the whole configuration.
        settings: Their type.
        recipe: (settings, train split, eval split, hooks) -> ``Trained``; with a base model its
            ``load_network`` comes before the splits.

    Raises:
        InputError: The settings, the examples or the base model are wrong.
        DivergedError: A loss is no longer finite.
    """
    config = from_dict(settings, fn_args.custom_config["config"], name)
    folder = Path(fn_args.serving_model_dir).parent
    checkpoint = fn_args.custom_config.get("checkpoint")
    base = []
    if fn_args.base_model:
        base = [functools.partial(load_network, Path(fn_args.base_model).parent / KERAS_DIR)]
    begin = fn_args.custom_config.get(WARM_START)
    with distribution.scope(config.distribution, config.batch_size):
        train, held_out = read_digits(fn_args.train_files), read_digits(fn_args.eval_files)
        hooks = _hooks(fn_args.model_run_dir, folder / SAMPLES_DIR, checkpoint)
        if begin:
            hooks = dataclasses.replace(hooks, initial=_initial(begin))
        trained = recipe(config, *base, train, held_out, hooks)
        if not distribution.is_chief():
            return
    networks = trained.served()
    product = trained.export(**networks)

    export.write_saved_model(
        fn_args.serving_model_dir, list(product.networks.values()), product.signatures
    )
    for file, network in product.networks.items():
        save_network(network, folder, file)
    for picture, images in product.pictures.items():
        save_grid(images, folder / SAMPLES_DIR / f"{picture}.png")
    record = trained.history.as_dict(list(networks.values()), config.batch_size)
    record |= {**product.record, **({WARM_START: begin} if begin else {})}
    write_whole(folder / HISTORY_FILE, json.dumps(record, indent=1))
    write_whole(folder / CONFIG_FILE, json.dumps(dataclasses.asdict(config), indent=1))
    if checkpoint:
        Path(checkpoint).unlink(missing_ok=True)


def _initial(begin: Mapping[str, Any]) -> Callable[[str], keras.Model]:
    """Loads networks of the version that the training starts from.

    Raises:
        InputError: Its files are gone, or are not those that were pushed.
    """
    folder = Path(begin["folder"])
    if what := difference(begin["digests"], digests(folder)):
        raise InputError(
            f"The training starts from version {begin['version']}, but {what} in {folder}; restore "
            "it, or set warm_start=false."
        )
    return functools.partial(load_network, folder)


def _hooks(logs: str, samples: Path, checkpoint: str | None) -> Hooks:
    """TensorBoard's logs and grids of samples; no file where another process writes the same."""
    chief = distribution.is_chief()

    def show(name: str, images: np.ndarray) -> None:
        if chief:  # all workers sample, as they work in step
            save_grid(images, samples / f"{name}.png")

    if not chief:
        return Hooks((), checkpoint, show)
    return Hooks(board(logs), checkpoint, show, _scalars(logs))


def board(logs: str) -> list[keras.callbacks.Callback]:
    """Keras' curves by epoch for TensorBoard."""
    return [keras.callbacks.TensorBoard(logs, write_graph=False)]


def _scalars(logs: str) -> Callable[[int, dict[str, float]], None]:
    """Curves by step for TensorBoard."""
    import tensorflow as tf

    writer = tf.summary.create_file_writer(logs)

    def write(step: int, values: dict[str, float]) -> None:
        with writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    return write
