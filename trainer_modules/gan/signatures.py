"""What the GAN serves: images from latents or seeds, and the critic's verdict on images."""

from __future__ import annotations

import keras
from keras import ops

from trainer_modules.common.export import Signature, image_spec, spec, with_png


def signatures(
    generator: keras.Model, discriminator: keras.Model, midpoint: float
) -> dict[str, Signature]:
    """Named signatures on float32 images in [0, 1] and on PNG files.

    Args:
        generator: With the averaged weights.
        discriminator: Its scores mean something only as differences.
        midpoint: Score half-way between the mean real and the mean fake of the train split; a
            score above it counts as real.
    """
    import tensorflow as tf

    latent_size = generator.input_shape[-1]

    def decode(latent):
        return {"image": generator(latent, training=False)}

    def generate(seed, count):
        return decode(tf.random.stateless_normal([count, latent_size], tf.stack([seed, 0])))

    def discriminate(image):
        return {"score": ops.sigmoid(discriminator(image, training=False) - midpoint)}

    seed = {"seed": spec("seed", [], "int32"), "count": spec("count", [], "int32")}
    return with_png(
        {
            "serving_default": Signature(decode, {"latent": spec("latent", [None, latent_size])}),
            "generate": Signature(generate, seed),
            "discriminate": Signature(discriminate, {"image": image_spec()}),
        },
        returns_image={"serving_default", "generate"},
    )
