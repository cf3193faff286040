"""What the autoencoder serves: reconstruct, encode, decode, denoise, anomaly score."""

import keras
from keras import ops

from trainer_modules.autoencoder.model import pixel_cross_entropy, pixel_entropy
from trainer_modules.common.export import Signature, image_spec, spec, with_png


def signatures(encoder: keras.Model, decoder: keras.Model) -> dict[str, Signature]:
    """Named signatures on float32 images [B, 28, 28, 1] in [0, 1] and on PNG files.

    ``denoise`` is the same function as ``serving_default``: the code has no room for noise. The
    anomaly score is the cross-entropy above the image's own entropy, in nats per pixel.
    """

    def reconstruct(image):
        code = encoder(image, training=False)
        return {"image": ops.sigmoid(decoder(code, training=False))}

    def encode(image):
        return {"code": encoder(image, training=False)}

    def decode(code):
        return {"image": ops.sigmoid(decoder(code, training=False))}

    def anomaly_score(image):
        logits = decoder(encoder(image, training=False), training=False)
        return {"anomaly_score": pixel_cross_entropy(logits, image) - pixel_entropy(image)}

    image = {"image": image_spec()}
    code = {"code": spec("code", [None, encoder.output_shape[-1]])}
    return with_png(
        {
            "serving_default": Signature(reconstruct, image),
            "encode": Signature(encode, image),
            "decode": Signature(decode, code),
            "denoise": Signature(reconstruct, image),
            "anomaly_score": Signature(anomaly_score, image),
        },
        returns_image={"decode"},
    )
