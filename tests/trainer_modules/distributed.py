"""Trains small models with one setting of ``distribution`` and prints what came out.

    python -m tests.trainer_modules.distributed mirrored EXAMPLES FOLDER judge gan

A process of its own, as devices are fixed once TensorFlow runs: this one has two virtual ones. The
judge goes through TFX's entry, export included; of the others the training alone is run.
"""

import functools
import json
import sys
import types
from collections.abc import Callable
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
            base_model=None,
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
    from trainer_modules.autoencoder.train import train
    from trainer_modules.common.keras_files import save_network

    config = AutoencoderConfig(channels=4, noisy_share=0.0, contrastive_weight=0.0, **_common(kind))
    trained = _train(kind, examples, lambda digits: train(config, digits, digits))
    for name, network in trained.networks.items():
        save_network(network, folder, name)
    return _result(trained.networks.values(), trained.history.curves)


def finetune(kind: str, examples: str, folder: Path) -> dict[str, Any]:
    """Of the autoencoder that was trained before."""
    from core.artifacts import KERAS_DIR
    from trainer_modules.autoencoder.config import AutoencoderFinetuneConfig
    from trainer_modules.autoencoder.train import finetune
    from trainer_modules.common.keras_files import load_network

    config = AutoencoderFinetuneConfig(layers=("head",), noisy_share=0.0, **_common(kind))
    base = functools.partial(load_network, folder / KERAS_DIR)
    trained = _train(kind, examples, lambda digits: finetune(config, base, digits, digits))
    return _result(trained.networks.values(), trained.history.curves)


def diffusion(kind: str, examples: str, folder: Path) -> dict[str, Any]:
    from trainer_modules.common.trained import Hooks
    from trainer_modules.diffusion.config import DiffusionConfig
    from trainer_modules.diffusion.train import train

    config = DiffusionConfig(
        channels=4, global_width=8, sample_steps=1, ema_momentum=0.9, **_common(kind)
    )
    hooks = Hooks(show=lambda name, images: None)  # samples are drawn between two epochs
    trained = _train(kind, examples, lambda digits: train(config, digits, digits, hooks))
    return _result(trained.networks.values(), trained.history.curves)


def gan(kind: str, examples: str, folder: Path) -> dict[str, Any]:
    from trainer_modules.gan.config import GanConfig
    from trainer_modules.gan.train import train

    # Without the penalty, as that draws noise.
    config = GanConfig(channels=4, latent_size=8, gradient_penalty=0.0, **_common(kind))
    trained = _train(kind, examples, lambda digits: train(config, digits, digits))
    return _result(trained.served().values(), trained.history.curves)


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


def _train(kind: str, examples: str, recipe: Callable):
    from core.digits import read_digits
    from trainer_modules.common import distribution

    with distribution.scope(kind, BATCH):
        return recipe(read_digits([examples]))


def _result(networks, curves: dict[str, list[float]]) -> dict[str, Any]:
    import numpy as np

    weights = [weight for network in networks for weight in network.get_weights()]
    return {
        "weights": [float(np.abs(weight).sum()) for weight in weights],
        "losses": {name: curve[-1] for name, curve in curves.items() if "loss" in name},
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
