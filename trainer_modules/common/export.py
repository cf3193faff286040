"""SavedModels with named signatures, each also with PNG files in place of float images.

The one module of the trainers that is TensorFlow through and through: it is the serving edge.
Tensor names follow TensorFlow Serving's rule that a string tensor ending in ``_bytes`` travels as
base64 over REST.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

IMAGE = "image"
IMAGE_BYTES = "image_bytes"


@dataclasses.dataclass(frozen=True)
class Signature:
    """One entry point: ``function`` takes the inputs by name and returns outputs by name."""

    function: Callable[..., Mapping[str, Any]]
    inputs: Mapping[str, Any]  # name -> tf.TensorSpec


def image_spec():
    """float32 [B, 28, 28, 1] in [0, 1]."""
    import tensorflow as tf

    return tf.TensorSpec([None, 28, 28, 1], tf.float32, name=IMAGE)


def spec(name: str, shape, dtype: str = "float32"):
    """A named input tensor."""
    import tensorflow as tf

    return tf.TensorSpec(shape, dtype, name=name)


def decode_png(image_bytes):
    """PNG files [B] -> float32 [B, 28, 28, 1] in [0, 1]; another size fails with its shape."""
    import tensorflow as tf

    def one(data):
        image = tf.io.decode_png(data, channels=1)
        right = tf.debugging.assert_equal(
            tf.shape(image), [28, 28, 1], "A PNG must be 28 pixels high and 28 wide."
        )
        with tf.control_dependencies([right]):
            image = tf.reshape(image, [28, 28, 1])
        return tf.cast(image, tf.float32) / 255.0

    return tf.map_fn(one, image_bytes, tf.TensorSpec([28, 28, 1], tf.float32))


def encode_png(image):
    """float32 [B, 28, 28, 1] in [0, 1] -> 8-bit grey PNG files [B]."""
    import tensorflow as tf

    pixels = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)
    return tf.map_fn(tf.io.encode_png, pixels, tf.TensorSpec([], tf.string))


def with_png(signatures: Mapping[str, Signature], returns_image: set[str]) -> dict[str, Signature]:
    """Adds ``<name>_png`` beside every signature that takes or returns images.

    Args:
        signatures: Signatures on float images.
        returns_image: Names of the signatures whose outputs hold ``image``.
    """
    twins = {
        f"{name}_png": _png_twin(signature)
        for name, signature in signatures.items()
        if name in returns_image or IMAGE in signature.inputs
    }
    return {**signatures, **twins}


def _png_twin(signature: Signature) -> Signature:
    inputs = {
        (IMAGE_BYTES if name == IMAGE else name): (
            spec(IMAGE_BYTES, [None], "string") if name == IMAGE else value
        )
        for name, value in signature.inputs.items()
    }

    def function(**values):
        if IMAGE_BYTES in values:
            values[IMAGE] = decode_png(values.pop(IMAGE_BYTES))
        outputs = dict(signature.function(**values))
        if IMAGE in outputs:
            outputs[IMAGE_BYTES] = encode_png(outputs.pop(IMAGE))
        return outputs

    return Signature(function, inputs)


def write_saved_model(
    folder: str | Path, networks: list[Any], signatures: Mapping[str, Signature]
) -> None:
    """Writes ``signatures`` over ``networks`` (Keras models whose weights they use) to ``folder``.

    Raises:
        ValueError: There is no ``serving_default`` among the signatures.
    """
    import keras

    if "serving_default" not in signatures:
        raise ValueError("A SavedModel needs a signature named serving_default.")
    archive = keras.export.ExportArchive()
    for network in networks:
        archive.track(network)
    for name, signature in signatures.items():
        specs = list(signature.inputs.values())
        archive.add_endpoint(name, _positional(signature), input_signature=specs)
    archive.write_out(str(folder), verbose=False)


def _positional(signature: Signature) -> Callable:
    """Keras calls an endpoint with its tensors in order; ours take them by name."""

    def endpoint(*values):
        return signature.function(**dict(zip(signature.inputs, values, strict=True)))

    return endpoint
