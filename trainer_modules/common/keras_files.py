"""Files next to a SavedModel: Keras networks for a warm start, grids of images."""

import io
from pathlib import Path

import keras
import numpy as np

from core.artifacts import KERAS_DIR
from core.config import InputError
from core.files import write_whole
from core.images import HEIGHT, WIDTH


def save_network(network: keras.Model, folder: Path, name: str) -> None:
    """Saves ``network`` as Format-Keras/<name>.keras for a later warm start."""
    path = folder / KERAS_DIR / f"{name}.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    network.save(path)


def load_network(folder: Path, name: str) -> keras.Model:
    """Loads a Keras file of a trained model.

    Raises:
        InputError: The folder has no network of that name.
    """
    path = folder / f"{name}.keras"
    if not path.exists():
        raise InputError(f"The base model has no {path}; train it with this version first.")
    return keras.models.load_model(path, compile=False)


def freeze_all_but(network: keras.Model, prefixes: tuple[str, ...]) -> None:
    """Leaves only the layers whose names start with one of ``prefixes`` trainable.

    Raises:
        InputError: No layer with weights matches.
    """
    for layer in network.layers:
        layer.trainable = layer.name.startswith(prefixes)
    if not network.trainable_variables:
        raise InputError(f"No layer of {network.name} starts with {', '.join(prefixes)}.")


def save_grid(images: np.ndarray, path: Path, columns: int = 8) -> None:
    """Writes images [N, 28, 28, 1] in [0, 1] as one PNG, twice enlarged, row by row."""
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * columns, HEIGHT, WIDTH), np.float32)
    sheet[: len(images)] = images[..., 0]
    sheet = sheet.reshape(rows, columns, HEIGHT, WIDTH).transpose(0, 2, 1, 3)
    sheet = sheet.reshape(rows * HEIGHT, columns * WIDTH).repeat(2, axis=0).repeat(2, axis=1)
    file = io.BytesIO()
    keras.utils.save_img(file, sheet[..., None] * 255, file_format="png", scale=False)
    write_whole(path, file.getvalue())  # the page of a run may be reading it
