"""Trains the autoencoder on clean and noisy digits; ``finetune`` trains its final layers further.

TFX calls ``run_fn``, then ``finetune_fn`` with the first model as base. Labels are never read.
"""

from collections.abc import Callable

import keras

from core.digits import Digits
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
    history = History("autoencoder", "train", config.seed)
    weight = config.contrastive_weight
    return _fit(encoder, decoder, config, weight, history, train, held_out, hooks)


def finetune(
    config: AutoencoderFinetuneConfig,
    base: Callable[[str], keras.Model],
    train: Digits,
    held_out: Digits,
    hooks: Hooks = SILENT,
) -> Trained:
    """Trains the decoder's last layers further; the encoder is frozen: no contrastive loss.

    Args:
        base: Loads ``encoder`` and ``decoder`` of the first training, which are trained in place.
    """
    keras.utils.set_random_seed(config.seed)
    encoder, decoder = (recast(base(name), config.precision) for name in ("encoder", "decoder"))
    encoder.trainable = False
    freeze_all_but(decoder, config.layers)
    history = History("autoencoder", "finetune", config.seed)
    return _fit(encoder, decoder, config, 0.0, history, train, held_out, hooks)


def _fit(encoder, decoder, config, contrastive_weight, history, train, held_out, hooks) -> Trained:
    """Trains the trainable layers of both networks in place."""
    trainer = AutoencoderTrainer(
        encoder, decoder, config.noisy_share, config.noise_high, config.seed, contrastive_weight
    )
    trainer.compile(adam(config.learning_rate, total_steps(config, len(train.images))))
    fit(trainer, config, history, train, held_out, hooks, targets="images")

    def export(encoder: keras.Model, decoder: keras.Model) -> Export:
        shown = held_out.images[:_GRID_IMAGES]
        drawn = keras.ops.sigmoid(decoder.predict(encoder.predict(shown, verbose=0), verbose=0))
        pictures = {"originals": shown, "reconstructed": keras.ops.convert_to_numpy(drawn)}
        networks = {"encoder": encoder, "decoder": decoder}
        return Export(networks, signatures(encoder, decoder), pictures)

    return Trained({"encoder": encoder, "decoder": decoder}, history, export)


def run_fn(fn_args) -> None:
    """TFX's entry for the first training."""
    stage.run(fn_args, "autoencoder", AutoencoderConfig, train)


def finetune_fn(fn_args) -> None:
    """TFX's entry for fine-tuning."""
    stage.run(fn_args, "finetune_autoencoder", AutoencoderFinetuneConfig, finetune)
