"""Reads Transform's examples into memory: all of MNIST as float32 is 220 MB, so nothing streams.

Contract: TFRecords (gzip) of tf.Example with ``image`` float32 [28, 28, 1] in [0, 1], ``label``
int64, perhaps ``label_name`` text, and the constant columns ``pixel_mean``, ``pixel_std`` and
``num_classes`` of the Transform graph. TensorFlow is imported only inside ``read_digits``. 60,000
images take about 3 s.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from core.config import InputError
from core.images import IMAGE_SHAPE
from core.statistics import LABEL_NAME

_ROWS_PER_PARSE = 2048


@dataclasses.dataclass(frozen=True)
class Digits:
    """One split: images [N, 28, 28, 1] float32 in [0, 1], labels [N] int64, and its statistics.

    ``pixel_mean`` and ``pixel_std`` are Transform's full-pass statistics of the train split, the
    same for every split of a run. Labels are for the judge and for scoring only.
    """

    images: np.ndarray
    labels: np.ndarray
    pixel_mean: float
    pixel_std: float
    num_classes: int
    names: tuple[str, ...] = ()  # [num_classes] of the classes; empty where they have none


def class_words(names: Sequence[str], num_classes: int) -> list[str]:
    """What each class is called: its name, or its number where the classes have no names."""
    return list(names) or [str(k) for k in range(num_classes)]


def read_digits(file_patterns: Sequence[str]) -> Digits:
    """Reads every example that the glob patterns match, in file order.

    Raises:
        InputError: No file matches, or the files hold no example.
    """
    import tensorflow as tf

    files = sorted(f for pattern in file_patterns for f in tf.io.gfile.glob(pattern))
    if not files:
        raise InputError(f"No examples match {', '.join(file_patterns)}; run the Transform node.")
    spec = {
        "image": tf.io.FixedLenFeature(IMAGE_SHAPE, tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "pixel_mean": tf.io.FixedLenFeature([], tf.float32),
        "pixel_std": tf.io.FixedLenFeature([], tf.float32),
        "num_classes": tf.io.FixedLenFeature([], tf.int64),
        LABEL_NAME: tf.io.FixedLenFeature([], tf.string, default_value=""),
    }
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_ROWS_PER_PARSE)
    blocks = [tf.io.parse_example(block, spec) for block in records]
    if not blocks:
        raise InputError(f"The examples in {', '.join(files)} are empty; run the Transform node.")
    labels = np.concatenate([b["label"].numpy() for b in blocks])
    num_classes = int(blocks[0]["num_classes"][0])
    names = np.concatenate([b[LABEL_NAME].numpy() for b in blocks])
    return Digits(
        images=np.concatenate([b["image"].numpy() for b in blocks]),
        labels=labels,
        pixel_mean=float(blocks[0]["pixel_mean"][0]),
        pixel_std=float(blocks[0]["pixel_std"][0]),
        num_classes=num_classes,
        names=_class_names(labels, names, num_classes),
    )


def _class_names(labels: np.ndarray, names: np.ndarray, num_classes: int) -> tuple[str, ...]:
    """Name of each class; the number of one without an image, nothing if there are no names."""
    if not names[0]:
        return ()
    known, first = np.unique(labels, return_index=True)
    found = {int(k): names[i].decode() for k, i in zip(known, first, strict=True)}
    return tuple(found.get(k, str(k)) for k in range(num_classes))
