"""The record of one training: curves, events and what was trained, as history.json holds it."""

import dataclasses
import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from core.config import DivergedError

LOGGER = logging.getLogger("inkwell.training")


def check_finite(model: str, step: int, loss: float) -> None:
    """Raises ``DivergedError`` when the loss is NaN or infinite."""
    if not math.isfinite(loss):
        raise DivergedError(
            f"Training of the {model} diverged at step {step}: its loss is {loss}; "
            "lower its learning_rate or change its seed"
        )


@dataclasses.dataclass
class History:
    """Curves and events of one training."""

    model: str
    stage: str  # "train" or "finetune"
    seed: int
    curves: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    steps: int = 0  # done so far
    started: float = dataclasses.field(default_factory=time.monotonic)

    def add(self, step: int, **values: float) -> None:
        """Appends one point of every curve at ``step``."""
        for name, value in {"step": step, **values}.items():
            self.curves.setdefault(name, []).append(float(value))

    def event(self, step: int, name: str, message: str) -> None:
        """Records and logs an event that a person should see, such as a collapsed generator."""
        self.events.append({"step": step, "name": name, "message": message})
        LOGGER.warning("%s, step %d: %s: %s", self.model, step, name, message)

    def as_dict(self, networks: Sequence[keras.Model], batch_size: int) -> dict[str, Any]:
        """The JSON form; ``networks`` show which layers were trained and which were frozen."""
        seconds = time.monotonic() - self.started
        trained = [
            f"{network.name}/{layer.name}"
            for network in networks
            for layer in network.layers
            if layer.trainable_variables
        ]
        return {
            "model": self.model,
            "stage": self.stage,
            "backend": keras.config.backend(),
            "seed": self.seed,
            "seconds": round(seconds, 3),
            "steps": self.steps,
            "images_per_second": round(self.steps * batch_size / seconds, 1),
            "parameters": {
                "trainable": sum(_size(n.trainable_variables) for n in networks),
                "frozen": sum(_size(n.non_trainable_variables) for n in networks),
            },
            "trained_layers": trained,
            "curves": self.curves,
            "events": self.events,
            "final": {name: curve[-1] for name, curve in self.curves.items() if curve},
        }


def _size(variables) -> int:
    return int(sum(np.prod(v.shape) for v in variables))
