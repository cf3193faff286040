"""Trains the diffusion model; ``finetune`` trains a copy's last layers for denoising.

TFX calls ``run_fn``, then ``finetune_fn`` with the first model as base. The served weights are the
exponential moving average. Labels are never read.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from core.digits import Digits
from trainer_modules.common import stage
from trainer_modules.common.averages import averaged_weights
from trainer_modules.common.fit import fit
from trainer_modules.common.history import History
from trainer_modules.common.keras_files import freeze_all_but
from trainer_modules.common.precision import recast
from trainer_modules.common.schedule import adam, total_steps
from trainer_modules.common.trained import SILENT, Export, Hooks, Trained
from trainer_modules.diffusion import sampler
from trainer_modules.diffusion.clusters import cluster_sizes, find_clusters
from trainer_modules.diffusion.config import DiffusionConfig, DiffusionFinetuneConfig
from trainer_modules.diffusion.guidance import build_generator
from trainer_modules.diffusion.model import DenoisingTrainer, DiffusionTrainer, build_network
from trainer_modules.diffusion.signatures import denoise, signatures

_GRID_IMAGES = 64
_DENOISED_IMAGES, _DENOISED_SIGMA = 32, 0.4  # standard deviation in [0, 1] pixel units


def train(
    config: DiffusionConfig, train: Digits, held_out: Digits, hooks: Hooks = SILENT
) -> Trained:
    """Trains the network on images only; ``held_out`` is only monitored."""
    keras.utils.set_random_seed(config.seed)
    network = recast(build_network(config), config.precision)
    codes = network.get_layer("cluster_code")
    if hooks.initial is None:
        codes.centres.assign(find_clusters(train.images, config.clusters, config.seed))
    hooks.warm_start(network=network)
    centres = keras.ops.convert_to_numpy(codes.centres)
    codes.sizes.assign(cluster_sizes(train.images, centres))
    trainer = DiffusionTrainer(network, train.pixel_mean, train.pixel_std, centres, config)
    steps, average = total_steps(config, len(train.images)), config.ema_momentum
    trainer.compile(adam(config.learning_rate, steps, use_ema=True, ema_momentum=average))
    history = History("diffusion", "train", config.seed)
    if hooks.show:
        grid = _SampleGrid(network, config, train, hooks.show)
        hooks = dataclasses.replace(hooks, callbacks=[grid, *hooks.callbacks])
    fit(trainer, config, history, train, held_out, hooks)

    def export(network: keras.Model) -> Export:
        return _export(generator_of(network, config, train), network, train)

    return Trained({"network": network}, history, export)


def finetune(
    config: DiffusionFinetuneConfig,
    base: Callable[[str], keras.Model],
    train: Digits,
    held_out: Digits,
    hooks: Hooks = SILENT,
) -> Trained:
    """Trains the last layers of ``network`` for denoising; the base's ``generator`` is unchanged.

    Args:
        base: Loads both by name; ``network`` is trained in place.
    """
    keras.utils.set_random_seed(config.seed)
    denoiser = recast(base("network"), config.precision)
    freeze_all_but(denoiser, config.layers)
    trainer = DenoisingTrainer(denoiser, train.pixel_mean, train.pixel_std, config)
    trainer.compile(adam(config.learning_rate, total_steps(config, len(train.images))))
    history = History("diffusion", "finetune", config.seed)
    fit(trainer, config, history, train, held_out, hooks)

    def export(denoiser: keras.Model) -> Export:
        pictures = _denoised(denoiser, held_out)
        return dataclasses.replace(_export(base("generator"), denoiser, train), pictures=pictures)

    return Trained({"denoiser": denoiser}, history, export)


def generator_of(network: keras.Model, config: DiffusionConfig, train: Digits) -> keras.Model:
    """``network`` with the guidance and the sampler's settings of ``config``."""
    mean, std = train.pixel_mean, train.pixel_std
    return build_generator(network, config.guidance, config.eta, train.images, mean, std)


def draw_samples(
    generator, count: int, steps: int, mean: float, std: float, seed: int
) -> np.ndarray:
    """Images [count, 28, 28, 1] in [0, 1] from pure noise, on any Keras backend."""
    model = sampler.Sampler(generator, steps, mean, std)
    return keras.ops.convert_to_numpy(model(model.noise(count, seed)))


class _SampleGrid(keras.callbacks.Callback):
    """Generates from the same 64 latents with the averaged weights after each epoch."""

    def __init__(self, network, config: DiffusionConfig, train: Digits, show: Callable):
        super().__init__()
        self.network, self.config, self.train, self.show = network, config, train, show
        self.generator = generator_of(network, config, train)

    def on_epoch_end(self, epoch, logs=None):
        config, mean, std = self.config, self.train.pixel_mean, self.train.pixel_std
        with averaged_weights(self.model.optimizer, self.network):
            images = draw_samples(
                self.generator, _GRID_IMAGES, config.sample_steps, mean, std, config.seed
            )
        self.show(f"epoch_{epoch + 1:03d}", images)


def _export(generator: keras.Model, denoiser: keras.Model, train: Digits) -> Export:
    networks = {
        "generator": generator,
        "network": generator.get_layer("denoiser"),
        "denoiser": denoiser,
    }
    return Export(networks, signatures(generator, denoiser, train.pixel_mean, train.pixel_std))


def _denoised(denoiser: keras.Model, held_out: Digits) -> dict[str, np.ndarray]:
    clean = held_out.images[:_DENOISED_IMAGES]
    noise = np.random.default_rng(0).normal(size=clean.shape)
    noisy = np.clip(clean + _DENOISED_SIGMA * noise, 0, 1).astype("float32")
    level = np.full(len(clean), _DENOISED_SIGMA, "float32")
    drawn = denoise(denoiser, noisy, level, held_out.pixel_mean, held_out.pixel_std)
    return {"noisy": noisy, "denoised": keras.ops.convert_to_numpy(drawn)}


def run_fn(fn_args) -> None:
    """TFX's entry for the first training."""
    stage.run(fn_args, "diffusion", DiffusionConfig, train)


def finetune_fn(fn_args) -> None:
    """TFX's entry for fine-tuning."""
    stage.run(fn_args, "finetune_diffusion", DiffusionFinetuneConfig, finetune)
