"""MNIST's splits from the IDX files, without TensorFlow: the same as the pipeline's.

Contract: the splits that ExampleGen and Transform give to the trainers. The train file is divided
by the same hash of the pixels (about 55,000 and 5,000), and the pixels' mean and standard deviation
are of the train split only. Reading all 70,000 images takes about a second.
"""

import dataclasses

import numpy as np

from components.idx_example_gen.data import cut, read_data
from components.idx_example_gen.encode import choose_eval
from core.digits import Digits


@dataclasses.dataclass(frozen=True)
class Splits:
    """``held_out`` is in no training; ``test`` is for final metrics only."""

    train: Digits
    held_out: Digits
    test: Digits


def read_splits(data_dir: str, max_images: int | None = None) -> Splits:
    """Reads at most ``max_images`` of both splits, as a run does; None takes all.

    Raises:
        InputError: The directory lacks a file, or a file is faulty.
    """
    pairs = read_data(data_dir).splits
    if max_images is not None:
        pairs = cut(pairs, max_images)
    images, labels = pairs["train"].images, pairs["train"].labels
    is_held_out = choose_eval(images)
    pixels = images[~is_held_out]
    mean, std = float(pixels.mean()) / 255, float(pixels.std()) / 255
    classes = int(labels[~is_held_out].max()) + 1

    def digits(images: np.ndarray, labels: np.ndarray) -> Digits:
        unit = (images / np.float32(255))[..., None]
        return Digits(unit, labels.astype(np.int64), mean, std, classes)

    return Splits(
        digits(images[~is_held_out], labels[~is_held_out]),
        digits(images[is_held_out], labels[is_held_out]),
        digits(pairs["test"].images, pairs["test"].labels),
    )


def first_images(digits: Digits, count: int | None) -> Digits:
    """The first ``count`` images and labels; all of them if it is None."""
    return dataclasses.replace(digits, images=digits.images[:count], labels=digits.labels[:count])
