"""IDX files: what is read, and the one sentence for everything that can be wrong with a file."""

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from components.idx_example_gen import idx
from core.config import InputError

IMAGES = np.arange(6 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(6, 28, 28)
LABELS = np.array([0, 1, 2, 2, 1, 0], np.uint8)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Four sound files of six images each, gzip and plain mixed."""
    idx.write_idx(str(tmp_path / "train-images-idx3-ubyte.gz"), IMAGES)
    idx.write_idx(str(tmp_path / "train-labels-idx1-ubyte"), LABELS)
    idx.write_idx(str(tmp_path / "t10k-images-idx3-ubyte"), IMAGES[::-1])
    idx.write_idx(str(tmp_path / "t10k-labels-idx1-ubyte.gz"), LABELS[::-1])
    return tmp_path


def header(*sizes: int, kind: int = 0x08, dimensions: int | None = None) -> bytes:
    """The bytes that an IDX file starts with."""
    dimensions = len(sizes) if dimensions is None else dimensions
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, kind, dimensions, *sizes)


def test_gzip_and_plain_files_are_told_apart_by_content(data_dir: Path):
    train, test = (idx.read_idx_pair(str(data_dir), split) for split in ("train", "test"))
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(train.labels, LABELS)
    np.testing.assert_array_equal(test.images, IMAGES[::-1])
    # A name that lies about its content is no matter.
    packed = data_dir / "train-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.decompress(packed.read_bytes()))
    np.testing.assert_array_equal(idx.read_idx_pair(str(data_dir), "train").images, IMAGES)


def test_real_files_hold_mnist(mnist_dir: Path):
    train, test = (idx.read_idx_pair(str(mnist_dir), split) for split in ("train", "test"))
    assert train.images.shape == (60000, 28, 28) and test.images.shape == (10000, 28, 28)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    assert idx.count_images(str(mnist_dir)) == {"train": 60000, "test": 10000}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(28), st.just(28))),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_what_is_written_is_read_back(tmp_path: Path, array: np.ndarray, suffix: str):
    path = str(tmp_path / f"images{suffix}")
    idx.write_idx(path, array)
    np.testing.assert_array_equal(idx.read_images(path), array)


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
    "floats": (header(2, 28, 28, kind=0x0D) + bytes(6272), "type float32; save the images as uint"),
    "labels": (header(2) + bytes(2), "array of 1 dimensions, not images; are the images and the"),
    "matrix": (header(2, 28) + bytes(56), "array of 2 dimensions, not images; images have 3"),
    "large": (header(2, 32, 32) + bytes(2048), "holds images of 32x32 pixels; resize them to 28x2"),
    "none": (header(0, 28, 28), "holds no images: its header announces 0"),
    "half a header": (header(2, 28, 28)[:9], "is cut short within its header"),
    "truncated": (SOUND[:-1], "announces 2 images (1568 bytes) but only 1567 bytes follow"),
    "trailing": (SOUND + b"x", "holds more than the 2 images (1568 bytes) that its header"),
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
        idx.read_images(str(path))
    assert str(error.value).startswith(str(path)) and sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_images_in_place_of_labels_are_named(tmp_path: Path):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(SOUND)
    with pytest.raises(InputError, match="3 dimensions, not labels; are the images and the labels"):
        idx.read_labels(str(path))


def test_missing_directory_file_and_double_file_are_named(data_dir: Path):
    with pytest.raises(InputError, match="nowhere does not exist.*--data"):
        idx.find_files(str(data_dir / "nowhere"), "train")
    shutil.copy(data_dir / "t10k-images-idx3-ubyte", data_dir / "t10k-images-idx3-ubyte.gz")
    with pytest.raises(InputError, match="both t10k-images-idx3-ubyte and t10k.*remove one"):
        idx.read_idx_pair(str(data_dir), "test")
    (data_dir / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="neither train-labels-idx1-ubyte nor train-labels-idx1-u"):
        idx.count_images(str(data_dir))


@pytest.mark.parametrize("read", [lambda d: idx.read_idx_pair(d, "train"), idx.count_images])
def test_counts_must_agree(data_dir: Path, read):
    idx.write_idx(str(data_dir / "train-labels-idx1-ubyte"), LABELS[:-1])
    with pytest.raises(InputError, match="holds 6 images but .* holds 5 labels"):
        read(str(data_dir))


def test_a_single_class_is_refused(data_dir: Path):
    idx.write_idx(str(data_dir / "train-labels-idx1-ubyte"), np.full(6, 3, np.uint8))
    with pytest.raises(InputError, match="Every label in .*train-labels.* is 3"):
        idx.read_idx_pair(str(data_dir), "train")


def test_label_names_come_from_the_data(data_dir: Path):
    names = data_dir / idx.LABEL_NAMES_FILE
    names.write_text("boot\nshirt\nbag\n", encoding="utf-8")
    assert idx.read_label_names(str(data_dir)) == ("boot", "shirt", "bag")
    names.write_text("boot\nshirt\n", encoding="utf-8")
    with pytest.raises(InputError, match="holds label 2 but labels.txt next to it names only 2"):
        idx.read_idx_pair(str(data_dir), "train")
    names.write_text("boot\n\nbag\n", encoding="utf-8")
    with pytest.raises(InputError, match="one class name per line"):
        idx.count_images(str(data_dir))
    names.write_bytes(b"caf\xe9\nbar\n")
    with pytest.raises(InputError, match="not UTF-8"):
        idx.count_images(str(data_dir))


def test_digest_takes_what_was_read_for_what_is_there(data_dir: Path):
    before = idx.digest(str(data_dir))
    files = idx.read_idx_pair(str(data_dir), "train").files
    assert [Path(path).name for path in files] == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte",
    ]
    with open(data_dir / "train-labels-idx1-ubyte", "ab") as file:
        file.write(b"more")
    assert idx.digest(str(data_dir), read=files) == before != idx.digest(str(data_dir))


def test_digest_follows_content_alone(data_dir: Path, tmp_path_factory):
    before = idx.digest(str(data_dir), "schema.pbtxt")
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(data_dir, copy, dirs_exist_ok=True)
    assert idx.digest(str(copy), "schema.pbtxt") == before
    (copy / "schema.pbtxt").write_text("# other")
    assert idx.digest(str(copy), "schema.pbtxt") != before
    assert idx.digest(str(copy)) == before
    (copy / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="holds neither"):
        idx.digest(str(copy))
