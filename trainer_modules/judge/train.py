"""Trains the judge: cross-entropy on labelled digits, about a minute for 99 % on two cores.

TFX calls ``run_fn``; everything else runs without TFX.
"""

from __future__ import annotations

from pathlib import Path

import keras

from trainer_modules.common import distribution, export, training
from trainer_modules.common.config import from_dict
from trainer_modules.common.data import Digits, read_digits
from trainer_modules.judge.config import JudgeConfig
from trainer_modules.judge.model import build_model
from trainer_modules.judge.signatures import signatures


def fit(
    model: keras.Model, config: JudgeConfig, train: Digits, held_out: Digits, callbacks=()
) -> training.History:
    """Trains ``model`` in place on ``train``; ``held_out`` is only watched."""
    epoch_steps = training.steps_per_epoch(len(train.images), config.batch_size)
    total = epoch_steps * config.epochs
    history = training.History("judge", "train", config.seed)
    model.compile(
        optimizer=keras.optimizers.AdamW(training.cosine_schedule(config.learning_rate, total)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    used = epoch_steps * config.batch_size
    distribution.fit(
        model,
        train.images[:used],
        train.labels[:used],
        batch_size=config.batch_size,
        epochs=config.epochs,
        validation_data=(held_out.images, held_out.labels),
        validation_batch_size=512,
        callbacks=[training.Reporter("judge", history, total), *callbacks],
        seed=config.seed,
    )
    return history


def run_fn(fn_args) -> None:
    """TFX's entry: config, data, model, fit, export."""
    config = from_dict(JudgeConfig, fn_args.custom_config["config"], "judge")
    with distribution.scope(config.distribution, config.batch_size):
        keras.utils.set_random_seed(config.seed)
        train, held_out = read_digits(fn_args.train_files), read_digits(fn_args.eval_files)
        model = build_model(config, train.num_classes)
        history = fit(model, config, train, held_out, training.logs(fn_args.model_run_dir))
        if not distribution.is_chief():
            return
    model = distribution.local_copy(model)

    folder = Path(fn_args.serving_model_dir).parent
    export.write_saved_model(fn_args.serving_model_dir, [model], signatures(model))
    training.save_keras(model, folder)
    steps = len(train.images) // config.batch_size * config.epochs
    record = history.as_dict([model], steps, config.batch_size)
    training.write_records(folder, record, config)
