"""Trains the diffusion model; ``finetune_fn`` trains a copy's last layers for denoising.

TFX calls ``run_fn``, then ``finetune_fn`` with the first model as base. The served weights are the
exponential moving average. Labels are never read.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from core.artifacts import SAMPLES_DIR
from core.config import from_dict
from core.digits import Digits, read_digits
from trainer_modules.common import checkpoint, distribution, export, training
from trainer_modules.common.fit import fit as fit_trainer
from trainer_modules.common.precision import FLOAT32, recast
from trainer_modules.diffusion import sampler
from trainer_modules.diffusion.config import DiffusionConfig, DiffusionFinetuneConfig
from trainer_modules.diffusion.guidance import build_generator
from trainer_modules.diffusion.model import DenoisingTrainer, DiffusionTrainer, build_network
from trainer_modules.diffusion.signatures import denoise, signatures

_GRID_IMAGES = 64


def draw_samples(
    generator, count: int, steps: int, mean: float, std: float, seed: int
) -> np.ndarray:
    """Images [count, 28, 28, 1] in [0, 1] from pure noise, on any Keras backend."""
    model = sampler.Sampler(generator, steps, mean, std)
    return keras.ops.convert_to_numpy(model(model.noise(count, seed)))


def generator_of(network: keras.Model, config: DiffusionConfig, train: Digits) -> keras.Model:
    """``network`` with the guidance of ``config``: what samples are drawn from."""
    mean, std = train.pixel_mean, train.pixel_std
    return build_generator(network, config.guidance, train.images, mean, std)


class SampleGrid(keras.callbacks.Callback):
    """Draws the same 64 latents with the averaged weights after each epoch."""

    def __init__(self, network, config: DiffusionConfig, train: Digits, folder: Path):
        super().__init__()
        self.network, self.config, self.train, self.folder = network, config, train, folder
        self.generator = generator_of(network, config, train)

    def on_epoch_end(self, epoch, logs=None):
        config = self.config
        with training.averaged_weights(self.model.optimizer, self.network):
            mean, std = self.train.pixel_mean, self.train.pixel_std
            images = draw_samples(
                self.generator, _GRID_IMAGES, config.sample_steps, mean, std, config.seed
            )
        training.save_grid(images, self.folder / f"epoch_{epoch + 1:03d}.png")


def fit(
    trainer: keras.Model,
    config: DiffusionConfig | DiffusionFinetuneConfig,
    stage: str,
    optimizer: keras.optimizers.Optimizer,
    train: Digits,
    held_out: Digits,
    callbacks=(),
    place: str | None = None,
) -> training.History:
    """Fits ``trainer`` in place on images alone; ``held_out`` is only watched.

    Args:
        stage: "train" or "finetune".
        place: Path of the checkpoint; None for none.
    """
    history = training.History("diffusion", stage, config.seed)
    trainer.compile(optimizer=optimizer)
    fit_trainer(trainer, config, history, train, held_out, None, callbacks, place)
    return history


def _schedule(config, images: int):
    total = training.steps_per_epoch(images, config.batch_size) * config.epochs
    return training.cosine_schedule(config.learning_rate, total)


def build_optimizer(config: DiffusionConfig, images: int) -> keras.optimizers.Optimizer:
    """Adam over all passes of ``images``, with the moving average that is served."""
    return keras.optimizers.Adam(
        _schedule(config, images),
        use_ema=True,
        ema_momentum=config.ema_momentum,
        global_clipnorm=training.CLIP_NORM,
    )


def build_finetune_optimizer(
    config: DiffusionFinetuneConfig, images: int
) -> keras.optimizers.Optimizer:
    """Adam over all passes of ``images``; the weights themselves are served."""
    return keras.optimizers.Adam(_schedule(config, images), global_clipnorm=training.CLIP_NORM)


def run_fn(fn_args) -> None:
    """TFX's entry for the first training: config, data, model, fit, export."""
    config = from_dict(DiffusionConfig, fn_args.custom_config["config"], "diffusion")
    folder = Path(fn_args.serving_model_dir).parent
    with distribution.scope(config.distribution, config.batch_size):
        keras.utils.set_random_seed(config.seed)
        train, held_out = read_digits(fn_args.train_files), read_digits(fn_args.eval_files)
        network = recast(build_network(config), config.precision)
        trainer = DiffusionTrainer(network, train.pixel_mean, train.pixel_std, config.seed)
        optimizer = build_optimizer(config, len(train.images))
        callbacks, place = training.logs(fn_args.model_run_dir), checkpoint.place_of(fn_args)
        if distribution.is_chief():
            callbacks.insert(0, SampleGrid(network, config, train, folder / SAMPLES_DIR))
        history = fit(trainer, config, "train", optimizer, train, held_out, callbacks, place)
        if not distribution.is_chief():
            return
    network = recast(distribution.local_copy(network), FLOAT32)
    _export(fn_args, config, history, generator_of(network, config, train), network, train)
    checkpoint.remove(fn_args)


def finetune_fn(fn_args) -> None:
    """TFX's entry for fine-tuning: the base network generates, its fine-tuned copy denoises."""
    where = "finetune_diffusion"
    config = from_dict(DiffusionFinetuneConfig, fn_args.custom_config["config"], where)
    with distribution.scope(config.distribution, config.batch_size):
        keras.utils.set_random_seed(config.seed)
        train, held_out = read_digits(fn_args.train_files), read_digits(fn_args.eval_files)
        denoiser = recast(training.load_base(fn_args.base_model, "network"), config.precision)
        training.freeze_all_but(denoiser, config.layers)
        trainer = DenoisingTrainer(denoiser, train.pixel_mean, train.pixel_std, config)
        optimizer = build_finetune_optimizer(config, len(train.images))
        callbacks, place = training.logs(fn_args.model_run_dir), checkpoint.place_of(fn_args)
        history = fit(trainer, config, "finetune", optimizer, train, held_out, callbacks, place)
        if not distribution.is_chief():
            return
    generator = training.load_base(fn_args.base_model, "generator")
    denoiser = recast(distribution.local_copy(denoiser), FLOAT32)
    _export(fn_args, config, history, generator, denoiser, train)
    _draw_denoising(denoiser, held_out, Path(fn_args.serving_model_dir).parent / SAMPLES_DIR)
    checkpoint.remove(fn_args)


def _export(fn_args, config, history, generator, denoiser, train: Digits) -> None:
    folder = Path(fn_args.serving_model_dir).parent
    entries = signatures(generator, denoiser, train.pixel_mean, train.pixel_std)
    network = generator.get_layer("denoiser")
    networks = [generator] if denoiser is network else [generator, denoiser]
    export.write_saved_model(fn_args.serving_model_dir, networks, entries)
    training.save_keras(network, folder, "network")
    training.save_keras(generator, folder, "generator")
    training.save_keras(denoiser, folder, "denoiser")
    training.write_records(folder, history.as_dict([denoiser], config.batch_size), config)


def _draw_denoising(denoiser, held_out: Digits, folder: Path, sigma: float = 0.4) -> None:
    clean = held_out.images[:32]
    noise = np.random.default_rng(0).normal(size=clean.shape)
    noisy = np.clip(clean + sigma * noise, 0, 1).astype("float32")
    level = np.full(len(clean), sigma, "float32")
    drawn = denoise(denoiser, noisy, level, held_out.pixel_mean, held_out.pixel_std)
    training.save_grid(noisy, folder / "noisy.png")
    training.save_grid(keras.ops.convert_to_numpy(drawn), folder / "denoised.png")
