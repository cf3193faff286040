"""Images and labels as the pipeline reads them."""

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
