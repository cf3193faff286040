"""Trains the GAN: one discriminator step, one generator step, in turn.

TFX calls ``run_fn``; all else runs without TFX on any Keras backend. The served generator has the
moving average of the weights. Labels are never read. After a collapse of the generator, both
networks restart with new initial weights: in one of eight trainings the discriminator won in the
first hundred steps, and few generators recover from that.
"""

import dataclasses

import keras
import numpy as np

from core.digits import Digits
from trainer_modules.common import checkpoint, distribution, stage
from trainer_modules.common.averages import averaged_weights, use_averages
from trainer_modules.common.fit import EpochEnd, Reporter
from trainer_modules.common.history import History
from trainer_modules.common.precision import recast
from trainer_modules.common.schedule import adam, steps_per_epoch, total_steps
from trainer_modules.common.trained import SILENT, Export, Hooks, Trained
from trainer_modules.gan.config import GanConfig
from trainer_modules.gan.model import (
    DiscriminatorTrainer,
    GeneratorTrainer,
    build_discriminator,
    build_generator,
)
from trainer_modules.gan.monitor import COLLAPSED, BalanceMonitor
from trainer_modules.gan.sampler import Calibration, calibrate
from trainer_modules.gan.signatures import signatures

_GRID_IMAGES = 64
_CALIBRATION_IMAGES = 5000
_RESTARTS = 3  # after these the gates must reject a collapsed generator
WATCHED = ("discriminator_loss", "discriminator_accuracy", "fake_spread")  # by the monitor


def train(config: GanConfig, train: Digits, held_out: Digits, hooks: Hooks = SILENT) -> Trained:
    """Trains both networks on the images of ``train``; ``held_out`` is not used."""
    keras.utils.set_random_seed(config.seed)
    gan = build_gan(config, total_steps(config, len(train.images)))
    hooks.warm_start(generator=gan.generator, discriminator=gan.discriminator)
    history = fit(gan, config, train, hooks)

    def export(generator: keras.Model, discriminator: keras.Model) -> Export:
        calibration = calibrate_scores(generator, discriminator, config.seed, train)
        return Export(
            {"generator": generator, "discriminator": discriminator},
            signatures(generator, discriminator, calibration),
            record={"calibration": dataclasses.asdict(calibration)},
        )

    networks = {"generator": gan.generator, "discriminator": gan.discriminator}
    return Trained(networks, history, export)


@dataclasses.dataclass(frozen=True)
class Gan:
    """Both networks and the trainer of each."""

    generator: keras.Model
    discriminator: keras.Model
    generator_trainer: GeneratorTrainer
    discriminator_trainer: DiscriminatorTrainer


def build_gan(config: GanConfig, steps: int) -> Gan:
    """Builds and compiles both trainers for ``steps`` steps each."""
    generator, discriminator = (
        recast(build(config), config.precision) for build in (build_generator, build_discriminator)
    )
    gan = Gan(
        generator,
        discriminator,
        GeneratorTrainer(generator, discriminator, config),
        DiscriminatorTrainer(generator, discriminator, config),
    )
    # beta_1 = 0: the opponent changes every step, so momentum points at an outdated one.
    momenta = {"beta_1": 0.0, "beta_2": 0.99}
    average = {"use_ema": True, "ema_momentum": config.ema_momentum}
    rate = config.discriminator_learning_rate
    gan.discriminator_trainer.compile(adam(rate, steps, **momenta))
    rate = config.generator_learning_rate
    gan.generator_trainer.compile(adam(rate, steps, **momenta, **average))
    return gan


def sample_images(gan: Gan, latents: np.ndarray) -> np.ndarray:
    """Images [N, 28, 28, 1] in [0, 1] of fixed ``latents`` with the averaged generator."""
    with averaged_weights(gan.generator_trainer.optimizer, gan.generator):
        return gan.generator.predict(latents, batch_size=256, verbose=0)


def fit(gan: Gan, config: GanConfig, train: Digits, hooks: Hooks = SILENT) -> History:
    """The alternating loop; leaves the averaged weights in ``gan.generator``.

    Args:
        hooks: ``show`` gets 64 samples every ``sample_every`` steps and at the end, always from the
            same latents. The callbacks' model is the generator's trainer.

    Raises:
        InputError: There are fewer images than one batch holds.
        DivergedError: A loss is no longer finite.
    """
    rng, batch = np.random.default_rng(config.seed), config.batch_size
    fixed = rng.standard_normal((_GRID_IMAGES, config.latent_size), "float32")
    epoch_steps = steps_per_epoch(len(train.images), batch)
    history = History("gan", "train", config.seed)
    sides = [gan.discriminator_trainer, gan.generator_trainer]
    saved = checkpoint.Checkpoint(hooks.checkpoint, config, history, sides, [train])
    end = EpochEnd(saved, config.epochs, state=lambda: {"rng": rng.bit_generator.state})
    notes = end.resume()
    done = notes.get("epoch", 0)
    rng.bit_generator.state = notes.get("rng", rng.bit_generator.state)
    reporter = Reporter(history, epoch_steps, config.epochs, done, hooks, of_epoch=False)
    callbacks = [reporter, _Balance(config, saved, reporter.total), *hooks.callbacks, end]
    tell = distribution.teller(callbacks, gan.generator_trainer)

    real_spread = float(train.images.std(axis=0).mean())
    spread = history.curves.get("fake_spread", [1.0])[-1]
    tell("on_train_begin")
    for epoch in range(done, config.epochs):
        tell("on_epoch_begin", epoch)
        order, values = rng.permutation(len(train.images)), {}
        for step in range(epoch_steps):
            tell("on_train_batch_begin", step)
            values = _one_turn(gan, train.images[order[step * batch :][:batch]], rng)
            if reporter.tells(history.steps + 1, history.steps):
                fakes = keras.ops.convert_to_numpy(gan.generator(fixed, training=False))
                spread = float(fakes.std(axis=0).mean()) / real_spread
            values["fake_spread"] = spread
            tell("on_train_batch_end", step, values)
            now = history.steps
            if hooks.show and (now % config.sample_every == 0 or now == reporter.total):
                hooks.show(f"step_{now:06d}", sample_images(gan, fixed))
        tell("on_epoch_end", epoch, values)
    use_averages(gan.generator_trainer.optimizer, gan.generator.trainable_variables)
    tell("on_train_end")
    return history


def _one_turn(gan: Gan, images: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """One step of each network, the discriminator first; loss and accuracy of both."""

    def step(side: keras.Model) -> dict[str, float]:
        shape = (len(images), gan.generator.input_shape[-1])
        latents = rng.standard_normal(shape, "float32")
        return distribution.train_on_batch(side, [images, latents])

    d, g = step(gan.discriminator_trainer), step(gan.generator_trainer)
    return {
        "discriminator_loss": d["loss"],
        "generator_loss": g["loss"],
        "discriminator_accuracy": d["accuracy"],
        "generator_accuracy": g["accuracy"],
    }


class _Balance(keras.callbacks.Callback):
    """Reports failures of the training and restarts it after a collapse."""

    def __init__(self, config: GanConfig, saved: checkpoint.Checkpoint, total: int):
        super().__init__()
        self.config, self.saved, self.history, self.total = config, saved, saved.history, total
        self.monitor = BalanceMonitor()
        begun = max((event["step"] for event in self._restarts()), default=0)
        curves = [self.history.curves.get(name, [])[begun:] for name in WATCHED]
        for values in zip(*curves, strict=True):
            self.monitor.update(*values)  # of a resumed training; its events exist already

    def on_train_batch_end(self, batch, logs=None):
        for name, sentence in self.monitor.update(*((logs or {})[n] for n in WATCHED)):
            self.history.event(self.history.steps, name, sentence)
            if name == COLLAPSED and len(self._restarts()) < _RESTARTS:
                self._reinitialise()

    def _restarts(self) -> list[dict]:
        return [event for event in self.history.events if event["name"] == "restart"]

    def _reinitialise(self) -> None:
        """Gives both networks initial weights of another seed, for the remaining steps."""
        count = len(self._restarts()) + 1
        keras.utils.set_random_seed(self.config.seed + 1000 * count)  # the same after resuming
        fresh = build_gan(self.config, self.total)
        sides = [fresh.discriminator_trainer, fresh.generator_trainer]
        checkpoint.assign(
            self.saved.variables, checkpoint.values_of(checkpoint.variables_of(*sides))
        )
        words = f"both networks restart with new initial weights (restart {count} of {_RESTARTS})"
        self.history.event(self.history.steps, "restart", words)
        self.monitor = BalanceMonitor()


def calibrate_scores(
    generator: keras.Model, discriminator: keras.Model, seed: int, train: Digits
) -> Calibration:
    """Calibrates the discriminator on 5,000 images of the train split and as many fakes."""
    images = train.images[:_CALIBRATION_IMAGES]
    rng = np.random.default_rng(seed + 1)
    latents = rng.standard_normal((len(images), generator.input_shape[-1]), "float32")
    fakes = generator.predict(latents, batch_size=512, verbose=0)
    real = discriminator.predict(images, batch_size=512, verbose=0)
    fake = discriminator.predict(fakes, batch_size=512, verbose=0)
    return calibrate(real, fake)


def run_fn(fn_args) -> None:
    """TFX's entry."""
    stage.run(fn_args, "gan", GanConfig, train)
