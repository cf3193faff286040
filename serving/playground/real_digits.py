"""Makes ``page/digits.png``, the real digits that the playground shows and compares with.

Contract: the first ten of each class in MNIST's test split, which no model was trained on. One row
of the picture is one class, so row and label are the same number. MNIST is by Y. LeCun, C. Cortes
and C. J. C. Burges, under CC BY-SA 3.0 (data/mnist/README.md); the page names it. Makes the
file again, the same bytes each time:

    python -m serving.playground.real_digits
"""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

SPRITE = Path(__file__).parent / "page" / "digits.png"
EACH, SIDE, CLASSES = 10, 28, 10
_MNIST = Path(__file__).resolve().parents[2] / "data" / "mnist"
_IMAGES, _LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
_IMAGES_HEADER, _LABELS_HEADER = 16, 8  # bytes


def real_digits(folder: Path = _MNIST) -> np.ndarray:
    """uint8 [280, 280]: ten digits of each class, a class a row."""
    pixels = _values(folder / _IMAGES, _IMAGES_HEADER)
    labels = _values(folder / _LABELS, _LABELS_HEADER)
    images = pixels.reshape(-1, SIDE, SIDE)
    chosen = np.stack([images[labels == label][:EACH] for label in range(CLASSES)])
    return chosen.transpose(0, 2, 1, 3).reshape(CLASSES * SIDE, EACH * SIDE)


def _values(file: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=header)


if __name__ == "__main__":
    Image.fromarray(real_digits()).save(SPRITE, optimize=True)
