"""Serialised examples hold what they should; the choice of eval images is by pixels alone."""

from pathlib import Path

import numpy as np
import pytest

from components.idx_example_gen import encode, idx, scalars


@pytest.fixture(scope="module")
def train(mnist_dir: Path) -> idx.IdxPair:
    return idx.read_idx_pair(str(mnist_dir), "train")


def test_example_holds_pixels_label_and_scalars(train: idx.IdxPair):
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


def test_the_same_block_is_the_same_bytes(train: idx.IdxPair):
    first, second = (encode.encode_examples(train.images[:50], train.labels[:50]) for _ in "ab")
    assert first == second


def test_a_twelfth_of_mnist_goes_to_eval(train: idx.IdxPair):
    is_eval = encode.choose_eval(train.images)
    assert is_eval.sum() == 4990
    shares = np.bincount(train.labels[is_eval]) / np.bincount(train.labels)
    assert abs(shares - 1 / 12).max() < 0.015


def test_choice_depends_on_the_picture_alone(train: idx.IdxPair):
    is_eval = encode.choose_eval(train.images[:300])
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(encode.choose_eval(train.images[order]), is_eval[order])
    copies = np.repeat(train.images[:1], 5, axis=0)
    assert len(set(encode.choose_eval(copies).tolist())) == 1
