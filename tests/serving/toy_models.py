"""The three models in small: SavedModels with their signatures, on linear maps."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.serving.toy_model import CODE, IMAGE, LATENT, SCALAR, Toy

MOST_OF_GAN = 500  # images of one request


def save_autoencoder(directory: Path, seed: int = 0, shift: float = 0.0) -> Path:
    """Anomaly scores are the mean ink plus ``shift``."""
    toy = Toy(seed)
    kept = toy.signatures()

    @tf.function(input_signature=[IMAGE])
    def reconstruct(image):
        return {"image": tf.clip_by_value(image * 0.9, 0.0, 1.0)}

    @tf.function(input_signature=[IMAGE])
    def anomaly_score(image):
        return {"anomaly_score": tf.reduce_mean(image, [1, 2, 3]) + shift}

    signatures = {
        "serving_default": reconstruct,
        "denoise": reconstruct,
        "anomaly_score": anomaly_score,
        "encode": kept["encode"],
        "decode": kept["decode"],
    }
    tf.saved_model.save(toy, str(directory), signatures=signatures)
    centres = np.random.default_rng(seed).normal(size=(4, CODE)).round(3)
    clusters = {
        "centres": centres.tolist(),
        "images": np.tile(np.linspace(0, 1, 784), (4, 1)).round(3).tolist(),
        "members": [{"label": str(i), "share": 0.5 + i / 10} for i in range(4)],
    }
    extra = directory / "assets.extra"
    extra.mkdir()
    (extra / "clusters.json").write_text(json.dumps(clusters))
    return directory


def save_diffusion(directory: Path, seed: int = 0) -> Path:
    """Denoising darkens by the noise level."""
    toy = Toy(seed)
    kept = toy.signatures()
    signatures = {name: kept[name] for name in ("denoise", "generate", "forward")}
    tf.saved_model.save(
        toy, str(directory), signatures=signatures | {"serving_default": kept["denoise"]}
    )
    return directory


def save_gan(directory: Path, seed: int = 0) -> Path:
    """Images are sigmoids of a linear map of the latent."""
    toy = Toy(seed)
    kept = toy.signatures()

    @tf.function(input_signature=[SCALAR["seed"], SCALAR["count"]])
    def generate(seed, count):
        tf.debugging.assert_less_equal(count, MOST_OF_GAN, f"at most {MOST_OF_GAN}")
        latent = tf.random.stateless_normal([count, LATENT], tf.stack([seed, 0]))
        return {"image": toy.decode_pixels(latent @ toy.decoder)}

    @tf.function(input_signature=[IMAGE])
    def discriminate(image):
        return {"score": tf.reduce_mean(image, [1, 2, 3])}

    signatures = {
        "serving_default": kept["sample"],
        "generate": generate,
        "discriminate": discriminate,
    }
    tf.saved_model.save(toy, str(directory), signatures=signatures)
    return directory


def save_models(serving_dir: Path) -> Path:
    """Version 1 of all three."""
    save_autoencoder(serving_dir / "autoencoder" / "1")
    save_diffusion(serving_dir / "diffusion" / "1")
    save_gan(serving_dir / "gan" / "1")
    return serving_dir
