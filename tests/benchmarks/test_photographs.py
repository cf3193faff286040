"""``fit_digit`` on every kind of photograph, read by a classifier that saw none of the digits."""

import numpy as np
import pytest

from benchmarks.photograph_kinds import KINDS, photograph
from benchmarks.photograph_nothing import NO_DIGIT
from benchmarks.photographs import Result, choose_digits, measure, train_reader
from benchmarks.splits import read_splits
from tests.serving.conftest import ROOT

pytestmark = pytest.mark.extended

SEED = 12
# Kinds of which up to three pictures in five may be refused, not one.
OFTEN_REFUSED = {"dark ruled paper", "squared paper"}


@pytest.fixture(scope="module")
def digits():
    """The reader; ten digits, one of each class, and their labels."""
    splits = read_splits(f"{ROOT}/data/mnist")
    reader = train_reader(splits, epochs=1)
    return reader, *choose_digits(splits.held_out, reader, 10, SEED)


def test_the_reader_reads_clean_digits(digits):
    reader, images, labels = digits
    assert labels.tolist() == list(range(10))
    assert (reader(images[..., None] / np.float32(255)) == labels).mean() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_read_right_or_refused(digits, kind):
    reader, images, labels = digits
    half = slice(list(KINDS).index(kind) % 2, None, 2)  # the even digits, or the odd ones
    result = measure(kind, images[half], labels[half], reader, 1000 * SEED)
    assert not result.misses(kind not in NO_DIGIT), result.refusals
    if kind not in NO_DIGIT:
        assert result.accepted >= (2 if kind in OFTEN_REFUSED else 4), result.refusals
    for words in result.refusals:
        assert words.endswith(".") and "\n" not in words


def test_a_digit_that_is_lost_misses_the_targets():
    """The targets can be missed: a wrong answer in silence, and too few right ones."""
    images = np.zeros((10, 28, 28, 1), "float32")
    silent = Result(10, 9, 0, 0, 1, (), images)
    assert silent.misses(True) == [
        "90.0% of the accepted are read right", "1 are read wrong without a warning",
    ]  # fmt: skip
    assert Result(40, 38, 0, 1, 1, (), images).misses(True) == []
    assert Result(10, 0, 0, 0, 0, ("no",) * 10, images[:0]).misses(True) == []


def test_the_same_seed_gives_the_same_picture(digits):
    _, images, _ = digits
    for kind in KINDS:
        one, again, other = (np.asarray(photograph(kind, images[3], s)) for s in (1, 1, 2))
        np.testing.assert_array_equal(one, again)
        assert one.shape != other.shape or (one != other).any(), kind
