"""Trains the autoencoder on clean and noisy digits; ``finetune`` trains its final layers further.

TFX calls ``run_fn``, then ``finetune_fn`` with the first model as base. Labels are never read.
"""

import dataclasses
from collections.abc import Callable

import keras

from core.config import require
from core.digits import Digits
from trainer_modules.autoencoder.clusters import Centres
from trainer_modules.autoencoder.config import AutoencoderConfig, AutoencoderFinetuneConfig
from trainer_modules.autoencoder.model import AutoencoderTrainer, build_decoder, build_encoder
from trainer_modules.autoencoder.signatures import signatures
from trainer_modules.common import stage
from trainer_modules.common.fit import fit
from trainer_modules.common.history import History
from trainer_modules.common.keras_files import freeze_all_but
from trainer_modules.common.precision import recast
from trainer_modules.common.schedule import adam, total_steps
from trainer_modules.common.trained import SILENT, Export, Hooks, Trained

_GRID_IMAGES = 32


def train(
    config: AutoencoderConfig, train: Digits, held_out: Digits, hooks: Hooks = SILENT
) -> Trained:
    """Trains encoder and decoder on ``train``; ``held_out`` is only monitored."""
    keras.utils.set_random_seed(config.seed)
    encoder, decoder = (
        recast(build(config), config.precision) for build in (build_encoder, build_decoder)
    )
    hooks.warm_start(encoder=encoder, decoder=decoder)
    trainer = AutoencoderTrainer(
        encoder,
        decoder,
        config.noisy_share,
        config.noise_high,
        config.seed,
        config.contrastive_weight,
        config.cluster_weight,
        config.clusters,
    )
    history = History("autoencoder", "train", config.seed)
    if config.cluster_weight and config.epochs > config.contrastive_epochs:
        images = len(train.images)
        require(
            images > config.clusters,
            f"The train split holds {images} images, too few for {config.clusters} clusters; "
            "lower clusters or give more images.",
        )
        centres = Centres(train.images, config.contrastive_epochs, config.seed, history)
        hooks = dataclasses.replace(hooks, callbacks=[*hooks.callbacks, centres])
    return _fit(trainer, config, history, train, held_out, hooks)


def finetune(
    config: AutoencoderFinetuneConfig,
    base: Callable[[str], keras.Model],
    train: Digits,
    held_out: Digits,
    hooks: Hooks = SILENT,
) -> Trained:
    """Trains the decoder's last layers further; the encoder is frozen: no loss of codes.

    Args:
        base: Loads ``encoder`` and ``decoder`` of the first training, which are trained in place.
    """
    keras.utils.set_random_seed(config.seed)
    encoder, decoder = (recast(base(name), config.precision) for name in ("encoder", "decoder"))
    encoder.trainable = False
    freeze_all_but(decoder, config.layers)
    trainer = AutoencoderTrainer(
        encoder, decoder, config.noisy_share, config.noise_high, config.seed
    )
    history = History("autoencoder", "finetune", config.seed)
    return _fit(trainer, config, history, train, held_out, hooks)


def _fit(trainer, config, history, train, held_out, hooks) -> Trained:
    """Trains the trainable layers of both networks in place."""
    trainer.compile(adam(config.learning_rate, total_steps(config, len(train.images))))
    fit(trainer, config, history, train, held_out, hooks, targets="images")

    def export(encoder: keras.Model, decoder: keras.Model) -> Export:
        shown = held_out.images[:_GRID_IMAGES]
        drawn = keras.ops.sigmoid(decoder.predict(encoder.predict(shown, verbose=0), verbose=0))
        pictures = {"originals": shown, "reconstructed": keras.ops.convert_to_numpy(drawn)}
        networks = {"encoder": encoder, "decoder": decoder}
        return Export(networks, signatures(encoder, decoder), pictures)

    return Trained({"encoder": trainer.encoder, "decoder": trainer.decoder}, history, export)


def run_fn(fn_args) -> None:
    """TFX's entry for the first training."""
    stage.run(fn_args, "autoencoder", AutoencoderConfig, train)


def finetune_fn(fn_args) -> None:
    """TFX's entry for fine-tuning."""
    stage.run(fn_args, "finetune_autoencoder", AutoencoderFinetuneConfig, finetune)
