"""Digits, as a trainer reads them: real images, no TFX in between; no image is in two splits."""

import gzip
import types
from pathlib import Path

import numpy as np
import pytest

from core.digits import Digits
from trainer_modules.common import export

MNIST = Path(__file__).resolve().parents[2] / "data" / "mnist"
COUNT, HELD_OUT = 256, 128


def read_train_file(start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 28, 28, 1] in [0, 1] and labels [N] of MNIST's train file."""
    with gzip.open(MNIST / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + (start + count) * 784)[16 + start * 784 :], np.uint8)
    with gzip.open(MNIST / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + start + count)[8 + start :], np.uint8)
    return (pixels.reshape(-1, 28, 28, 1) / 255).astype("float32"), labels.astype("int64")


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The train split: 256 images."""
    images, labels = read_train_file(0, COUNT)
    return Digits(images, labels, float(images.mean()), float(images.std()), 10)


@pytest.fixture(scope="session")
def held_out(digits) -> Digits:
    """The eval split: the 128 images after those, with the constants of the train split."""
    images, labels = read_train_file(COUNT, HELD_OUT)
    return Digits(images, labels, digits.pixel_mean, digits.pixel_std, 10)


def write_examples(digits: Digits, folder: Path) -> str:
    """Writes one gzip TFRecord file as Transform does; a glob pattern."""
    import tensorflow as tf

    def floats(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def ints(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))

    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(folder / "part-0.gz"), options) as writer:
        for image, label in zip(digits.images, digits.labels, strict=True):
            features = {
                "image": floats(image.ravel()),
                "label": ints(label),
                "pixel_mean": floats([digits.pixel_mean]),
                "pixel_std": floats([digits.pixel_std]),
                "num_classes": ints(10),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return str(folder / "part-*")


@pytest.fixture(scope="session")
def example_files(digits, tmp_path_factory) -> str:
    """The train split as a trainer's files."""
    return write_examples(digits, tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="session")
def held_out_files(held_out, tmp_path_factory) -> str:
    """The eval split as a trainer's files."""
    return write_examples(held_out, tmp_path_factory.mktemp("held_out"))


@pytest.fixture
def only_weights(monkeypatch):
    """Leaves out SavedModel and sampler, most of a small training's time, as they train nothing."""
    from trainer_modules.diffusion import train

    grid = np.zeros((64, 28, 28, 1), "float32")
    monkeypatch.setattr(train, "draw_samples", lambda *arguments, **more: grid)
    monkeypatch.setattr(export, "write_saved_model", lambda *arguments: None)


@pytest.fixture(scope="session")
def fn_args(example_files, held_out_files, tmp_path_factory):
    """Builds the part of TFX's FnArgs that a trainer reads."""

    def build(name: str, config: dict, base=None):
        folder = tmp_path_factory.mktemp(name)
        return types.SimpleNamespace(
            train_files=[example_files],
            eval_files=[held_out_files],
            serving_model_dir=str(folder / "Format-Serving"),
            model_run_dir=str(folder / "logs"),
            base_model=None if base is None else base.serving_model_dir,
            custom_config={"config": config},
        )

    return build
