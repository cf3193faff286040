"""What goes into a training beside its settings and data, and what comes out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from trainer_modules.common.distribution import local_copy
from trainer_modules.common.export import Signature
from trainer_modules.common.history import History
from trainer_modules.common.precision import FLOAT32, recast


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What a training tells while it runs, and to whom."""

    callbacks: Sequence[keras.callbacks.Callback] = ()
    checkpoint: str | None = None  # path of the file that a killed training goes on from
    # Called with a name and images [N, 28, 28, 1] in [0, 1] that were sampled on the way.
    show: Callable[[str, np.ndarray], None] | None = None
    # Called with the step and its values by name, every 20 steps.
    scalars: Callable[[int, dict[str, float]], None] | None = None


SILENT = Hooks()


@dataclasses.dataclass(frozen=True)
class Export:
    """What is written of a training."""

    networks: Mapping[str, keras.Model]  # by the names of their Keras files
    signatures: Mapping[str, Signature]
    pictures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # grids by name
    record: Mapping[str, object] = dataclasses.field(default_factory=dict)  # for history.json


@dataclasses.dataclass(frozen=True)
class Trained:
    """Networks as a training left them: perhaps on several devices and in mixed precision."""

    networks: Mapping[str, keras.Model]
    history: History
    export: Callable[..., Export]  # takes what ``served`` gives, by name

    def served(self) -> dict[str, keras.Model]:
        """The networks on one device and in float32; called outside ``distribution.scope``."""
        return {n: recast(local_copy(network), FLOAT32) for n, network in self.networks.items()}
