"""Trains the VAE; TFX calls ``run_fn``. Labels are never read."""

import keras

from core.digits import Digits
from tests.vae.config import VaeConfig
from tests.vae.model import VaeTrainer, build_decoder, build_encoder
from tests.vae.signatures import signatures
from trainer_modules.common import stage
from trainer_modules.common.fit import fit
from trainer_modules.common.history import History
from trainer_modules.common.schedule import CLIP_NORM, cosine_schedule, total_steps
from trainer_modules.common.trained import SILENT, Export, Hooks, Trained


def train(config: VaeConfig, train: Digits, held_out: Digits, hooks: Hooks = SILENT) -> Trained:
    """Trains encoder and decoder on ``train``; ``held_out`` is only watched."""
    keras.utils.set_random_seed(config.seed)
    encoder, decoder = build_encoder(config), build_decoder(config)
    history = History("vae", "train", config.seed)
    trainer = VaeTrainer(encoder, decoder, config.seed)
    rate = cosine_schedule(config.learning_rate, total_steps(config, len(train.images)))
    trainer.compile(optimizer=keras.optimizers.Adam(rate, global_clipnorm=CLIP_NORM))
    fit(trainer, config, history, train, held_out, hooks)

    def export(encoder: keras.Model, decoder: keras.Model) -> Export:
        networks = {"encoder": encoder, "decoder": decoder}
        return Export(networks, signatures(encoder, decoder))

    return Trained({"encoder": encoder, "decoder": decoder}, history, export)


def run_fn(fn_args) -> None:
    """TFX's entry."""
    stage.run(fn_args, "vae", VaeConfig, train)
