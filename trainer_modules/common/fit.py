"""The training loop of every model but the GAN: ``trainer.fit`` with what all trainings share.

Progress, curves and the stop at a loss that is no number (``Reporter``); the checkpoint and the
early stop after each epoch (``EpochEnd``). Runs without TFX, on one device or several.
"""

from __future__ import annotations

import math

import keras
import numpy as np

from core import progress
from core.digits import Digits
from trainer_modules.common import checkpoint, distribution, training

_VALIDATION_BATCH = 512


def fit(
    trainer: keras.Model,
    config,
    history: training.History,
    train: Digits,
    held_out: Digits,
    targets: str | None = None,
    callbacks=(),
    place: str | None = None,
) -> None:
    """Trains a compiled ``trainer`` in place on whole batches of ``train``.

    Args:
        trainer: Takes images [B, 28, 28, 1] in [0, 1].
        config: Has epochs, batch_size, patience and seed.
        history: Takes curves, events and the number of steps.
        train: What it learns from.
        held_out: Watched after each epoch; stops the training where ``config.patience`` is set.
        targets: Field of ``Digits`` that the loss compares with; None if it needs none.
        callbacks: Keras'; called before the checkpoint is written.
        place: Path of the checkpoint; None for none.

    Raises:
        InputError: There are fewer images than one batch holds.
        DivergedError: The loss is not a number any more.
    """
    epoch_steps = training.steps_per_epoch(len(train.images), config.batch_size)
    saved = checkpoint.Checkpoint(place, config, history, [trainer], [train, held_out])
    end = EpochEnd(saved, config.patience, config.epochs)
    done = end.resume()
    stage = training.resumed(f"{history.model} {history.stage}", done)
    reporter = Reporter(stage, history, epoch_steps * config.epochs, epoch_steps * done)
    used = epoch_steps * config.batch_size
    distribution.fit(
        trainer,
        train.images[:used],
        getattr(train, targets)[:used] if targets else None,
        batch_size=config.batch_size,
        epochs=config.epochs,
        initial_epoch=done,
        validation_data=(held_out.images, *([getattr(held_out, targets)] if targets else [])),
        validation_batch_size=_VALIDATION_BATCH,
        callbacks=[reporter, *callbacks, end],
        seed=config.seed,
    )


class Reporter(keras.callbacks.Callback):
    """Feeds progress and History from ``model.fit``; stops a diverged training at once."""

    def __init__(
        self,
        stage: str,
        history: training.History,
        total_steps: int,
        first_step: int = 0,
        record_every: int = 20,
    ):
        super().__init__()
        self.stage = stage
        self.history = history
        self.total = total_steps
        self.record_every = record_every
        self.history.steps = first_step

    def on_train_batch_end(self, batch, logs=None):
        self.history.steps += 1
        step = self.history.steps
        if step % self.record_every and step != self.total:
            return
        values = {k: float(v) for k, v in (logs or {}).items()}
        training.check_finite(self.history.model, step, values["loss"])
        self.history.add(step, **values)
        progress.report(self.stage, step, self.total, **values)

    def on_epoch_end(self, epoch, logs=None):
        # Nothing that comes after, such as a checkpoint, may see weights that are no numbers.
        training.check_finite(self.history.model, self.history.steps, float(logs["loss"]))
        held_out = {k: float(v) for k, v in logs.items() if k.startswith("val_")}
        if held_out:
            training.LOGGER.info("%s, epoch %d: %s", self.stage, epoch + 1, held_out)
            curve = self.history.curves
            curve.setdefault("epoch_end_step", []).append(float(self.history.steps))
            for name, value in held_out.items():
                curve.setdefault(name, []).append(value)


class EpochEnd(keras.callbacks.Callback):
    """Stops when the held-out loss falls no more, and writes the checkpoint."""

    def __init__(self, saved: checkpoint.Checkpoint, patience: int, epochs: int):
        super().__init__()
        self.saved = saved
        self.patience = patience
        self.epochs = epochs
        self.best, self.best_epoch = math.inf, 0
        self.best_values: list[np.ndarray] = []

    def resume(self) -> int:
        """Goes back to where a killed training was; returns the number of epochs it had done."""
        notes, self.best_values = self.saved.resume()
        if not notes:
            return 0
        self.best, self.best_epoch = notes["best"], notes["best_epoch"]
        return notes["epoch"]

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        if self.patience:
            self._watch(done, float(logs["val_loss"]))
        if done < self.epochs and not self.model.stop_training:
            notes = {"best": self.best, "best_epoch": self.best_epoch}
            self.saved.save(done, self.best_values, **notes)

    def _watch(self, done: int, loss: float) -> None:
        """Keeps the best state; puts it back (averaged weights included) when training ends."""
        if loss < self.best:
            self.best, self.best_epoch = loss, done
            self.best_values = checkpoint.values_of(self.saved.variables)
            return
        self.model.stop_training = done - self.best_epoch >= self.patience
        if not self.model.stop_training and done < self.epochs:
            return
        checkpoint.assign(self.saved.variables, self.best_values)
        history = self.saved.history
        words = f"the held-out loss was lowest, {self.best:.4g}, after epoch {self.best_epoch}"
        history.event(history.steps, "early stop", f"{words} of {done}; its weights are kept")
