"""Images, labels and scalars as serialised tf.Examples, and the choice of images.

Works on blocks: the scalars are vectorised, so that only the protobuf message is made per image, in
13 microseconds. Contract: see ``encode_examples``.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from components.idx_example_gen import scalars, spool
from core.statistics import LABEL_NAME


def encode_examples(
    images: np.ndarray,
    labels: np.ndarray,
    brightness: scalars.Brightness | None = None,
    names: Sequence[str] | None = None,
) -> list[bytes]:
    """Serialises a block, in order and the same bytes each time.

    Args:
        images: uint8 [N, 28, 28].
        labels: uint8 [N].
        brightness: Of the whole file; MNIST's by default.
        names: Of the classes, if they have any.

    Returns:
        N tf.Examples with ``image`` (784 raw bytes, row by row), ``label``, the floats
        ``scalars.NAMES`` and, where classes have names, ``label_name`` in UTF-8.
    """
    from tensorflow.core.example import example_pb2

    values = scalars.compute_scalars(images, brightness)
    columns = {name: value.tolist() for name, value in values.items()}
    records = []
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        example = example_pb2.Example()
        feature = example.features.feature
        feature["image"].bytes_list.value.append(image.tobytes())
        feature["label"].int64_list.value.append(label)
        if names is not None:
            feature[LABEL_NAME].bytes_list.value.append(names[label].encode())
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
    each = (image for block in spool.blocks(images) for image in block)
    digests = (hashlib.sha256(image.tobytes()).digest() for image in each)
    return np.array([int.from_bytes(d[:8], "big") % buckets >= train_buckets for d in digests])


_LARGEST_CHANGE = 0.05  # of a class's share, in a part that is like the whole


def choose_part(
    images: np.ndarray, labels: np.ndarray, count: int, has_eval: bool
) -> np.ndarray | None:
    """Chooses ``count`` images that are like the whole; None where the first ones are.

    The first ones are not if a class is missing or rare among them, as in files that are sorted.
    Then every class is taken in its share, and at least once for training and once for eval.

    Args:
        images: uint8 [N, 28, 28].
        labels: uint8 [N].
        count: How many; all, if there are fewer.
        has_eval: Whether a part of the images goes to eval.

    Returns:
        int64 [count] rows in their order.
    """
    if count >= len(labels):
        return None
    # Images go to eval by their pixels, so a rare class may have none there.
    groups = labels.astype(np.int64) * 2 + (choose_eval(images) if has_eval else 0)
    totals = np.bincount(groups)
    shares = np.bincount(labels) / len(labels)
    first = np.bincount(labels[:count], minlength=len(shares)) / count
    seen = np.bincount(groups[:count], minlength=len(totals))
    if not (seen[totals > 0] == 0).any() and abs(first - shares).max() <= _LARGEST_CHANGE:
        return None
    exact = totals * (count / len(labels))
    wanted = np.maximum(np.floor(exact), totals > 0).astype(np.int64)
    # What is left goes to the groups that rounding cut most; what is too much to the largest.
    for group in np.argsort(wanted - exact, kind="stable")[: max(0, count - wanted.sum())]:
        wanted[group] += 1
    while wanted.sum() > count:
        wanted[wanted.argmax()] -= 1
    return np.sort(
        np.concatenate([np.flatnonzero(groups == g)[:n] for g, n in enumerate(wanted) if n])
    )
