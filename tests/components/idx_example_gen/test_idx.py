"""IDX files: what is read, and the one sentence for everything that can be wrong with a file."""

import gzip
import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from components.idx_example_gen import arrays, idx
from core.config import InputError

IMAGES = np.arange(6 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(6, 28, 28)


def header(*sizes: int, kind: int = 0x08) -> bytes:
    """The bytes that an IDX file starts with."""
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, kind, len(sizes), *sizes)


def read(path: Path, kind: str = "images") -> np.ndarray:
    return idx.parse(io.BytesIO(path.read_bytes()), str(path), kind)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(28), st.just(28))),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_what_is_written_is_read_back(tmp_path: Path, array: np.ndarray, suffix: str):
    path = tmp_path / f"images{suffix}"
    idx.write_idx(str(path), array)
    np.testing.assert_array_equal(read(path), array)


def test_the_same_array_is_the_same_file(tmp_path: Path):
    contents = []
    for name in ("a.gz", "b.gz"):
        idx.write_idx(str(tmp_path / name), IMAGES)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert contents[0][4:8] == bytes(4)  # no time stamp


SOUND = header(2, 28, 28) + bytes(2 * 784)
BROKEN_IMAGES = {
    "empty": (b"", "is empty; copy or download it again"),
    "no IDX file": (b"\x89PNG....", "is not an IDX file: it starts with the bytes 89 50 4e 47"),
    "labels": (header(2) + bytes(2), "array of 1 dimensions, not images; are the images and"),
    "matrix": (header(2, 28) + bytes(56), "array of 2 dimensions (2x28), not images; images have"),
    "small digits": (header(1797, 64) + bytes(115008), "array of 2 dimensions (1797x64), not im"),
    "five sizes": (header(1, 1, 1, 28, 28) + bytes(784), "holds an array of 5 dimensions, not im"),
    "colour of another size": (header(2, 32, 32, 3) + bytes(6144), "images of 32x32 pixels; res"),
    "images last": (header(28, 28, 5) + bytes(3920), "its images last; save numpy.moveaxis(arra"),
    "little-endian": (b"\0\0\x08\x03" + struct.pack("<3I", 2, 28, 28) + bytes(1568), "big-endian"),
    "large": (header(2, 32, 32) + bytes(2048), "holds images of 32x32 pixels; resize them to 28x2"),
    "none": (header(0, 28, 28), "holds no images: its header announces 0"),
    "half a header": (header(2, 28, 28)[:9], "is cut short within its header"),
    "truncated": (SOUND[:-1], "announces 2 images (1568 bytes) but only 1567 bytes follow"),
    "trailing": (SOUND + b"x", "holds more than the 2 images (1568 bytes) that its header"),
    "a header that lies": (header(2**32 - 1, 28, 28) + bytes(9), "announces 4294967295 images"),
    "a gzip that lies": (gzip.compress(header(2**31, 28, 28) + bytes(9)), "but at most"),
    "cut gzip": (gzip.compress(SOUND)[:-9], "is cut short: its gzip stream has no end"),
    "bad checksum": (gzip.compress(SOUND)[:-8] + bytes(8), "is a damaged gzip file (CRC check"),
    "bad stream": (gzip.compress(SOUND)[:10] + b"\xff" * 20, "is a damaged gzip file"),
    "gzip of too much": (gzip.compress(SOUND + b"x"), "holds more than the 2 images"),
}


@pytest.mark.parametrize(("content", "sentence"), BROKEN_IMAGES.values(), ids=BROKEN_IMAGES.keys())
def test_broken_image_file_is_one_sentence_with_its_name(tmp_path, content, sentence):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read(path)
    assert str(path) in str(error.value) and sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_header_that_lies_takes_no_memory(tmp_path: Path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(header(2**31, 28, 28) + bytes(1 << 20)))
    tracemalloc.start()
    with pytest.raises(InputError, match="announces 2147483648 images"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_images_in_place_of_labels_are_named(tmp_path: Path):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(SOUND)
    with pytest.raises(InputError, match="3 dimensions, not labels; are the images and the labels"):
        arrays.to_labels(read(path, "labels"), str(path), print)


@pytest.mark.parametrize(
    ("code", "element"), [(9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
def test_every_type_of_the_format_is_read(tmp_path: Path, code: int, element: str):
    values = np.arange(2 * 784).reshape(2, 28, 28) % 120
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(header(2, 28, 28, kind=code) + values.astype(element).tobytes())
    array = read(path)
    assert array.dtype == np.dtype(element)
    np.testing.assert_array_equal(array, values)


MNIST = ["train-images", "train-labels", "t10k-images", "t10k-labels"]


@pytest.mark.parametrize(
    "paths",
    [
        [f"{name}-idx{3 - 2 * ('labels' in name)}-ubyte" for name in MNIST],
        [f"{name}.idx{3 - 2 * ('labels' in name)}-ubyte" for name in MNIST],
        [f"{name.upper()}-IDX{3 - 2 * ('labels' in name)}-UBYTE.GZ" for name in MNIST],
        [f"{name}-idx{3 - 2 * ('labels' in name)}-ubyte.bin" for name in MNIST],
        [f"{name.replace('t10k', 'test')}-idx3-ubyte.gz" for name in MNIST],
        [f"emnist-letters-{name.replace('t10k', 'test')}-idx3-ubyte.gz" for name in MNIST],
        [f"MNIST/raw/{name}-idx3-ubyte" for name in MNIST],
        [f"{name}-idx3-ubyte/{name}-idx3-ubyte" for name in MNIST],  # Kaggle's
        [
            "qmnist-train-images-idx3-ubyte.gz",
            "qmnist-train-labels-idx2-int.gz",
            "qmnist-test-images-idx3-ubyte.gz",
            "qmnist-test-labels-idx2-int.gz",
        ],
    ],
    ids=["mnist", "7-zip", "upper", "bin", "test", "emnist", "torchvision", "kaggle", "qmnist"],
)
def test_all_common_names_are_found(paths: list[str]):
    stray = ["Thumbs.db", "README.md", "notes.txt", "train-images-idx3-ubyte (1).gz", "a.md5"]
    assert idx.find(sorted(paths + stray), ("train", "test"), "data") == paths


def test_what_lies_there_is_named_where_a_file_is_missing():
    paths = [f"{name}-idx3-ubyte" for name in MNIST[:3]]
    with pytest.raises(InputError) as caught:
        idx.find(paths, ("train", "test"), "data")
    assert str(caught.value) == (
        "data holds neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte.gz, only "
        "train-images-idx3-ubyte, train-labels-idx3-ubyte, t10k-images-idx3-ubyte; put the file "
        "there or name another directory with --data."
    )
    assert idx.find(paths, ("train",), "data") == paths[:2]
    assert idx.find(["a.txt"], ("train",), "data") is None


def test_two_data_sets_are_not_mixed():
    paths = [f"{folder}/{name}-idx3-ubyte" for folder in ("fashion", "kmnist") for name in MNIST]
    with pytest.raises(InputError, match=r"holds 2 data sets \(fashion, kmnist\); .*--data"):
        idx.find(paths, ("train", "test"), "data")
    top = [f"{name}-idx3-ubyte" for name in MNIST]
    assert idx.find(paths + top, ("train", "test"), "data") == top
