"""Trains the judge: cross-entropy on labelled digits, about a minute for 99 % on two cores.

TFX calls ``run_fn``; everything else runs without TFX.
"""

import keras

from core.digits import Digits
from trainer_modules.common import stage
from trainer_modules.common.fit import fit
from trainer_modules.common.history import History
from trainer_modules.common.precision import recast
from trainer_modules.common.schedule import CLIP_NORM, cosine_schedule, total_steps
from trainer_modules.common.trained import SILENT, Export, Hooks, Trained
from trainer_modules.judge.config import JudgeConfig
from trainer_modules.judge.model import JudgeTrainer, build_model
from trainer_modules.judge.signatures import signatures


def train(config: JudgeConfig, train: Digits, held_out: Digits, hooks: Hooks = SILENT) -> Trained:
    """Trains a classifier on ``train``, labels included; ``held_out`` is only monitored."""
    keras.utils.set_random_seed(config.seed)
    model = recast(build_model(config, train.num_classes), config.precision)
    rate = cosine_schedule(config.learning_rate, total_steps(config, len(train.images)))
    trainer = JudgeTrainer(model)
    trainer.compile(
        optimizer=keras.optimizers.AdamW(rate, global_clipnorm=CLIP_NORM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = History("judge", "train", config.seed)
    fit(trainer, config, history, train, held_out, hooks, targets="labels")
    return Trained({"model": model}, history, _export)


def _export(model: keras.Model) -> Export:
    return Export({"model": model}, signatures(model))


def run_fn(fn_args) -> None:
    """TFX's entry."""
    stage.run(fn_args, "judge", JudgeConfig, train)
