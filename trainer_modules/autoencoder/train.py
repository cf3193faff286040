"""Trains the autoencoder on clean and noisy digits; ``finetune_fn`` trains its final layers on.

TFX calls ``run_fn``, then ``finetune_fn`` with the first model as base. Labels are never read.
"""

from __future__ import annotations

from pathlib import Path

import keras

from core.artifacts import SAMPLES_DIR
from core.config import from_dict
from core.digits import Digits, read_digits
from trainer_modules.autoencoder.config import AutoencoderConfig, AutoencoderFinetuneConfig
from trainer_modules.autoencoder.model import AutoencoderTrainer, build_decoder, build_encoder
from trainer_modules.autoencoder.signatures import signatures
from trainer_modules.common import checkpoint, distribution, export, training
from trainer_modules.common.fit import fit as fit_trainer
from trainer_modules.common.precision import FLOAT32, recast


def fit(
    encoder: keras.Model,
    decoder: keras.Model,
    config: AutoencoderConfig | AutoencoderFinetuneConfig,
    stage: str,
    train: Digits,
    held_out: Digits,
    callbacks=(),
    place: str | None = None,
) -> training.History:
    """Trains what is trainable of both networks in place; ``held_out`` is only watched.

    Args:
        config: Fine-tuning leaves the encoder as it is, so it has no contrastive loss.
        stage: "train" or "finetune".
        place: Path of the checkpoint; None for none.
    """
    epoch_steps = training.steps_per_epoch(len(train.images), config.batch_size)
    total = epoch_steps * config.epochs
    history = training.History("autoencoder", stage, config.seed)
    trainer = AutoencoderTrainer(
        encoder,
        decoder,
        config.noisy_share,
        config.noise_high,
        config.seed,
        config.contrastive_weight if isinstance(config, AutoencoderConfig) else 0.0,
    )
    trainer.compile(
        optimizer=keras.optimizers.Adam(
            training.cosine_schedule(config.learning_rate, total),
            global_clipnorm=training.CLIP_NORM,
        )
    )
    fit_trainer(trainer, config, history, train, held_out, "images", callbacks, place)
    return history


def _fit_and_export(fn_args, config, stage: str, build) -> None:
    """``build`` gives the encoder and the decoder to train."""
    with distribution.scope(config.distribution, config.batch_size):
        keras.utils.set_random_seed(config.seed)
        train, held_out = read_digits(fn_args.train_files), read_digits(fn_args.eval_files)
        encoder, decoder = build()
        callbacks, place = training.logs(fn_args.model_run_dir), checkpoint.place_of(fn_args)
        history = fit(encoder, decoder, config, stage, train, held_out, callbacks, place)
        if not distribution.is_chief():
            return
    encoder, decoder = (
        recast(distribution.local_copy(network), FLOAT32) for network in (encoder, decoder)
    )

    folder = Path(fn_args.serving_model_dir).parent
    networks = [encoder, decoder]
    export.write_saved_model(fn_args.serving_model_dir, networks, signatures(encoder, decoder))
    training.save_keras(encoder, folder, "encoder")
    training.save_keras(decoder, folder, "decoder")
    training.write_records(folder, history.as_dict(networks, config.batch_size), config)
    shown = held_out.images[:32]
    drawn = keras.ops.sigmoid(decoder.predict(encoder.predict(shown, verbose=0), verbose=0))
    training.save_grid(shown, folder / SAMPLES_DIR / "originals.png")
    training.save_grid(
        keras.ops.convert_to_numpy(drawn), folder / SAMPLES_DIR / "reconstructed.png"
    )
    checkpoint.remove(fn_args)


def run_fn(fn_args) -> None:
    """TFX's entry for the first training: config, data, model, fit, export."""
    config = from_dict(AutoencoderConfig, fn_args.custom_config["config"], "autoencoder")

    def build():
        networks = build_encoder(config), build_decoder(config)
        return [recast(network, config.precision) for network in networks]

    _fit_and_export(fn_args, config, "train", build)


def finetune_fn(fn_args) -> None:
    """TFX's entry for fine-tuning: the base model's encoder and early decoder stay frozen."""
    where = "finetune_autoencoder"
    config = from_dict(AutoencoderFinetuneConfig, fn_args.custom_config["config"], where)

    def build():
        encoder, decoder = (
            recast(training.load_base(fn_args.base_model, name), config.precision)
            for name in ("encoder", "decoder")
        )
        encoder.trainable = False
        training.freeze_all_but(decoder, config.layers)
        return encoder, decoder

    _fit_and_export(fn_args, config, "finetune", build)
