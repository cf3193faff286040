"""Compares compiled steps with single ones, and a resumed training with one that was not stopped.

    KERAS_BACKEND=jax python -m tests.trainer_modules.stepwise FOLDER

Prints a JSON object. The trainer draws noise and times in its steps and keeps averages, so that all
of its variables must come through.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

from tests.trainer_modules.twice import digits
from trainer_modules.common import checkpoint, steps
from trainer_modules.common.schedule import adam
from trainer_modules.common.trained import SILENT, Hooks
from trainer_modules.diffusion import train
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.diffusion.model import DiffusionTrainer, build_network

BATCH = 4
SMALL = {"channels": 4, "global_width": 8, "batch_size": BATCH, "clusters": 3, "sample_steps": 1}


def trained(one_by_one: bool) -> dict:
    """A few more steps than one call has: the values of all variables, and what was told."""
    data, config = digits(), DiffusionConfig(**SMALL)
    keras.utils.set_random_seed(1)
    centres = data.images[:3].reshape(3, -1)
    trainer = DiffusionTrainer(build_network(config), 0.5, 0.3, centres, config)
    trainer.compile(adam(0.01, 25, use_ema=True, ema_momentum=0.5))
    rows = np.random.default_rng(0).permutation(len(data.images))[: 25 * BATCH].reshape(25, BATCH)
    if one_by_one:
        told = [float(trainer.train_on_batch(data.images[batch])) for batch in rows]
        told = [(step, float(np.mean(told[:step]))) for step in (20, 25)]
    else:
        run = steps.compiled(trainer, [data.images])
        told = [(step, logs["loss"]) for step, logs in run(rows)]
    values = checkpoint.values_of(checkpoint.variables_of(trainer))
    return {"told": told, "values": [value.tolist() for value in values]}


def resumed(folder: Path) -> bool:
    """Whether a training that was stopped in its third epoch ends with the weights of a whole."""
    data = digits()

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def weights(hooks: Hooks) -> list[np.ndarray]:
        config = DiffusionConfig(**SMALL | {"epochs": 4, "batch_size": 32})
        return train.train(config, data, data, hooks).networks["network"].get_weights()

    place = str(folder / "checkpoint")
    try:
        weights(Hooks([Stop()], checkpoint=place))
        raise AssertionError("it was not stopped")
    except KeyboardInterrupt:
        pass
    read = Path(place).stat().st_size > 0
    pairs = zip(weights(Hooks(checkpoint=place)), weights(SILENT), strict=True)
    return read and all(np.array_equal(one, other) for one, other in pairs)


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "backend": keras.config.backend(),
                "compiled": trained(one_by_one=False),
                "single": trained(one_by_one=True),
                "resumed": resumed(Path(sys.argv[1])),
            }
        )
    )
