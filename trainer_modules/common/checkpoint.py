"""The checkpoint of a killed training: one file, written after every epoch but the last.

Contract: a resumed training ends with the same weights and curves, bit for bit, as one that was
never stopped. The file holds every variable (weights, optimizer's slots, moving averages, random
generators) and the history. A file that is damaged, or from other settings, data, initial weights
or code, is ignored with a line in the log. The order of the images is not stored: it follows from
the seed and the epoch.
"""

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from core.files import write_whole
from trainer_modules.common import distribution
from trainer_modules.common.history import LOGGER

_CODE = Path(__file__).resolve().parents[1]
_DIGEST = 32  # bytes of SHA-256 before the .npz


def variables_of(*trainers: keras.Model) -> list[Any]:
    """All variables that training changes, except metrics, which are reset before each epoch."""
    for trainer in trainers:
        if not trainer.optimizer.built:
            trainer.optimizer.build(trainer.trainable_variables)
    metrics = {id(v) for t in trainers for metric in t.metrics for v in metric.variables}
    found = {id(v): v for t in trainers for v in [*t.variables, *t.optimizer.variables]}
    return [variable for key, variable in found.items() if key not in metrics]


def values_of(variables: list[Any]) -> list[np.ndarray]:
    """Copies of the values, one array per variable."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: list[Any], values: list[np.ndarray]) -> None:
    """Restores the values that ``values_of`` returned."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Checkpoint:
    """The file of one training; does nothing without a path or on several replicas.

    Several workers would have to read one file on shared storage, and no pipeline of ours starts
    them, so a training on several replicas restarts.
    """

    def __init__(self, place: str | None, config: Any, history: Any, trainers, data):
        """Reads nothing yet.

        Args:
            place: Path of the file, or None.
            config: The settings, a dataclass.
            history: ``History``; saved and restored with the variables.
            trainers: Compiled Keras models, before their first step.
            data: Splits (``Digits``) that the training sees.
        """
        self.path = Path(place) if place and distribution.replicas() == 1 else None
        self.history = history
        self.variables = variables_of(*trainers)
        self._key = self._fingerprint(config, data) if self.path else ""

    def resume(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Restores variables and history, if there is a file.

        Returns:
            The notes and further arrays passed to ``save``; notes are empty without a file.
        """
        notes, arrays = self._read()
        if notes:
            count = len(self.variables)
            assign(self.variables, arrays[:count])
            self.history.curves, self.history.events = notes.pop("curves"), notes.pop("events")
            self.history.started = time.monotonic() - notes.pop("seconds")
            LOGGER.info("%s resumed after epoch %d", self.history.model, notes["epoch"])
            return notes, arrays[count:]
        return {}, []

    def save(self, epoch: int, arrays: Sequence[np.ndarray] = (), **notes: Any) -> None:
        """Replaces the file by the state after ``epoch`` epochs; a full disk is only a warning."""
        if self.path is None:
            return
        notes |= {
            "key": self._key,
            "epoch": epoch,
            "curves": self.history.curves,
            "events": self.history.events,
            "seconds": time.monotonic() - self.history.started,
        }
        buffer = io.BytesIO()
        np.savez(buffer, json.dumps(notes), *values_of(self.variables), *arrays)
        content = buffer.getvalue()
        try:
            write_whole(self.path, hashlib.sha256(content).digest() + content)
        except OSError as error:
            LOGGER.warning("No checkpoint after epoch %d: %s", epoch, error)

    def _read(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        if self.path is None or not self.path.exists():
            return {}, []
        try:
            content = self.path.read_bytes()
        except OSError as error:
            LOGGER.warning("The checkpoint %s is ignored: %s", self.path, error)
            return {}, []
        digest, content = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(content).digest() != digest:
            LOGGER.warning("The checkpoint %s is ignored: it is damaged", self.path)
            return {}, []
        with np.load(io.BytesIO(content)) as stored:
            notes, *arrays = (stored[f"arr_{i}"] for i in range(len(stored.files)))
        notes = json.loads(str(notes))
        if notes.pop("key") != self._key:
            words = "it is of other settings, data, base model or code"
            LOGGER.warning("The checkpoint %s is ignored: %s", self.path, words)
            return {}, []
        return notes, arrays

    def _fingerprint(self, config: Any, data) -> str:
        """Everything that determines the result: settings, data, initial values, code, versions."""
        settings = [type(config).__name__, dataclasses.asdict(config), self.history.stage]
        digest = hashlib.sha256(json.dumps([*settings, keras.version()]).encode())
        for split in data:
            digest.update(repr((split.pixel_mean, split.pixel_std)).encode())
            digest.update(np.ascontiguousarray(split.images))
            digest.update(np.ascontiguousarray(split.labels))
        for value in values_of(self.variables):
            digest.update(np.ascontiguousarray(value))
        for path in sorted(_CODE.rglob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()
