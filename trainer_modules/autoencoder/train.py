"""Trains the autoencoder on clean and noisy digits; ``finetune_fn`` trains its final layers on.

TFX calls ``run_fn``, then ``finetune_fn`` with the first model as base. Labels are never read.
"""

from __future__ import annotations

from pathlib import Path

import keras

from trainer_modules.autoencoder.config import AutoencoderConfig, AutoencoderFinetuneConfig
from trainer_modules.autoencoder.model import AutoencoderTrainer, build_decoder, build_encoder
from trainer_modules.autoencoder.signatures import signatures
from trainer_modules.common import distribution, export, training
from trainer_modules.common.config import from_dict
from trainer_modules.common.data import Digits, read_digits


def fit(
    encoder: keras.Model,
    decoder: keras.Model,
    config: AutoencoderConfig | AutoencoderFinetuneConfig,
    stage: str,
    train: Digits,
    held_out: Digits,
    callbacks=(),
) -> training.History:
    """Trains what is trainable of both networks in place; ``held_out`` is only watched.

    Args:
        stage: "train" or "finetune".
    """
    epoch_steps = training.steps_per_epoch(len(train.images), config.batch_size)
    total = epoch_steps * config.epochs
    history = training.History("autoencoder", stage, config.seed)
    trainer = AutoencoderTrainer(
        encoder, decoder, config.noisy_share, config.noise_high, config.seed
    )
    trainer.compile(
        optimizer=keras.optimizers.Adam(training.cosine_schedule(config.learning_rate, total))
    )
    x = train.images[: epoch_steps * config.batch_size]
    distribution.fit(
        trainer,
        x,
        x,
        batch_size=config.batch_size,
        epochs=config.epochs,
        validation_data=(held_out.images, held_out.images),
        validation_batch_size=512,
        callbacks=[training.Reporter(f"autoencoder {stage}", history, total), *callbacks],
        seed=config.seed,
    )
    return history


def _fit_and_export(fn_args, config, stage: str, build) -> None:
    """``build`` gives the encoder and the decoder to train."""
    with distribution.scope(config.distribution, config.batch_size):
        keras.utils.set_random_seed(config.seed)
        train, held_out = read_digits(fn_args.train_files), read_digits(fn_args.eval_files)
        encoder, decoder = build()
        callbacks = training.logs(fn_args.model_run_dir)
        history = fit(encoder, decoder, config, stage, train, held_out, callbacks)
        if not distribution.is_chief():
            return
    encoder, decoder = distribution.local_copy(encoder), distribution.local_copy(decoder)

    folder = Path(fn_args.serving_model_dir).parent
    networks = [encoder, decoder]
    export.write_saved_model(fn_args.serving_model_dir, networks, signatures(encoder, decoder))
    training.save_keras(encoder, folder, "encoder")
    training.save_keras(decoder, folder, "decoder")
    steps = len(train.images) // config.batch_size * config.epochs
    training.write_records(folder, history.as_dict(networks, steps, config.batch_size), config)
    shown = held_out.images[:32]
    drawn = keras.ops.sigmoid(decoder.predict(encoder.predict(shown, verbose=0), verbose=0))
    training.save_grid(shown, folder / "samples" / "originals.png")
    training.save_grid(keras.ops.convert_to_numpy(drawn), folder / "samples" / "reconstructed.png")


def run_fn(fn_args) -> None:
    """TFX's entry for the first training: config, data, model, fit, export."""
    config = from_dict(AutoencoderConfig, fn_args.custom_config["config"], "autoencoder")

    def build():
        return build_encoder(config), build_decoder(config)

    _fit_and_export(fn_args, config, "train", build)


def finetune_fn(fn_args) -> None:
    """TFX's entry for fine-tuning: the base model's encoder and early decoder stay frozen."""
    where = "finetune_autoencoder"
    config = from_dict(AutoencoderFinetuneConfig, fn_args.custom_config["config"], where)

    def build():
        encoder = training.load_base(fn_args.base_model, "encoder")
        decoder = training.load_base(fn_args.base_model, "decoder")
        encoder.trainable = False
        training.freeze_all_but(decoder, config.layers)
        return encoder, decoder

    _fit_and_export(fn_args, config, "finetune", build)
