"""Trains the judge: cross-entropy on labelled digits, about a minute for 99 % on two cores.

TFX calls ``run_fn``; everything else runs without TFX.
"""

from __future__ import annotations

from pathlib import Path

import keras

from core.config import from_dict
from core.digits import Digits, read_digits
from trainer_modules.common import checkpoint, distribution, export, training
from trainer_modules.common.fit import fit as fit_trainer
from trainer_modules.common.precision import FLOAT32, recast
from trainer_modules.judge.config import JudgeConfig
from trainer_modules.judge.model import build_model
from trainer_modules.judge.signatures import signatures


def fit(
    model: keras.Model,
    config: JudgeConfig,
    train: Digits,
    held_out: Digits,
    callbacks=(),
    place: str | None = None,
) -> training.History:
    """Trains ``model`` in place on ``train``; ``held_out`` is only watched.

    Args:
        place: Path of the checkpoint; None for none.
    """
    epoch_steps = training.steps_per_epoch(len(train.images), config.batch_size)
    total = epoch_steps * config.epochs
    history = training.History("judge", "train", config.seed)
    model.compile(
        optimizer=keras.optimizers.AdamW(
            training.cosine_schedule(config.learning_rate, total),
            global_clipnorm=training.CLIP_NORM,
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    fit_trainer(model, config, history, train, held_out, "labels", callbacks, place)
    return history


def run_fn(fn_args) -> None:
    """TFX's entry: config, data, model, fit, export."""
    config = from_dict(JudgeConfig, fn_args.custom_config["config"], "judge")
    with distribution.scope(config.distribution, config.batch_size):
        keras.utils.set_random_seed(config.seed)
        train, held_out = read_digits(fn_args.train_files), read_digits(fn_args.eval_files)
        model = recast(build_model(config, train.num_classes), config.precision)
        callbacks, place = training.logs(fn_args.model_run_dir), checkpoint.place_of(fn_args)
        history = fit(model, config, train, held_out, callbacks, place)
        if not distribution.is_chief():
            return
    model = recast(distribution.local_copy(model), FLOAT32)

    folder = Path(fn_args.serving_model_dir).parent
    export.write_saved_model(fn_args.serving_model_dir, [model], signatures(model))
    training.save_keras(model, folder)
    training.write_records(folder, history.as_dict([model], config.batch_size), config)
    checkpoint.remove(fn_args)
