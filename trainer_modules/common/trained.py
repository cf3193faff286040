"""Further inputs of a training, and its result."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from core.config import require
from trainer_modules.common.distribution import local_copy
from trainer_modules.common.export import Signature
from trainer_modules.common.history import History
from trainer_modules.common.precision import FLOAT32, recast


@dataclasses.dataclass(frozen=True)
class Hooks:
    """Checkpoint path and callbacks of a training."""

    callbacks: Sequence[keras.callbacks.Callback] = ()
    checkpoint: str | None = None  # path of the file that a killed training resumes from
    # Called with a name and images [N, 28, 28, 1] in [0, 1] sampled during training.
    show: Callable[[str, np.ndarray], None] | None = None
    # Called with the step and its values by name, every 20 steps.
    scalars: Callable[[int, dict[str, float]], None] | None = None
    # Loads a network of the version that the training starts from, by name; None: new weights.
    initial: Callable[[str], keras.Model] | None = None

    def warm_start(self, **networks: keras.Model) -> None:
        """Gives ``networks``, by the names of their Keras files, the weights that they start from.

        Raises:
            InputError: They are of another size.
        """
        if self.initial is None:
            return
        for name, network in networks.items():
            known = self.initial(name)
            shapes = [[w.shape for w in one.weights] for one in (known, network)]
            require(
                shapes[0] == shapes[1],
                f"The {name} in serving has other layers than the settings ask for, so its weights "
                "cannot be the start; set warm_start=false, or the sizes as they were.",
            )
            network.set_weights(known.get_weights())


SILENT = Hooks()


@dataclasses.dataclass(frozen=True)
class Export:
    """What is exported of a training."""

    networks: Mapping[str, keras.Model]  # by the names of their Keras files
    signatures: Mapping[str, Signature]
    pictures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # grids by name
    record: Mapping[str, object] = dataclasses.field(default_factory=dict)  # for history.json


@dataclasses.dataclass(frozen=True)
class Trained:
    """Networks at the end of a training: perhaps on several devices and in mixed precision."""

    networks: Mapping[str, keras.Model]
    history: History
    export: Callable[..., Export]  # takes the result of ``served``, by name

    def served(self) -> dict[str, keras.Model]:
        """The networks on one device and in float32; called outside ``distribution.scope``."""
        return {n: recast(local_copy(network), FLOAT32) for n, network in self.networks.items()}
