import numpy as np
import pytest

from benchmarks.splits import read_splits
from components.idx_example_gen.data import read_data
from components.idx_example_gen.encode import choose_eval
from core.config import InputError


def test_splits_are_those_of_the_pipeline(small_mnist_dir):
    found = read_splits(str(small_mnist_dir))
    raw = read_data(str(small_mnist_dir)).splits["train"]
    held_out = choose_eval(raw.images)
    for digits, rows in ((found.train, ~held_out), (found.held_out, held_out)):
        np.testing.assert_array_equal(np.rint(255 * digits.images[..., 0]), raw.images[rows])
        np.testing.assert_array_equal(digits.labels, raw.labels[rows])
        assert digits.images.dtype == np.float32 and digits.labels.dtype == np.int64
    assert 0.05 < held_out.mean() < 0.12
    test = read_data(str(small_mnist_dir)).splits["test"]
    np.testing.assert_array_equal(found.test.labels, test.labels)


def test_statistics_are_of_the_train_split_alone(small_mnist_dir):
    found = read_splits(str(small_mnist_dir))
    for digits in (found.train, found.held_out, found.test):
        assert digits.pixel_mean == pytest.approx(found.train.images.mean(), rel=1e-5)
        assert digits.pixel_std == pytest.approx(found.train.images.std(), rel=1e-5)
        assert digits.num_classes == 10


def test_the_first_images_of_both_files(small_mnist_dir):
    found = read_splits(str(small_mnist_dir), 500)
    assert len(found.train.images) + len(found.held_out.images) == 500 == len(found.test.images)


def test_a_missing_directory_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_splits(str(tmp_path / "none"))
