"""Images and labels as the pipeline reads them, and rows of images for the eye."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.idx_example_gen.config import DataConfig
from components.idx_example_gen.data import read_data

_MNIST = Path(__file__).resolve().parents[1] / "data" / "mnist"


def read_images(
    data: str | Path | None = None, split: str = "test", count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [N, 28, 28, 1] in [0, 1] and labels int64 [N] of ``train`` or ``test``.

    Args:
        data: Directory in any format that ``inkwell run --data`` takes; None takes MNIST.
        split: train (of which a run holds a twelfth out) or test.
        count: The first so many; None takes all.

    Raises:
        InputError: The directory holds no data, or a file is faulty.
    """
    found = read_data(str(_MNIST if data is None else data), DataConfig()).splits[split]
    images = found.images[:count].astype("float32")[..., None] / np.float32(255)
    return images, found.labels[:count].astype("int64")


def show(rows: Sequence[np.ndarray], titles: Sequence[str], size: float = 1.1) -> None:
    """Draws rows of images [N, 28, 28, 1] in [0, 1] with Matplotlib, each row with a title."""
    import matplotlib.pyplot as plt

    columns = len(rows[0])
    figure, axes = plt.subplots(len(rows), columns, figsize=(size * columns, size * len(rows)))
    for row, title, line in zip(rows, titles, np.atleast_2d(axes), strict=True):
        for axis, image in zip(line, row, strict=True):
            axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(title, rotation=0, ha="right", va="center")
    figure.tight_layout()
