"""Trains small models with one setting of ``distribution`` and prints what came out.

    python -m tests.trainer_modules.distributed mirrored EXAMPLES FOLDER judge gan

A process of its own, as devices are fixed once TensorFlow runs: this one has two virtual ones. The
judge goes through TFX's entry, export included; of the others the training alone is run.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

BATCH = 32


def main(kind: str, examples: str, folder: str, models: list[str]) -> None:
    """Trains ``models`` in ``folder`` and prints a JSON object: their weights and losses by model,
    and with two replicas the sentence of ``refused_batch``.
    """
    if kind == "mirrored":
        import tensorflow as tf

        [cpu] = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    results = {model: RUNS[model](kind, examples, Path(folder)) for model in models}
    if kind == "mirrored":
        results["refused"] = refused_batch()
    print(json.dumps(results))


def judge(kind: str, examples: str, folder: Path) -> dict[str, Any]:
    import keras

    from trainer_modules.judge.train import run_fn

    settings = {"channels": 4, "dropout": 0.0, "patience": 1, **_common(kind)}
    place = folder / "judge"
    run_fn(
        types.SimpleNamespace(
            train_files=[examples],
            eval_files=[examples],
            serving_model_dir=str(place / "Format-Serving"),
            model_run_dir=str(place / "logs"),
            custom_config={"config": settings},
        )
    )
    if not (place / "history.json").exists():
        return {}  # a worker that is not the chief
    import tensorflow as tf

    tf.saved_model.load(str(place / "Format-Serving"))
    model = keras.models.load_model(place / "Format-Keras" / "model.keras", compile=False)
    curves = json.loads((place / "history.json").read_text())["curves"]
    return _result([model], curves)


def autoencoder(kind: str, examples: str, folder: Path) -> dict[str, Any]:
    from trainer_modules.autoencoder.config import AutoencoderConfig
    from trainer_modules.autoencoder.model import build_decoder, build_encoder
    from trainer_modules.autoencoder.train import fit
    from trainer_modules.common import distribution, training

    config = AutoencoderConfig(channels=4, noisy_share=0.0, contrastive_weight=0.0, **_common(kind))
    with distribution.scope(kind, BATCH):
        train = _start(examples)
        encoder, decoder = build_encoder(config), build_decoder(config)
        history = fit(encoder, decoder, config, "train", train, train)
        for name, network in (("encoder", encoder), ("decoder", decoder)):
            training.save_keras(network, folder, name)
    return _result([encoder, decoder], history.curves)


def finetune(kind: str, examples: str, folder: Path) -> dict[str, Any]:
    """Of the autoencoder that was trained before."""
    from trainer_modules.autoencoder.config import AutoencoderFinetuneConfig
    from trainer_modules.autoencoder.train import fit
    from trainer_modules.common import distribution, training

    config = AutoencoderFinetuneConfig(layers=("head",), noisy_share=0.0, **_common(kind))
    with distribution.scope(kind, BATCH):
        train = _start(examples)
        serving = str(folder / "Format-Serving")
        encoder = training.load_base(serving, "encoder")
        decoder = training.load_base(serving, "decoder")
        encoder.trainable = False
        training.freeze_all_but(decoder, config.layers)
        history = fit(encoder, decoder, config, "finetune", train, train)
    return _result([encoder, decoder], history.curves)


def diffusion(kind: str, examples: str, folder: Path) -> dict[str, Any]:
    import keras

    from trainer_modules.common import distribution
    from trainer_modules.diffusion.config import DiffusionConfig
    from trainer_modules.diffusion.model import DiffusionTrainer, build_network
    from trainer_modules.diffusion.train import SampleGrid, fit

    config = DiffusionConfig(channels=4, global_width=8, sample_steps=1, **_common(kind))
    with distribution.scope(kind, BATCH):
        train = _start(examples)
        network = build_network(config)
        trainer = DiffusionTrainer(network, train.pixel_mean, train.pixel_std, config.seed)
        optimizer = keras.optimizers.AdamW(1e-3, use_ema=True, ema_momentum=0.9)
        grid = SampleGrid(network, config, train, folder / "samples")
        history = fit(trainer, config, "train", optimizer, train, train, [grid])
    return _result([network], history.curves)


def gan(kind: str, examples: str, folder: Path) -> dict[str, Any]:
    from trainer_modules.common import distribution
    from trainer_modules.gan.config import GanConfig
    from trainer_modules.gan.train import build_gan, fit, local_gan

    # Without the penalty, as that draws noise.
    config = GanConfig(channels=4, latent_size=8, gradient_penalty=0.0, **_common(kind))
    with distribution.scope(kind, BATCH):
        train = _start(examples)
        both = build_gan(config, 8)
        history = fit(both, config, train, lambda step, images: None)
    both = local_gan(both)
    return _result([both.generator, both.discriminator], history.curves)


def refused_batch() -> str:
    """What is said of a batch that the two devices cannot share."""
    from core.config import InputError
    from trainer_modules.common import distribution

    try:
        with distribution.scope("mirrored", BATCH + 1):
            return "nothing"
    except InputError as error:
        return str(error)


RUNS = {run.__name__: run for run in (judge, autoencoder, finetune, diffusion, gan)}


def _common(kind: str) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": BATCH, "distribution": kind}


def _start(examples: str):
    import keras

    from core.digits import read_digits

    keras.utils.set_random_seed(1)
    return read_digits([examples])


def _result(networks, curves: dict[str, list[float]]) -> dict[str, Any]:
    import numpy as np

    weights = [weight for network in networks for weight in network.get_weights()]
    return {
        "weights": [float(np.abs(weight).sum()) for weight in weights],
        "losses": {name: curve[-1] for name, curve in curves.items() if "loss" in name},
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
