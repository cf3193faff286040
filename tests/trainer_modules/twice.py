"""Trains with one trainer, evaluates, and trains on with it; on the backend of KERAS_BACKEND.

    KERAS_BACKEND=jax python -m tests.trainer_modules.twice diffusion

Prints a JSON object: the losses before and after, whether the served weights are the averages, and
whether the averages outlive an evaluation.
"""

import json
import sys
from collections.abc import Callable

import keras
import numpy as np

from core.digits import Digits
from trainer_modules.common import distribution
from trainer_modules.common.trained import Hooks

BATCH = 32


class StopAfterOneEpoch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


def digits() -> Digits:
    """Bars, of which a network learns something within a few steps."""
    images = np.zeros((128, 28, 28, 1), "float32")
    for i in range(len(images)):
        images[i, :, 4 + i % 20 : 8 + i % 20] = 1.0
    return Digits(images, np.arange(128) % 10, float(images.mean()), float(images.std()), 10)


def diffusion(data: Digits) -> tuple[keras.Model, keras.Model, Callable, Callable]:
    from trainer_modules.diffusion.config import DiffusionConfig
    from trainer_modules.diffusion.train import train

    stop = StopAfterOneEpoch()
    config = DiffusionConfig(
        channels=4, global_width=8, epochs=5, batch_size=BATCH, ema_momentum=0.5, learning_rate=0.01
    )
    trained = train(config, data, data, Hooks([stop]))
    trainer = stop.model

    def again() -> None:
        distribution.fit(
            trainer,
            data.images,
            batch_size=BATCH,
            epochs=4,
            validation_data=(data.images,),
            validation_batch_size=BATCH,
            callbacks=[],
            seed=1,
        )

    def loss() -> float:
        return float(trainer.evaluate(data.images, batch_size=BATCH, verbose=0))

    return trainer, trained.networks["network"], again, loss


def gan(data: Digits) -> tuple[keras.Model, keras.Model, Callable, Callable]:
    from trainer_modules.gan.config import GanConfig
    from trainer_modules.gan.train import build_gan, fit

    config = GanConfig(channels=4, latent_size=8, epochs=1, batch_size=BATCH)
    game = build_gan(config, 20)
    latents = np.random.default_rng(0).standard_normal((len(data.images), 8), "float32")
    fit(game, config, data)

    def loss() -> float:
        game.generator.predict(latents, verbose=0)  # gives the weights' buffers away on JAX
        x = [data.images, latents]
        found = game.generator_trainer.evaluate(x, batch_size=BATCH, verbose=0, return_dict=True)
        return float(found["loss"])

    return game.generator_trainer, game.generator, lambda: fit(game, config, data), loss


def values(network: keras.Model) -> list[np.ndarray]:
    """Of the variables that are trained, which are those with averages."""
    return [variable.numpy() for variable in network.trainable_variables]


def main(model: str) -> None:
    trainer, network, again, loss = {"diffusion": diffusion, "gan": gan}[model](digits())
    first, served = loss(), values(network)
    averages = [average.numpy() for average in trainer.optimizer._model_variables_moving_average]
    again()
    result = {
        "backend": keras.config.backend(),
        "losses": [first, loss()],
        "averaged": all(np.array_equal(w, a) for w, a in zip(served, averages, strict=True)),
        "changed": any(
            not np.array_equal(w, v) for w, v in zip(served, values(network), strict=True)
        ),
        "steps": int(trainer.optimizer.iterations.numpy()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
