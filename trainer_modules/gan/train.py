"""Trains the GAN: one discriminator step, one generator step, in turn.

TFX calls ``run_fn``; ``fit`` runs without TFX on any Keras backend. The served generator has the
moving average of the weights. Labels are never read. A generator that collapses begins anew with
other first weights: in one of eight games the discriminator won in the first hundred steps, and
few generators come back from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from core import progress
from core.artifacts import SAMPLES_DIR
from core.config import from_dict
from core.digits import Digits, read_digits
from trainer_modules.common import checkpoint, distribution, export, training
from trainer_modules.common.precision import FLOAT32, recast
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
_REPORT_EVERY = 20  # steps between progress records and looks at the spread of the fakes
_RESTARTS = 3  # after which a collapsed generator is left to the gates
_WATCHED = ("discriminator_loss", "discriminator_accuracy", "fake_spread")  # by the monitor


@dataclasses.dataclass(frozen=True)
class Gan:
    """Both networks and one trainer for each side."""

    generator: keras.Model
    discriminator: keras.Model
    generator_trainer: GeneratorTrainer
    discriminator_trainer: DiscriminatorTrainer


def build_gan(config: GanConfig, steps: int) -> Gan:
    """Builds and compiles both sides for a training of ``steps`` steps each."""
    generator, discriminator = (
        recast(build(config), config.precision) for build in (build_generator, build_discriminator)
    )
    gan = Gan(
        generator,
        discriminator,
        GeneratorTrainer(generator, discriminator, config),
        DiscriminatorTrainer(generator, discriminator, config),
    )
    # beta_1 = 0: the target moves every step, so momentum points at yesterday's opponent.
    gan.discriminator_trainer.compile(
        optimizer=keras.optimizers.Adam(
            training.cosine_schedule(config.discriminator_learning_rate, steps),
            0.0,
            0.99,
            global_clipnorm=training.CLIP_NORM,
        )
    )
    gan.generator_trainer.compile(
        optimizer=keras.optimizers.Adam(
            training.cosine_schedule(config.generator_learning_rate, steps),
            0.0,
            0.99,
            use_ema=True,
            ema_momentum=config.ema_momentum,
            global_clipnorm=training.CLIP_NORM,
        )
    )
    return gan


def sample_images(gan: Gan, latents: np.ndarray) -> np.ndarray:
    """Images [N, 28, 28, 1] in [0, 1] of fixed ``latents`` with the averaged generator."""
    with training.averaged_weights(gan.generator_trainer.optimizer, gan.generator):
        return gan.generator.predict(latents, batch_size=256, verbose=0)


def fit(
    gan: Gan,
    config: GanConfig,
    train: Digits,
    on_samples: Callable[[int, np.ndarray], None],
    on_step: Callable[[int, dict[str, float]], None] = lambda step, values: None,
    place: str | None = None,
) -> training.History:
    """The alternating loop; leaves the averaged weights in ``gan.generator``.

    Args:
        on_samples: Called with (step, images [64, 28, 28, 1]) every ``sample_every`` steps and at
            the end, always from the same latents.
        on_step: Called with the step's figures every 20 steps.
        place: Path of the checkpoint; None for none.

    Raises:
        DivergedError: A loss is not a number any more.
    """
    rng = np.random.default_rng(config.seed)
    batch = config.batch_size
    epoch_steps = training.steps_per_epoch(len(train.images), batch)
    total = epoch_steps * config.epochs
    fixed = rng.standard_normal((_GRID_IMAGES, config.latent_size), "float32")
    real_spread = float(train.images.std(axis=0).mean())
    history = training.History("gan", "train", config.seed)
    monitor = BalanceMonitor()
    spread = 1.0
    order = np.empty(0, int)
    sides = [gan.discriminator_trainer, gan.generator_trainer]
    saved = checkpoint.Checkpoint(place, config, history, sides, [train])
    notes, _ = saved.resume()
    done = notes.get("epoch", 0)
    if done:
        rng.bit_generator.state = notes["rng"]
        begun = max((event["step"] for event in _restarts(history)), default=0)
        seen = [history.curves[name][begun:] for name in _WATCHED]
        for figures in zip(*seen, strict=True):
            monitor.update(*figures)  # what began then is among the events already
        spread = history.curves["fake_spread"][-1]
    stage = training.resumed("gan train", done)
    for step in range(epoch_steps * done + 1, total + 1):
        if len(order) < batch:
            order = rng.permutation(len(train.images))
        images, order = train.images[order[:batch]], order[batch:]
        d = _one_step(gan.discriminator_trainer, images, config, rng)
        g = _one_step(gan.generator_trainer, images, config, rng)
        values = {
            "discriminator_loss": d["loss"],
            "generator_loss": g["loss"],
            "discriminator_accuracy": d["accuracy"],
            "generator_accuracy": g["accuracy"],
        }
        training.check_finite("gan", step, d["loss"] + g["loss"])
        if step % _REPORT_EVERY == 0 or step == total:
            fakes = keras.ops.convert_to_numpy(gan.generator(fixed, training=False))
            spread = float(fakes.std(axis=0).mean()) / real_spread
            progress.report(stage, step, total, **values)
            on_step(step, {**values, "fake_spread": spread})
        history.add(step, **values, fake_spread=spread)
        for name, sentence in monitor.update(d["loss"], d["accuracy"], spread):
            history.event(step, name, sentence)
            if name == COLLAPSED and len(_restarts(history)) < _RESTARTS:
                _begin_anew(saved.variables, config, history, step, total)
                monitor = BalanceMonitor()
        if step % config.sample_every == 0 or step == total:
            on_samples(step, sample_images(gan, fixed))
        if step % epoch_steps == 0 and step < total:
            saved.save(step // epoch_steps, rng=rng.bit_generator.state)
    history.steps = total
    gan.generator_trainer.optimizer.finalize_variable_values(gan.generator.trainable_variables)
    return history


def _restarts(history: training.History) -> list[dict]:
    return [event for event in history.events if event["name"] == "restart"]


def _begin_anew(variables, config: GanConfig, history: training.History, step: int, total: int):
    """Gives both sides first weights of another seed; what is left of the steps is theirs."""
    count = len(_restarts(history)) + 1
    keras.utils.set_random_seed(config.seed + 1000 * count)  # the same after resuming
    fresh = build_gan(config, total)
    sides = [fresh.discriminator_trainer, fresh.generator_trainer]
    checkpoint.assign(variables, checkpoint.values_of(checkpoint.variables_of(*sides)))
    words = f"both networks begin anew with other first weights, time {count} of {_RESTARTS}"
    history.event(step, "restart", words)


def _one_step(side: keras.Model, images, config: GanConfig, rng) -> dict[str, float]:
    latents = rng.standard_normal((len(images), config.latent_size), "float32")
    return distribution.train_on_batch(side, [images, latents])


def local_gan(gan: Gan) -> Gan:
    """The GAN with both networks on one device in float32, to be scored and exported."""
    return dataclasses.replace(
        gan,
        generator=recast(distribution.local_copy(gan.generator), FLOAT32),
        discriminator=recast(distribution.local_copy(gan.discriminator), FLOAT32),
    )


def calibrate_scores(gan: Gan, config: GanConfig, train: Digits) -> Calibration:
    """Of the discriminator's scores, over 5,000 images of the train split and as many fakes."""
    images = train.images[:_CALIBRATION_IMAGES]
    rng = np.random.default_rng(config.seed + 1)
    latents = rng.standard_normal((len(images), config.latent_size), "float32")
    fakes = gan.generator.predict(latents, batch_size=512, verbose=0)
    real = gan.discriminator.predict(images, batch_size=512, verbose=0)
    fake = gan.discriminator.predict(fakes, batch_size=512, verbose=0)
    return calibrate(real, fake)


def run_fn(fn_args) -> None:
    """TFX's entry: config, data, model, fit, export."""
    import tensorflow as tf

    config = from_dict(GanConfig, fn_args.custom_config["config"], "gan")
    folder = Path(fn_args.serving_model_dir).parent

    def save_samples(step: int, images: np.ndarray) -> None:
        if distribution.is_chief():
            training.save_grid(images, folder / SAMPLES_DIR / f"step_{step:06d}.png")

    def write_scalars(step: int, values: dict[str, float]) -> None:
        if not distribution.is_chief():
            return
        with board.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    with distribution.scope(config.distribution, config.batch_size):
        keras.utils.set_random_seed(config.seed)
        train = read_digits(fn_args.train_files)
        steps = training.steps_per_epoch(len(train.images), config.batch_size) * config.epochs
        board = tf.summary.create_file_writer(fn_args.model_run_dir)
        gan = build_gan(config, steps)
        place = checkpoint.place_of(fn_args)
        history = fit(gan, config, train, save_samples, write_scalars, place)
        if not distribution.is_chief():
            return
    gan = local_gan(gan)

    calibration = calibrate_scores(gan, config, train)
    networks = [gan.generator, gan.discriminator]
    entries = signatures(gan.generator, gan.discriminator, calibration)
    export.write_saved_model(fn_args.serving_model_dir, networks, entries)
    training.save_keras(gan.generator, folder, "generator")
    training.save_keras(gan.discriminator, folder, "discriminator")
    record = history.as_dict(networks, config.batch_size)
    record["calibration"] = dataclasses.asdict(calibration)
    training.write_records(folder, record, config)
    checkpoint.remove(fn_args)
