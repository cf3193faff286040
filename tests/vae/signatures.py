"""What the VAE serves: reconstruct, encode, decode, generate, anomaly score."""

import keras
from keras import ops

from trainer_modules.common.export import (
    MAX_COUNT,
    Signature,
    check_between,
    image_spec,
    spec,
    with_png,
)


def signatures(encoder: keras.Model, decoder: keras.Model) -> dict[str, Signature]:
    """Named signatures on float32 images [B, 28, 28, 1] in [0, 1] and on PNG files."""
    import tensorflow as tf

    size = decoder.input_shape[-1]

    def encode(image):
        return {"code": encoder(image, training=False)[:, :size]}

    def decode(code):
        return {"image": ops.sigmoid(decoder(code, training=False))}

    def reconstruct(image):
        return decode(encode(image)["code"])

    def generate(seed, count):
        count = check_between("count", count, 1, MAX_COUNT)
        return decode(tf.random.stateless_normal([count, size], tf.stack([seed, 0])))

    def anomaly_score(image):
        error = ops.square(reconstruct(image)["image"] - image)
        return {"anomaly_score": ops.mean(error, axis=(1, 2, 3))}

    image, code = {"image": image_spec()}, {"code": spec("code", [None, size])}
    seed = {"seed": spec("seed", [], "int32"), "count": spec("count", [], "int32")}
    return with_png(
        {
            "serving_default": Signature(reconstruct, image),
            "encode": Signature(encode, image),
            "decode": Signature(decode, code),
            "generate": Signature(generate, seed),
            "anomaly_score": Signature(anomaly_score, image),
        },
        returns_image={"serving_default", "decode", "generate"},
    )
