"""What the GAN serves: images from latents or seeds, and the discriminator's score of images."""

import keras
from keras import ops

from trainer_modules.common.export import (
    MAX_COUNT,
    Signature,
    check_between,
    image_spec,
    in_chunks,
    spec,
    with_png,
)
from trainer_modules.gan.sampler import Calibration, Sampler


def signatures(
    generator: keras.Model, discriminator: keras.Model, calibration: Calibration
) -> dict[str, Signature]:
    """Named signatures on float32 images in [0, 1] and on PNG files.

    Args:
        generator: With the averaged weights.
        discriminator: Only differences of its scores have a meaning.
        calibration: Of these scores on the train split; a score above the midpoint counts as real.
    """
    import tensorflow as tf

    latent_size = generator.input_shape[-1]
    sampler = Sampler(generator, discriminator, calibration.slope)

    def decode(latent):
        return {"image": generator(latent, training=False)}

    def generate(seed, count):
        count = check_between("count", count, 1, MAX_COUNT)
        latents = tf.random.stateless_normal([count, 2, latent_size], tf.stack([seed, 0]))
        uniform = tf.random.stateless_uniform([count], tf.stack([seed, 1]))
        return {"image": in_chunks(lambda *noise: sampler(noise), latents, uniform)}

    def discriminate(image):
        score = discriminator(image, training=False) - calibration.midpoint
        return {"score": ops.sigmoid(calibration.slope * score)}

    seed = {"seed": spec("seed", [], "int32"), "count": spec("count", [], "int32")}
    return with_png(
        {
            "serving_default": Signature(decode, {"latent": spec("latent", [None, latent_size])}),
            "generate": Signature(generate, seed),
            "discriminate": Signature(discriminate, {"image": image_spec()}),
        },
        returns_image={"serving_default", "generate"},
    )
