"""The small data set that other tests train on is a true cut of the real one."""

import gzip
import struct
from pathlib import Path

import pytest

from tests.conftest import SMALL_TEST, SMALL_TRAIN, cut_idx


@pytest.mark.parametrize(("prefix", "count"), [("train", SMALL_TRAIN), ("t10k", SMALL_TEST)])
def test_small_data_set_is_the_start_of_the_real_one(
    mnist_dir: Path, small_mnist_dir: Path, prefix: str, count: int
):
    for kind, header in (("images-idx3", (2051, count, 28, 28)), ("labels-idx1", (2049, count))):
        name = f"{prefix}-{kind}-ubyte.gz"
        small = gzip.decompress((small_mnist_dir / name).read_bytes())
        size = 4 * len(header)
        assert struct.unpack(f">{len(header)}I", small[:size]) == header
        record = 784 if kind.startswith("images") else 1
        assert len(small) == size + count * record
        with gzip.open(mnist_dir / name) as stream:
            assert stream.read(len(small))[size:] == small[size:]


def test_small_data_set_holds_every_digit(small_mnist_dir: Path):
    for prefix in ("train", "t10k"):
        labels = gzip.decompress((small_mnist_dir / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
        assert set(labels[8:]) == set(range(10))


def test_same_cut_is_the_same_bytes(mnist_dir: Path, tmp_path: Path):
    source = mnist_dir / "t10k-labels-idx1-ubyte.gz"
    for name in ("a", "b"):
        cut_idx(source, tmp_path / name, 50)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ValueError, match="holds 10000 records, not 10001"):
        cut_idx(source, tmp_path / "c", 10001)
