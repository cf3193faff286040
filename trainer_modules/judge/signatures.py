"""What the judge serves: logits, probabilities and the 128 features of each image."""

import keras

from trainer_modules.common.export import Signature, image_spec, with_png


def signatures(model: keras.Model) -> dict[str, Signature]:
    """``serving_default`` (image) -> logits [B, K], probabilities [B, K], features [B, 128]."""
    both = keras.Model(model.input, [model.output, model.get_layer("features").output])

    def classify(image):
        logits, features = both(image, training=False)
        probabilities = keras.ops.softmax(logits, axis=-1)
        return {"logits": logits, "probabilities": probabilities, "features": features}

    return with_png({"serving_default": Signature(classify, {"image": image_spec()})}, set())
