"""Serialised examples hold what they should; the choice of eval images is by pixels alone."""

from pathlib import Path

import numpy as np
import pytest

from components.idx_example_gen import data, encode, scalars


@pytest.fixture(scope="module")
def train(mnist_dir: Path) -> data.Pair:
    return data.read_data(str(mnist_dir)).splits["train"]


def test_example_holds_pixels_label_and_scalars(train: data.Pair):
    from tensorflow.core.example import example_pb2

    labels = np.array([0, 127, 128, 255], np.uint8)
    records = encode.encode_examples(train.images[:4], labels)
    values = scalars.compute_scalars(train.images[:4])
    for row, record in enumerate(records):
        feature = example_pb2.Example.FromString(record).features.feature
        assert sorted(feature) == sorted((*scalars.NAMES, "image", "label"))
        assert feature["image"].bytes_list.value[:] == [train.images[row].tobytes()]
        assert feature["label"].int64_list.value[:] == [labels[row]]
        for name in scalars.NAMES:
            assert feature[name].float_list.value[:] == [values[name][row]]


def test_the_same_block_is_the_same_bytes(train: data.Pair):
    first, second = (encode.encode_examples(train.images[:50], train.labels[:50]) for _ in "ab")
    assert first == second


def test_a_twelfth_of_mnist_goes_to_eval(train: data.Pair):
    is_eval = encode.choose_eval(train.images)
    assert is_eval.sum() == 4990
    shares = np.bincount(train.labels[is_eval]) / np.bincount(train.labels)
    assert abs(shares - 1 / 12).max() < 0.015


def test_choice_depends_on_the_picture_alone(train: data.Pair):
    is_eval = encode.choose_eval(train.images[:300])
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(encode.choose_eval(train.images[order]), is_eval[order])
    copies = np.repeat(train.images[:1], 5, axis=0)
    assert len(set(encode.choose_eval(copies).tolist())) == 1


def test_a_part_is_the_first_images_only_if_they_are_like_the_whole():
    images = np.random.default_rng(0).integers(0, 256, (4000, 28, 28), dtype=np.uint8)
    mixed = (np.arange(4000) % 10).astype(np.uint8)
    assert encode.choose_part(images, mixed, 1000, has_eval=True) is None
    assert encode.choose_part(images, mixed, 4000, has_eval=True) is None
    # Every class is there, in another share than in the whole.
    skewed = mixed.copy()
    skewed[:1000][mixed[:1000] == 1] = 0
    skewed[0:1000:100] = 1
    # One class is not among the first.
    late = mixed.copy()
    late[:1000][mixed[:1000] == 1] = 2
    late[1000:3000][mixed[1000:3000] == 2] = 1
    for labels in (skewed, late):
        rows = encode.choose_part(images, labels, 1000, has_eval=False)
        assert len(rows) == 1000 and (np.diff(rows) > 0).all()
        np.testing.assert_allclose(
            np.bincount(labels[rows]) / 1000, np.bincount(labels) / 4000, atol=0.002
        )
    # One class is so rare that few of its images go to eval: one of them is taken.
    rare = mixed.copy()
    rare[:] = np.arange(4000) % 9
    rare[3000:3030] = 9
    is_eval = encode.choose_eval(images)
    assert (is_eval & (rare == 9)).any()
    rows = encode.choose_part(images, rare, 1000, has_eval=True)
    assert rows is not None
    assert set(rare[rows][is_eval[rows]]) == set(range(10))
