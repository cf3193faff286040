"""What every trainer does around ``fit``: optimizer's defaults, history and files of a model.

A trained model's folder holds ``Format-Serving`` (SavedModel), ``Format-Keras`` (warm start),
``history.json`` (curves, events, which layers were trained), ``config.json`` (the resolved
settings) and ``samples/`` (pictures drawn during training).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from core.artifacts import CONFIG_FILE, HISTORY_FILE, KERAS_DIR
from core.config import DivergedError, InputError
from trainer_modules.common import distribution

LOGGER = logging.getLogger("inkwell.training")
# Largest global norm of a gradient: every optimizer takes it. It only guards against a step that
# would ruin a training. In the first 100 steps at the learning rates of the models, warm-up
# included, the largest norms were 7 (judge), 3 (autoencoder), 2 (diffusion), 15 and 4 (GAN's
# discriminator and generator), medians 0.1 to 1.5. A power of two scales by exactly 1 below it.
CLIP_NORM = 64.0


def cosine_schedule(peak: float, steps: int, warmup: float = 0.05):
    """Linear warm-up, then cosine decay to zero (Loshchilov & Hutter 2017, eq. 5)."""
    warm = max(1, round(steps * warmup))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak * 0.01,
        decay_steps=max(1, steps - warm),
        alpha=0.0,
        warmup_target=peak,
        warmup_steps=warm,
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in one pass.

    Raises:
        InputError: There are fewer images than one batch holds.
    """
    if images < batch_size:
        raise InputError(
            f"The train split holds {images} images, fewer than one batch of {batch_size}; "
            "lower batch_size or give more images."
        )
    return images // batch_size


def resumed(stage: str, epochs: int) -> str:
    """Name of the stage for progress; says where a resumed training went on."""
    return f"{stage}: resumed after epoch {epochs}" if epochs else stage


def check_finite(model: str, step: int, loss: float) -> None:
    """Raises ``DivergedError`` when the loss is NaN or infinite."""
    if not math.isfinite(loss):
        raise DivergedError(
            f"Training of the {model} diverged at step {step}: its loss is {loss}; "
            "lower its learning_rate or change its seed"
        )


@dataclasses.dataclass
class History:
    """Curves and events of one training, written as history.json."""

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
        """Records and logs something worth a human's eye, such as a collapsed generator."""
        self.events.append({"step": step, "name": name, "message": message})
        LOGGER.warning("%s, step %d: %s: %s", self.model, step, name, message)

    def as_dict(self, networks: list[keras.Model], batch_size: int) -> dict[str, Any]:
        """The JSON form; ``networks`` tell which layers were trained and which were frozen."""
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


@contextlib.contextmanager
def averaged_weights(optimizer: keras.optimizers.Optimizer, network: keras.Model):
    """Puts the optimizer's moving average into ``network`` for the length of a ``with`` block."""
    raw = network.get_weights()
    optimizer.finalize_variable_values(network.trainable_variables)
    # Copies: JAX's predict gives the network's buffers away, and those were the averages' own.
    network.set_weights(network.get_weights())
    try:
        yield network
    finally:
        network.set_weights(raw)


def logs(model_run_dir: str) -> list[keras.callbacks.Callback]:
    """TensorBoard's callback; none where another process writes the same logs."""
    if not distribution.is_chief():
        return []
    return [keras.callbacks.TensorBoard(model_run_dir, write_graph=False)]


def write_records(folder: Path, history: dict[str, Any], config: Any) -> None:
    """Writes history.json and config.json beside the exported model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HISTORY_FILE).write_text(json.dumps(history, indent=1))
    (folder / CONFIG_FILE).write_text(json.dumps(dataclasses.asdict(config), indent=1))


def save_keras(model: keras.Model, folder: Path, name: str = "model") -> None:
    """Saves ``model`` as Format-Keras/<name>.keras for a later warm start."""
    path = folder / KERAS_DIR / f"{name}.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)


def load_base(serving_dir: str, name: str = "model") -> keras.Model:
    """Loads the Keras model beside the ``Format-Serving`` folder of a base model artifact.

    Raises:
        InputError: The artifact carries no Keras model of that name.
    """
    path = Path(serving_dir).parent / KERAS_DIR / f"{name}.keras"
    if not path.exists():
        raise InputError(f"The base model has no {path}; train it with this version first.")
    return keras.models.load_model(path, compile=False)


def freeze_all_but(network: keras.Model, prefixes: tuple[str, ...]) -> list[str]:
    """Leaves only the layers whose names start with one of ``prefixes`` trainable.

    Returns:
        The names of the layers that will be trained (those with weights).

    Raises:
        InputError: No layer with weights matches.
    """
    for layer in network.layers:
        layer.trainable = layer.name.startswith(prefixes)
    trained = [layer.name for layer in network.layers if layer.trainable_variables]
    if not trained:
        raise InputError(f"No layer of {network.name} starts with {', '.join(prefixes)}.")
    return trained


def save_grid(images: np.ndarray, path: Path, columns: int = 8) -> None:
    """Writes images [N, 28, 28, 1] in [0, 1] as one PNG, twice enlarged, row by row."""
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * columns, 28, 28), np.float32)
    sheet[: len(images)] = images[..., 0]
    sheet = sheet.reshape(rows, columns, 28, 28).transpose(0, 2, 1, 3)
    sheet = sheet.reshape(rows * 28, columns * 28).repeat(2, axis=0).repeat(2, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.save_img(path, sheet[..., None] * 255, scale=False)
