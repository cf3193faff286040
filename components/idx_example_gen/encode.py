"""Images, labels and scalars as serialised tf.Examples, and the choice of the eval images.

Works on blocks: the scalars are vectorised, so that only the protobuf message is made per image, in
13 microseconds. Contract: see ``encode_examples``.
"""

import hashlib

import numpy as np

from components.idx_example_gen import scalars


def encode_examples(images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    """Serialises a block, in order and the same bytes each time.

    Args:
        images: uint8 [N, 28, 28].
        labels: uint8 [N].

    Returns:
        N tf.Examples with ``image`` (784 raw bytes, row by row), ``label`` and the floats
        ``scalars.NAMES``.
    """
    from tensorflow.core.example import example_pb2

    values = scalars.compute_scalars(images)
    columns = {name: value.tolist() for name, value in values.items()}
    records = []
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        example = example_pb2.Example()
        feature = example.features.feature
        feature["image"].bytes_list.value.append(image.tobytes())
        feature["label"].int64_list.value.append(label)
        for name, column in columns.items():
            feature[name].float_list.value.append(column[row])
        records.append(example.SerializeToString(deterministic=True))
    return records


# 60,000 images of MNIST give about 55,000 and 5,000.
TRAIN_BUCKETS, EVAL_BUCKETS = 11, 1


def choose_eval(
    images: np.ndarray, train_buckets: int = TRAIN_BUCKETS, eval_buckets: int = EVAL_BUCKETS
) -> np.ndarray:
    """Chooses eval images by a hash of their pixels: bool [N] for uint8 [N, 28, 28].

    The choice depends only on the image, so it is the same in every run and for every subset, and
    copies of an image always go to the same split.
    """
    buckets = train_buckets + eval_buckets
    digests = (hashlib.sha256(image.tobytes()).digest() for image in images)
    return np.array([int.from_bytes(d[:8], "big") % buckets >= train_buckets for d in digests])
