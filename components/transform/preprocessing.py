"""preprocessing_fn of the Transform node: images to float32 [28, 28, 1] in [0, 1].

Contract: inputs ``image`` (784 raw bytes) and ``label``; outputs ``image``, ``label`` and three
constant columns from a full pass over the train split: ``pixel_mean`` and ``pixel_std`` of the
pixels in [0, 1] (the sigma_data of the diffusion model's preconditioning) and ``num_classes``; and
``label_name`` where the classes have names. The
scalars of ExampleGen are for the data gate and end here. Used by import path, never as a file.
"""

import tensorflow as tf
import tensorflow_transform as tft

from core.images import IMAGE_SHAPE, PIXELS
from core.statistics import LABEL_NAME

_BITS = 8


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Normalises a batch; the full-pass statistics come from the analysed split only."""
    # decode_raw's own fixed_length would silently pad or cut an image of another size.
    raw = tf.ensure_shape(tf.io.decode_raw(inputs["image"], tf.uint8), [None, PIXELS])
    pixels = tf.cast(tf.reshape(raw, [-1, *IMAGE_SHAPE]), tf.float32) / (2**_BITS - 1)
    label = tf.reshape(inputs["label"], [-1])
    count = tf.shape(label)[:1]

    # The analysers sum per-image moments rather than 784 times as many pixels. All images are of
    # one size, so the mean of means is the mean, and E[x^2] - E[x]^2 the variance; float64 keeps
    # the difference exact enough.
    precise = tf.cast(pixels, tf.float64)
    mean = tft.mean(tf.reduce_mean(precise, axis=[1, 2, 3]))
    mean_square = tft.mean(tf.reduce_mean(precise**2, axis=[1, 2, 3]))
    deviation = tf.sqrt(tf.maximum(mean_square - mean**2, 0.0))
    named = {LABEL_NAME: tf.reshape(inputs[LABEL_NAME], [-1])} if LABEL_NAME in inputs else {}
    return named | {
        "image": pixels,
        "label": label,
        "pixel_mean": tf.fill(count, tf.cast(mean, tf.float32)),
        "pixel_std": tf.fill(count, tf.cast(deviation, tf.float32)),
        "num_classes": tf.fill(count, tft.max(label) + 1),
    }
