"""A small real SavedModel with every kind of input that the project's models have."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

LATENT, CODE = 4, 3
IMAGE = tf.TensorSpec([None, 28, 28, 1], tf.float32, name="image")
IMAGE_BYTES = tf.TensorSpec([None], tf.string, name="image_bytes")
SCALAR = {name: tf.TensorSpec([], tf.int32, name=name) for name in ("seed", "count", "steps")}


class Toy(tf.Module):
    """Linear maps on pixels, so that results are known in closed form."""

    def __init__(self, seed: int = 0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.encoder = tf.Variable(rng.normal(size=(784, CODE)).astype("float32") / 784)
        self.decoder = tf.Variable(rng.normal(size=(LATENT, 784)).astype("float32"))

    def decode_pixels(self, values):
        return tf.reshape(tf.sigmoid(values), [-1, 28, 28, 1])

    def signatures(self) -> dict[str, Any]:
        """Name to ``tf.function``; made anew on every call."""

        @tf.function(input_signature=[IMAGE])
        def invert(image):
            return {"image": 1.0 - image}

        @tf.function(input_signature=[IMAGE_BYTES])
        def invert_png(image_bytes):
            image = tf.map_fn(
                lambda data: tf.ensure_shape(tf.io.decode_png(data, channels=1), [28, 28, 1]),
                image_bytes,
                fn_output_signature=tf.uint8,
            )
            return {"image_bytes": tf.map_fn(tf.io.encode_png, 255 - image, tf.string)}

        @tf.function(input_signature=[IMAGE])
        def encode(image):
            return {"code": tf.reshape(image, [-1, 784]) @ self.encoder}

        @tf.function(input_signature=[tf.TensorSpec([None, CODE], tf.float32, name="code")])
        def decode(code):
            return {"image": self.decode_pixels(code @ self.decoder[:CODE])}

        @tf.function(input_signature=[tf.TensorSpec([None, LATENT], tf.float32, name="latent")])
        def sample(latent):
            return {"image": self.decode_pixels(latent @ self.decoder)}

        @tf.function(input_signature=[SCALAR["seed"], SCALAR["count"], SCALAR["steps"]])
        def generate(seed, count, steps):
            values = tf.random.stateless_normal([count, 784], tf.stack([seed, 0]))
            for _ in tf.range(steps):
                values = values * 0.9
            return {"image": self.decode_pixels(values)}

        level = tf.TensorSpec([None], tf.float32, name="noise_level")

        @tf.function(input_signature=[IMAGE, level])
        def denoise(image, noise_level):
            return {"image": image * (1.0 - tf.reshape(noise_level, [-1, 1, 1, 1]))}

        step = tf.TensorSpec([None], tf.int32, name="step")

        @tf.function(input_signature=[IMAGE, step, SCALAR["seed"]])
        def forward(image, step, seed):
            noise = tf.random.stateless_uniform(tf.shape(image), tf.stack([seed, 0]))
            share = tf.reshape(tf.cast(step, tf.float32) / 1000.0, [-1, 1, 1, 1])
            return {"image": image * (1.0 - share) + noise * share}

        @tf.function(input_signature=[IMAGE])
        def discriminate(image):
            return {
                "score": tf.reduce_mean(image, [1, 2, 3]),
                "ink": tf.reduce_sum(image, [1, 2, 3]),
            }

        return {
            "serving_default": invert,
            "invert_png": invert_png,
            "encode": encode,
            "decode": decode,
            "sample": sample,
            "generate": generate,
            "denoise": denoise,
            "forward": forward,
            "discriminate": discriminate,
        }


def save_toy(directory: Path, extra: Callable[[], Mapping[str, Any]] = dict, seed: int = 0) -> Path:
    """Saves a toy with the signatures of ``extra()`` added; returns ``directory``."""
    toy = Toy(seed)
    tf.saved_model.save(toy, str(directory), signatures={**toy.signatures(), **extra()})
    return directory
