"""SavedModels with named signatures, each also with PNG files in place of float images.

The only module of the trainers that needs TensorFlow throughout. Tensor names follow TensorFlow
Serving's rule that a string tensor ending in ``_bytes`` travels as base64 over REST.
"""

import dataclasses
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.images import CHANNELS, HEIGHT, IMAGE_SHAPE, WIDTH

IMAGE = "image"
IMAGE_BYTES = "image_bytes"
MAX_COUNT = 10_000  # images that one call may request
_CHUNK = 1000  # images that a network generates at one time: ten times as many take 1.4 GB
# How a PNG of this size begins: its signature, the header chunk's length and type, and the sizes.
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">II", WIDTH, HEIGHT)


@dataclasses.dataclass(frozen=True)
class Signature:
    """One entry point: ``function`` takes the inputs by name and returns outputs by name."""

    function: Callable[..., Mapping[str, Any]]
    inputs: Mapping[str, Any]  # name -> tf.TensorSpec


def image_spec():
    """float32 [B, 28, 28, 1] in [0, 1]."""
    return spec(IMAGE, [None, *IMAGE_SHAPE])


def spec(name: str, shape, dtype: str = "float32"):
    """A named input tensor."""
    import tensorflow as tf

    return tf.TensorSpec(shape, dtype, name=name)


def check(is_right, sentence, value):
    """Returns ``value``; the call fails if ``is_right`` is false.

    Args:
        is_right: A scalar.
        sentence: The error message, a text or a string tensor.
        value: A tensor.
    """
    import tensorflow as tf

    with tf.control_dependencies([tf.debugging.Assert(is_right, [sentence])]):
        return tf.identity(value)


def check_between(name: str, value, low: int, high: int):
    """``value``, an int32 scalar; the call fails with a sentence unless low <= value <= high."""
    import tensorflow as tf

    sentence = [f"The input {name} is ", f"; it must be between {low} and {high}."]
    words = tf.strings.join([sentence[0], tf.strings.as_string(value), sentence[1]])
    return check(tf.logical_and(value >= low, value <= high), words, value)


def in_chunks(function: Callable, *tensors):
    """``function`` of the tensors, ``_CHUNK`` rows at a time, so that memory stays bounded.

    Args:
        function: Tensors [B, ...] to images [B, 28, 28, 1], row by row.
        tensors: Of one first dimension, at least 1.
    """
    import tensorflow as tf

    starts = tf.range(0, tf.shape(tensors[0])[0], _CHUNK)
    images = tf.TensorArray(
        tf.float32, tf.size(starts), infer_shape=False, element_shape=[None, *IMAGE_SHAPE]
    )

    def one(i, images):
        rows = slice(starts[i], starts[i] + _CHUNK)
        return i + 1, images.write(i, function(*[tensor[rows] for tensor in tensors]))

    _, images = tf.while_loop(
        lambda i, _: i < tf.size(starts), one, (0, images), parallel_iterations=1
    )
    return tf.ensure_shape(images.concat(), [None, *IMAGE_SHAPE])


def decode_png(image_bytes):
    """PNG files [B] -> float32 [B, 28, 28, 1] in [0, 1]; another size or format is refused.

    The header is checked first: a file of a few bytes may declare gigabytes of pixels.
    """
    import tensorflow as tf

    is_right = tf.strings.substr(image_bytes, 0, len(_PNG_START)) == _PNG_START
    image_bytes = check(
        tf.reduce_all(is_right),
        f"A PNG must be {HEIGHT} pixels high and {WIDTH} wide.",
        image_bytes,
    )

    def one(data):
        image = tf.ensure_shape(tf.io.decode_png(data, channels=CHANNELS), IMAGE_SHAPE)
        return tf.cast(image, tf.float32) / 255.0

    return tf.map_fn(one, image_bytes, tf.TensorSpec(IMAGE_SHAPE, tf.float32))


def encode_png(image):
    """float32 [B, 28, 28, 1] in [0, 1] -> 8-bit grey PNG files [B]."""
    import tensorflow as tf

    pixels = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)
    return tf.map_fn(tf.io.encode_png, pixels, tf.TensorSpec([], tf.string))


def with_png(signatures: Mapping[str, Signature], returns_image: set[str]) -> dict[str, Signature]:
    """Adds ``<name>_png`` for every signature that takes or returns images.

    A function becomes one graph, whatever number of signatures call it: building graphs takes most
    of the time of an export, and a server reads them all.

    Args:
        signatures: Signatures on float images.
        returns_image: Names of the signatures whose outputs hold ``image``.
    """
    import tensorflow as tf

    functions = {each.function for each in signatures.values()}
    graphs = {function: tf.function(function, autograph=False) for function in functions}
    signatures = {
        name: dataclasses.replace(each, function=graphs[each.function])
        for name, each in signatures.items()
    }
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
    """Writes ``signatures`` to ``folder``, with each weight once.

    Not with Keras' ``ExportArchive``: version 3.15 writes every weight twice, which doubles the
    files and the time that a server takes to load them, and builds each graph twice.

    Args:
        folder: Made here.
        networks: Keras models whose weights the signatures use; nested ones may be listed too.
        signatures: By name.

    Raises:
        ValueError: There is no ``serving_default`` among the signatures.
    """
    import tensorflow as tf

    if "serving_default" not in signatures:
        raise ValueError("A SavedModel needs a signature named serving_default.")
    held = tf.Module()
    held.weights = [weight.value for network in networks for weight in network.variables]
    endpoints = {name: _endpoint(signature) for name, signature in signatures.items()}
    tf.saved_model.save(held, str(folder), endpoints)


def _endpoint(signature: Signature) -> Any:
    """The signature's own graph, which takes its inputs by name."""
    import tensorflow as tf

    def call(*values):
        return signature.function(**dict(zip(signature.inputs, values, strict=True)))

    specs = list(signature.inputs.values())
    return tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
