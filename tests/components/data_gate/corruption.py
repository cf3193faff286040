"""The ways in which data goes wrong, as functions of (images, labels), and the sentence for each.

Used on statistics (test_gate) and on whole files through the pipeline (test_data_gate_node).
"""

import numpy as np

from components.idx_example_gen import data, idx


def invert(images, labels):
    return 255 - images, labels


def blank(images, labels):
    return np.zeros_like(images), labels


def shift(images, labels):
    """Six pixels to the right; what leaves the picture is lost."""
    moved = np.zeros_like(images)
    moved[:, :, 6:] = images[:, :, :-6]
    return moved, labels


def double(images, labels):
    return np.minimum(images.astype(np.uint16) * 2, 255).astype(np.uint8), labels


def drop_class(images, labels):
    return images[labels != 7], labels[labels != 7]


def halve(images, labels):
    return images[: len(images) // 2], labels[: len(labels) // 2]


def transpose(images, labels):
    return np.ascontiguousarray(images.transpose(0, 2, 1)), labels


# What the gate must say of each, in its first sentences.
EXPECTED = {
    invert: "mean_intensity in train: .*are the images inverted",
    blank: "mean_intensity in train: .*mean 0, was 0.131; is every image blank",
    shift: "center_x in train: .*are the images shifted right by 5.8 pixels",
    double: "saturation in train: .*have the pixel values been made larger",
    drop_class: "train has no image of class 7; the labels should run from 0 to 9",
    halve: r"holds .* images, (49|50|51)\.\d% of the .* expected.*: is its file complete",
    transpose: "are the images transposed, their rows and columns swapped",
}


def corrupt_files(data_dir, how, first: int | None = None) -> None:
    """Rewrites the four IDX files of ``data_dir``, or their ``first`` images, by ``how``."""
    for split, pair in data.read_data(str(data_dir)).splits.items():
        images, labels = how(pair.images[:first], pair.labels[:first])
        prefix = {"train": "train", "test": "t10k"}[split]
        idx.write_idx(f"{data_dir}/{prefix}-images-idx3-ubyte.gz", images)
        idx.write_idx(f"{data_dir}/{prefix}-labels-idx1-ubyte.gz", labels)
