"""The training loop with progress, curves, checkpoint and early stop.

``Reporter`` feeds progress, curves and TensorBoard, and stops at a loss that is not finite;
``EpochEnd`` writes the checkpoint and stops early. ``fit`` is the loop of every model but the GAN,
whose two trainers alternate. Runs without TFX, on one device or several.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from core import progress
from core.digits import Digits
from trainer_modules.common import checkpoint, distribution
from trainer_modules.common.config import SingleLossConfig
from trainer_modules.common.history import LOGGER, History, check_finite
from trainer_modules.common.schedule import steps_per_epoch
from trainer_modules.common.trained import Hooks

REPORT_EVERY = 20  # steps
_VALIDATION_BATCH = 512


def fit(
    trainer: keras.Model,
    config: SingleLossConfig,
    history: History,
    train: Digits,
    held_out: Digits,
    hooks: Hooks,
    targets: str | None = None,
) -> None:
    """Trains a compiled ``trainer`` in place on whole batches of ``train``.

    Args:
        trainer: Takes images [B, 28, 28, 1] in [0, 1].
        config: Has epochs, batch_size, patience and seed.
        history: Takes curves, events and the number of steps.
        train: Split to train on.
        held_out: Evaluated after each epoch; stops the training where ``config.patience`` is set.
        hooks: Its callbacks are called before the checkpoint is written.
        targets: Field of ``Digits`` with the targets of the loss; None for a loss without targets.

    Raises:
        InputError: There are fewer images than one batch holds.
        DivergedError: The loss is no longer finite.
    """
    epoch_steps = steps_per_epoch(len(train.images), config.batch_size)
    saved = checkpoint.Checkpoint(hooks.checkpoint, config, history, [trainer], [train, held_out])
    end = EpochEnd(saved, config.epochs, config.patience)
    done = end.resume().get("epoch", 0)
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
        callbacks=[
            Reporter(history, epoch_steps, config.epochs, done, hooks, of_epoch=True),
            *hooks.callbacks,
            end,
        ],
        seed=config.seed,
    )


class Reporter(keras.callbacks.Callback):
    """Feeds progress, TensorBoard and History; stops a diverged training at once."""

    def __init__(
        self,
        history: History,
        epoch_steps: int,
        epochs: int,
        done: int,
        hooks: Hooks,
        *,
        of_epoch: bool,
    ):
        """``done`` of the ``epochs`` are finished.

        With ``of_epoch``, the values are means since the epoch began; curves take every 20th step,
        with the mean over the steps between. Otherwise they are of one step each, and curves take
        all. A call may tell of several steps.
        """
        super().__init__()
        resumed = f": resumed after epoch {done}" if done else ""
        self.stage = f"{history.model} {history.stage}{resumed}"
        self.history = history
        self.total = epoch_steps * epochs
        self.scalars = hooks.scalars
        self.of_epoch = of_epoch
        self.history.steps = epoch_steps * done
        self._begun = self.history.steps  # of the epoch
        self._last: tuple[int, dict[str, float]] = (0, {})  # steps of the epoch, means over them

    def tells(self, step: int, before: int) -> bool:
        """Whether the steps after ``before``, up to ``step``, reach one that is reported."""
        return step // REPORT_EVERY > before // REPORT_EVERY or step == self.total

    def on_epoch_begin(self, epoch, logs=None):
        self._begun, self._last = self.history.steps, (0, {})

    def on_train_batch_end(self, batch, logs=None):
        before, step = self.history.steps, self._begun + batch + 1
        self.history.steps = step
        tells = self.tells(step, before)
        if self.of_epoch and not tells:
            return
        values = {k: float(v) for k, v in (logs or {}).items()}
        check_finite(self.history.model, step, _loss(values))
        if self.of_epoch:
            values = self._since_last(step - self._begun, values)
        self.history.add(step, **values)
        if tells:
            progress.report(self.stage, step, self.total, **values)
            if self.scalars:
                self.scalars(step, values)

    def _since_last(self, steps: int, means: dict[str, float]) -> dict[str, float]:
        """The means over the steps since the last report, from those over ``steps`` of the epoch.

        A mean since the epoch began falls like a cliff where the next one begins.
        """
        before, known = self._last
        self._last = steps, means
        return {
            name: (steps * mean - before * known.get(name, 0.0)) / (steps - before)
            for name, mean in means.items()
        }

    def on_epoch_end(self, epoch, logs=None):
        # No later callback, such as a checkpoint, may see weights that are not finite.
        logs = logs or {}
        # The last step may have ruined them after its loss; that of the held-out images tells.
        held_out_loss = float(logs.get("val_loss", 0.0))
        check_finite(self.history.model, self.history.steps, _loss(logs) + held_out_loss)
        held_out = {k: float(v) for k, v in logs.items() if k.startswith("val_")}
        if held_out:
            LOGGER.info("%s, epoch %d: %s", self.stage, epoch + 1, held_out)
            curve = self.history.curves
            curve.setdefault("epoch_end_step", []).append(float(self.history.steps))
            for name, value in held_out.items():
                curve.setdefault(name, []).append(value)


def _loss(logs: Mapping[str, Any]) -> float:
    """Sum of all losses on train images: not finite if one of them is not."""
    own = [name for name in logs if name.endswith("loss") and not name.startswith("val_")]
    return sum(float(logs[name]) for name in own)


class EpochEnd(keras.callbacks.Callback):
    """Stops when the held-out loss no longer falls, and writes the checkpoint."""

    def __init__(
        self,
        saved: checkpoint.Checkpoint,
        epochs: int,
        patience: int = 0,
        state: Callable[[], dict[str, Any]] = dict,
    ):
        """``state`` returns what else the checkpoint must hold; ``resume`` returns that."""
        super().__init__()
        self.saved = saved
        self.epochs = epochs
        self.patience = patience
        self.state = state
        self.best, self.best_epoch = math.inf, 0
        self.best_values: list[np.ndarray] = []

    def resume(self) -> dict[str, Any]:
        """Resumes a killed training; returns its state and ``epoch``, empty if there was none."""
        notes, self.best_values = self.saved.resume()
        if notes:
            self.best, self.best_epoch = notes["best"], notes["best_epoch"]
        return notes

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        if self.patience:
            self._watch(done, float(logs["val_loss"]))
        if done < self.epochs and not self.model.stop_training:
            notes = {"best": self.best, "best_epoch": self.best_epoch, **self.state()}
            self.saved.save(done, self.best_values, **notes)

    def _watch(self, done: int, loss: float) -> None:
        """Keeps the best state; restores it (averaged weights included) when training ends."""
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
