"""The data directory in every format: the same images as MNIST's own files, or one sentence."""

import gzip
import io
import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.idx_example_gen import data, encode, storage
from components.idx_example_gen.config import DataConfig
from core.config import InputError

TRAIN, TEST = 300, 90
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte") + (
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
Arrays = tuple[np.ndarray, ...]


@pytest.fixture(scope="module")
def mnist(mnist_dir: Path) -> Arrays:
    """The first images and labels of train, then of test."""
    splits = data.read_data(str(mnist_dir)).splits
    return tuple(
        array[:count]
        for split, count in (("train", TRAIN), ("test", TEST))
        for array in (splits[split].images, splits[split].labels)
    )


def raw_idx(array: np.ndarray, code: int = 8) -> bytes:
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()
    )


def put_idx(folder: Path, arrays: Arrays) -> None:
    for name, array in zip(NAMES, arrays, strict=True):
        (folder / name).write_bytes(raw_idx(array))


def put_npz(folder: Path, arrays: Arrays) -> None:
    keys = ("x_train", "y_train", "x_test", "y_test")
    np.savez_compressed(folder / "mnist.npz", **dict(zip(keys, arrays, strict=True)))


def put_medmnist(folder: Path, arrays: Arrays) -> None:
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    columns = [a if a.ndim == 3 else a[:, None] for a in arrays]
    validation = {"val_images": arrays[0][:5], "val_labels": columns[1][:5]}
    np.savez(folder / "set.npz", **dict(zip(keys, columns, strict=True)), **validation)


def put_kmnist(folder: Path, arrays: Arrays) -> None:
    keys = ("train-imgs", "train-labels", "test-imgs", "test-labels")
    for key, array in zip(keys, arrays, strict=True):
        np.savez_compressed(folder / f"k49-{key}.npz", array)


def put_npy(folder: Path, arrays: Arrays) -> None:
    for key, array in zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True):
        np.save(folder / f"{key}.npy", np.asfortranarray(array))


def png(image: np.ndarray, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def put_folders(folder: Path, arrays: Arrays, mode: str = "L") -> None:
    for split, images, labels in (("training", *arrays[:2]), ("testing", *arrays[2:])):
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / split / str(label) / f"{row:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image, mode))


def put_hub(folder: Path, arrays: Arrays) -> None:
    """As ylecun/mnist on the Hugging Face Hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "mnist").mkdir()
    for split, images, labels in (("train", *arrays[:2]), ("test", *arrays[2:])):
        rows = [{"bytes": png(image), "path": None} for image in images]
        table = pa.table({"image": rows, "label": labels.astype(np.int64)})
        pq.write_table(table, folder / "mnist" / f"{split}-00000-of-00001.parquet")


def put_csv(folder: Path, arrays: Arrays, header: bool = True) -> None:
    """As Kaggle's fashion-mnist_train.csv, or without names as pjreddie's mnist_train.csv."""
    for split, images, labels in (("train", *arrays[:2]), ("test", *arrays[2:])):
        names = ",".join(["label", *(f"pixel{i}" for i in range(1, 785))])
        rows = np.column_stack([labels, images.reshape(len(images), -1)])
        lines = [names] * header + [",".join(map(str, row)) for row in rows.tolist()]
        (folder / f"mnist_{split}.csv").write_text("\n".join(lines) + "\n")


IN_ORDER: dict[str, tuple[Callable[..., None], str]] = {
    "idx": (put_idx, "idx"),
    "keras": (put_npz, "npz"),
    "medmnist": (put_medmnist, "npz"),
    "kmnist": (put_kmnist, "npz"),
    "npy": (put_npy, "npz"),
    "hub": (put_hub, "parquet"),
    "csv": (put_csv, "csv"),
    "csv without names": (lambda folder, arrays: put_csv(folder, arrays, header=False), "csv"),
}


@pytest.mark.parametrize(("put", "format"), IN_ORDER.values(), ids=IN_ORDER)
def test_every_format_gives_the_same_images(tmp_path: Path, mnist: Arrays, put, format: str):
    put(tmp_path, mnist)
    assert data.find_data(str(tmp_path)).format == format
    found = data.read_data(str(tmp_path), DataConfig(format=format))
    for split, images, labels in (("train", *mnist[:2]), ("test", *mnist[2:])):
        pair = found.splits[split]
        assert pair.images.dtype == pair.labels.dtype == np.uint8
        np.testing.assert_array_equal(pair.images, images)
        np.testing.assert_array_equal(pair.labels, labels)
    assert found.said[0].startswith(f"{data._TITLES[format]} in {tmp_path}: ")
    assert data.digest(str(tmp_path), read=found.files) == data.digest(str(tmp_path))
    np.testing.assert_array_equal(data.read_images(str(tmp_path), "test"), mnist[2])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_folders_of_png_hold_the_images_by_class(tmp_path: Path, mnist: Arrays, mode: str):
    put_folders(tmp_path, mnist, mode)
    found = data.read_data(str(tmp_path))
    order = np.argsort(mnist[1], kind="stable")
    np.testing.assert_array_equal(found.splits["train"].images, mnist[0][order])
    np.testing.assert_array_equal(found.splits["train"].labels, mnist[1][order])
    assert len(found.splits["test"].labels) == TEST and found.names is None
    assert any(f"of Pillow's mode {mode}" in line for line in found.said) == (mode != "L")


def test_folders_with_names_name_the_classes_and_need_no_split(tmp_path: Path, mnist: Arrays):
    titles = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    put_folders(tmp_path, mnist)
    for label, title in enumerate(titles):
        shutil.move(tmp_path / "training" / str(label), tmp_path / title)
    shutil.rmtree(tmp_path / "training")
    shutil.rmtree(tmp_path / "testing")
    found = data.read_data(str(tmp_path))
    assert found.names == tuple(sorted(titles))
    assert "There is no test split; a seventh" in " ".join(found.said)
    splits = found.splits
    assert len(splits["train"].labels) + len(splits["test"].labels) == TRAIN
    assert 20 < len(splits["test"].labels) < 70
    # Names in the order of labels.txt, where they are the same.
    (tmp_path / "labels.txt").write_text("\n".join(titles))
    named = data.read_data(str(tmp_path))
    assert named.names == tuple(titles)
    together = [np.concatenate([s.labels for s in named.splits.values()])]
    np.testing.assert_array_equal(np.bincount(together[0]), np.bincount(mnist[1]))


def as_float(a: Arrays) -> Arrays:
    return ((a[0] / np.float32(255)), a[1], (a[2] / np.float32(255)), a[3])


CONVERSIONS = {
    "int64": (lambda a: tuple(x.astype(np.int64) for x in a), "pixels of type int64, 0 to 255"),
    "float": (as_float, "pixels of type float32 from 0 to 1 read as 0 to 255"),
    "whole floats": (lambda a: (a[0] * 1.0, a[1], a[2] * 1.0, a[3]), "type float64, 0 to 255"),
    "channel last": (lambda a: (a[0][..., None], a[1], a[2][..., None], a[3]), "one channel"),
    "channel first": (lambda a: (a[0][:, None], a[1], a[2][:, None], a[3]), "one channel"),
    "rows": (lambda a: (a[0].reshape(-1, 784), a[1], a[2].reshape(-1, 784), a[3]), "784 pixels"),
    "grey in colour": (
        lambda a: (np.stack([a[0]] * 3, -1), a[1], np.stack([a[2]] * 3, -1), a[3]),
        "3 channels of grey read as one",
    ),
    "one-hot": (lambda a: (a[0], np.eye(10)[a[1]], a[2], np.eye(10)[a[3]]), "one-hot labels of 10"),
    "from 1": (lambda a: (a[0], a[1] + 1, a[2], a[3] + 1), "run from 1 to 10; 1 is subtracted"),
    "texts": (lambda a: (a[0], a[1].astype("U"), a[2], a[3].astype("S")), ""),
}


@pytest.mark.parametrize(("how", "line"), CONVERSIONS.values(), ids=CONVERSIONS)
def test_what_is_clear_is_converted_and_said(tmp_path: Path, mnist: Arrays, how, line: str):
    put_npz(tmp_path, how(mnist))
    found = data.read_data(str(tmp_path))
    for split, images, labels in (("train", *mnist[:2]), ("test", *mnist[2:])):
        np.testing.assert_array_equal(found.splits[split].images, images)
        np.testing.assert_array_equal(found.splits[split].labels, labels)
    assert line in " ".join(found.said)


def test_qmnist_labels_are_their_first_column(tmp_path: Path, mnist: Arrays):
    put_idx(tmp_path, mnist)
    for name, labels in ((NAMES[1], mnist[1]), (NAMES[3], mnist[3])):
        wide = np.column_stack([labels, *(np.arange(len(labels)) % 60 + i for i in range(7))])
        (tmp_path / name).write_bytes(raw_idx(wide.astype(">i4"), 0x0C))
    found = data.read_data(str(tmp_path))
    np.testing.assert_array_equal(found.splits["train"].labels, mnist[1])
    assert "of QMNIST's 8 columns, the first is read as the label" in " ".join(found.said)


def test_emnist_is_turned_by_a_setting_alone(tmp_path: Path, mnist: Arrays):
    turned = (mnist[0].transpose(0, 2, 1).copy(), mnist[1], mnist[2].transpose(0, 2, 1).copy())
    for name, array in zip(NAMES, (*turned, mnist[3]), strict=True):
        (tmp_path / f"emnist-digits-{name.replace('t10k', 'test')}").write_bytes(raw_idx(array))
    found = data.read_data(str(tmp_path))
    np.testing.assert_array_equal(found.splits["train"].images, turned[0])
    assert "--set data.transpose=true" in found.said[-1]
    found = data.read_data(str(tmp_path), DataConfig(transpose=True))
    np.testing.assert_array_equal(found.splits["train"].images, mnist[0])


def test_a_folder_named_emnist_is_told_too(tmp_path: Path, mnist: Arrays):
    (tmp_path / "EMNIST").mkdir()
    put_idx(tmp_path / "EMNIST", mnist)
    assert any("data.transpose=true" in line for line in data.read_data(str(tmp_path)).said)


def test_both_forms_of_a_file_are_fine_where_they_agree(tmp_path: Path, mnist: Arrays):
    raw = tmp_path / "MNIST" / "raw"  # torchvision's
    raw.mkdir(parents=True)
    put_idx(raw, mnist)
    for name in NAMES:
        (raw / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes()))
    found = data.read_data(str(tmp_path))
    np.testing.assert_array_equal(found.splits["train"].images, mnist[0])
    before = data.digest(str(tmp_path))
    (raw / NAMES[1]).write_bytes(raw_idx(mnist[1][::-1].copy()))
    assert data.digest(str(tmp_path)) != before
    with pytest.raises(InputError, match="train-labels-idx1-ubyte.gz hold different labels; rem"):
        data.read_data(str(tmp_path))


def test_several_formats_are_told_and_chosen(tmp_path: Path, mnist: Arrays):
    put_idx(tmp_path, mnist)
    put_csv(tmp_path, (mnist[2], mnist[3], mnist[2], mnist[3]))
    found = data.read_data(str(tmp_path))
    assert len(found.splits["train"].labels) == TRAIN
    assert "CSV files there are not read (--format chooses)" in found.said[0]
    found = data.read_data(str(tmp_path), DataConfig(format="csv"))
    assert len(found.splits["train"].labels) == TEST
    with pytest.raises(InputError, match="holds no NumPy's files, but mnist_test.csv"):
        data.read_data(str(tmp_path), DataConfig(format="npz"))


def bad(arrays: Arrays, images=None, labels=None) -> Arrays:
    return (arrays[0] if images is None else images, arrays[1] if labels is None else labels) + (
        arrays[2:]
    )


REFUSED = {
    "floats beyond 1": (lambda a: bad(a, a[0] / 100.0), r"from 0 to 2.55; scale .*numpy.rint\("),
    "negative": (lambda a: bad(a, a[0].astype(int) - 1), "type int64 from -1 to 254; scale them"),
    "not a number": (lambda a: bad(a, np.full((5, 28, 28), np.nan), a[1][:5]), "no numbers"),
    "colour": (lambda a: bad(a, np.arange(300 * 2352).reshape(300, 28, 28, 3) % 256), "in colour"),
    "large": (lambda a: bad(a, np.zeros((300, 32, 32), "u1")), "32x32 pixels; resize them to 28"),
    "counts": (lambda a: bad(a, labels=a[1][:-1]), "holds 300 images but .* holds 299 labels"),
    "one class": (lambda a: bad(a, labels=a[1] * 0 + 3), "Every label in .*y_train.* is 3"),
    "halves": (lambda a: bad(a, labels=a[1] + 0.5), "labels that are not whole numbers"),
    "negative label": (lambda a: bad(a, labels=a[1].astype(int) - 1), "holds label -1; labels run"),
    "objects": (lambda a: bad(a, labels=a[1].astype(object)), "holds Python objects"),
}


@pytest.mark.parametrize(("how", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_clear_is_one_sentence(tmp_path: Path, mnist: Arrays, how, sentence: str):
    put_npz(tmp_path, how(mnist))
    with pytest.raises(InputError, match=sentence) as caught:
        data.read_data(str(tmp_path))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_images_in_colour_damaged_or_large_are_named(tmp_path: Path, mnist: Arrays):
    put_folders(tmp_path, mnist)
    path = tmp_path / "training" / "3" / "x.png"
    colour = np.zeros((28, 28, 3), np.uint8)
    colour[..., 1] = 9
    for content, sentence in (
        (png(colour, "RGB"), "x.png is in colour; make all grey, .*mogrify -colorspace gray"),
        (png(np.zeros((32, 30), np.uint8)), "x.png is an image of 32x30 pixels; .*mogrify"),
        (png(mnist[0][0])[:60], "x.png is not an image that can be read, or cut short"),
        (b"", "x.png is not an image that can be read"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=sentence):
            data.read_data(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("mnist.npz", b"PK\x03\x04 no archive", "not a file of numpy.savez, or cut short"),
        ("x_train.npy", b"\x93NUMPY\x01\x00\x10\x00nonsense", "is damaged"),
        ("train.parquet", b"PAR1 nothing", "is not a parquet file, or damaged"),
        ("train.csv", b"label,pixel0\n1,2\n", "has 2 columns .label, pixel0.; a table of images"),
        ("train.csv", b"label,a,b\n1,2\n", "cannot be read as CSV"),
        ("mnist.pkl", b"", "holds mnist.pkl, which is not read; read it where you trust it"),
        ("training.pt", b"", "holds training.pt, which is not read; x, y = torch.load"),
        ("emnist.mat", b"", "scipy.io.loadmat"),
        ("archive.zip", b"", "unpack it there"),
        ("notes.txt", b"", "holds no images that can be read, but notes.txt; put there IDX files"),
    ],
)
def test_what_lies_there_is_named(tmp_path: Path, name: str, content: bytes, sentence: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        data.read_data(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path: Path, mnist: Arrays):
    put_npz(tmp_path, mnist)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000, 28, 28), }"
    header += b" " * (117 - len(header)) + b"\n"
    lying = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    (tmp_path / "mnist.npz").unlink()
    (tmp_path / "x_train.npy").write_bytes(lying)
    with pytest.raises(InputError, match="announces 3136000000000 bytes, the file has 128"):
        data.read_data(str(tmp_path))


def test_a_missing_directory_a_file_and_an_empty_one(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere does not exist.*--data"):
        data.find_data(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="is empty; put images there"):
        data.find_data(str(tmp_path))
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(InputError, match="a.npz is a file; name the directory it lies in"):
        data.find_data(str(tmp_path / "a.npz"))


def test_label_names_come_from_the_data(tmp_path: Path, mnist: Arrays):
    put_idx(tmp_path, mnist)
    names = tmp_path / "labels.txt"
    names.write_text("\n".join("abcdefghij"), encoding="utf-8")
    assert data.read_data(str(tmp_path)).names == tuple("abcdefghij")
    for content, sentence in (
        (b"boot\nshirt\n", "holds label 9 but labels.txt in .* names only 2 classes"),
        (b"boot\n\nbag\n", "one class name per line"),
        (b"caf\xe9\nbar\n", "not UTF-8"),
    ):
        names.write_bytes(content)
        with pytest.raises(InputError, match=sentence):
            data.read_data(str(tmp_path))


def test_digest_follows_content_alone(tmp_path: Path, mnist: Arrays):
    one, copy = tmp_path / "one", tmp_path / "copy"
    one.mkdir()
    put_idx(one, mnist)
    before, files = data.digest(str(one), "schema.pbtxt"), data.read_data(str(one)).files
    assert list(files) == [str(one / name) for name in NAMES]
    shutil.copytree(one, copy)
    assert data.digest(str(copy), "schema.pbtxt") == before
    (copy / "schema.pbtxt").write_text("# other")
    assert data.digest(str(copy), "schema.pbtxt") != before == data.digest(str(copy))
    with open(one / NAMES[1], "ab") as file:
        file.write(b"more")
    assert data.digest(str(one), read=files) == before != data.digest(str(one))
    (copy / NAMES[1]).unlink()
    with pytest.raises(InputError, match="holds neither train-labels"):
        data.digest(str(copy))


def test_digest_of_mnist_is_that_of_every_record(mnist_dir: Path):
    """Caches and published figures were made under it."""
    digest = "c2496d2593e7dc96eb69fc4c1ef439b3996e2ee6b9dfd454799031bfa4e8dc46"
    assert data.digest(str(mnist_dir)) == digest


def test_a_cut_of_mnist_is_its_first_images(mnist_dir: Path):
    whole, cut = (data.read_data(str(mnist_dir), DataConfig(n)) for n in (None, 3000))
    for split, pair in cut.splits.items():
        np.testing.assert_array_equal(pair.images, whole.splits[split].images[:3000])
    assert np.bincount(whole.splits["test"].labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip


def test_a_cut_of_sorted_files_has_every_class(tmp_path: Path, mnist_dir: Path):
    splits = data.read_data(str(mnist_dir)).splits
    order = np.argsort(splits["train"].labels[:6000], kind="stable")
    rare = order[~((splits["train"].labels[order] == 7) & (np.arange(6000) % 40 > 0))]
    arrays = [splits["train"].images[rare], splits["train"].labels[rare]]
    put_idx(tmp_path, (*arrays, splits["test"].images[:50], splits["test"].labels[:50]))
    found = data.read_data(str(tmp_path), DataConfig(1000))
    pair = found.splits["train"]
    assert len(pair.labels) == 1000 and pair.rows is not None
    np.testing.assert_array_equal(pair.images, arrays[0][pair.rows])
    shares = np.bincount(arrays[1]) / len(rare)
    np.testing.assert_allclose(np.bincount(pair.labels) / 1000, shares, atol=0.002)
    is_eval = encode.choose_eval(pair.images)
    assert set(pair.labels[is_eval]) == set(pair.labels[~is_eval]) == set(range(10))
    assert "Of train, 1,000 images are taken, of each class its share" in " ".join(found.said)


def test_names_of_folders_are_seen_as_they_are(tmp_path: Path, mnist: Arrays):
    put_folders(tmp_path, mnist)
    shutil.move(tmp_path / "training" / "3", tmp_path / "training" / "th\x1b[2Jree")
    with pytest.raises(InputError, match=r"th\\x1b\[2Jree holds a character that is not seen"):
        data.read_data(str(tmp_path))


@pytest.mark.parametrize("first", [0, 1])
def test_a_mapping_of_emnist_names_the_classes(tmp_path: Path, mnist: Arrays, first: int):
    put_idx(tmp_path, tuple(a + first if a.ndim == 1 else a for a in mnist))
    lines = [f"{first + i} {ord('A') + i} {ord('a') + i}" for i in range(10)]
    mapping = tmp_path / "emnist-letters-mapping.txt"
    before = data.digest(str(tmp_path))
    mapping.write_text("\r\n".join(lines))
    found = data.read_data(str(tmp_path))
    assert found.names == tuple(f"{a}{a.lower()}" for a in "ABCDEFGHIJ")
    np.testing.assert_array_equal(found.splits["train"].labels, mnist[1])
    assert data.class_names(str(tmp_path)) == found.names
    assert data.digest(str(tmp_path)) != before
    mapping.write_text("a b")
    with pytest.raises(InputError, match=r"no mapping of EMNIST.*write labels\.txt"):
        data.read_data(str(tmp_path))


def test_a_file_is_read_once_for_its_digest_and_again_when_it_changed(tmp_path, mnist, monkeypatch):
    put_csv(tmp_path, mnist)
    later = time.time() + 10
    monkeypatch.setattr(time, "time", lambda: later)  # the files are not new
    opened = []
    first_open = storage.open_file
    monkeypatch.setattr(storage, "open_file", lambda path: opened.append(path) or first_open(path))
    data.read_data(str(tmp_path))
    before, once = data.digest(str(tmp_path)), len(opened)
    assert data.digest(str(tmp_path)) == before and len(opened) == once == 2
    path = tmp_path / "mnist_train.csv"
    stamp = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-2] + (b"1\n" if content[-2:] == b"0\n" else b"0\n"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # its owner can do no more
    assert data.digest(str(tmp_path)) != before and len(opened) == once + 1
