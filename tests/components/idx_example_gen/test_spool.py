"""Files larger than the memory: the same images as of small ones, and one block held at a time."""

import gzip
import os
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.idx_example_gen import idx, spool
from components.idx_example_gen.config import DataConfig
from components.idx_example_gen.data import read_data
from core.config import InputError
from tests.conftest import ROOT

MB = 1 << 20
COUNT = 40_000
RNG = np.random.default_rng(4)
LABELS = RNG.integers(0, 4, COUNT).astype(np.uint8)
IMAGES = np.zeros((COUNT, 28, 28), np.uint8)  # 31 MB that pack well
IMAGES[:, 10, 4:24] = RNG.integers(0, 256, (COUNT, 20))
TEST = 500


def put_idx(folder: Path, ending: str = "") -> None:
    for prefix, part in (("train", slice(None)), ("t10k", slice(TEST))):
        idx.write_idx(f"{folder}/{prefix}-images-idx3-ubyte{ending}", IMAGES[part])
        idx.write_idx(f"{folder}/{prefix}-labels-idx1-ubyte{ending}", LABELS[part])


def put_npz(folder: Path, images: np.ndarray, save: Callable = np.savez) -> None:
    given = {"x_train": images, "y_train": LABELS, "x_test": images[:TEST], "y_test": LABELS[:TEST]}
    save(folder / "d.npz", **given)


def put_parquet(folder: Path) -> None:
    for split, part in (("train", slice(None)), ("test", slice(TEST))):
        flat = pa.array(IMAGES[part].reshape(-1))
        images = pa.FixedSizeListArray.from_arrays(flat, 784)
        table = pa.table({"image": images, "label": LABELS[part]})
        pq.write_table(table, folder / f"{split}.parquet", row_group_size=10_000)


def put_csv(folder: Path) -> None:
    for split, count in (("train", COUNT // 5), ("test", TEST)):
        rows = np.column_stack([LABELS[:count], IMAGES[:count].reshape(count, -1)])
        head = ",".join(["label", *(f"pixel{i}" for i in range(784))])
        np.savetxt(folder / f"{split}.csv", rows, "%d", ",", header=head, comments="")


# By name: how it is written, and the most megabytes that are held while it is read. To trace each
# of the 785 columns of a CSV file takes a minute.
FORMATS = {
    "idx": (put_idx, 6),
    "idx.gz": (lambda folder: put_idx(folder, ".gz"), 6),
    "npz": (lambda folder: put_npz(folder, IMAGES), 6),
    "npz, packed": (lambda folder: put_npz(folder, IMAGES, np.savez_compressed), 6),
    "npz of floats": (lambda folder: put_npz(folder, IMAGES.astype(np.float32) / 255), 6),
    "npz of three channels": (lambda folder: put_npz(folder, np.stack([IMAGES] * 3, -1)), 6),
    "npz, by column": (lambda folder: put_npz(folder, np.asfortranarray(IMAGES)), 9),
    "parquet": (put_parquet, 9),
    "csv": (put_csv, None),
}


@pytest.mark.parametrize("name", FORMATS)
def test_of_a_large_file_one_block_is_held_and_the_images_are_the_same(
    tmp_path: Path, monkeypatch, name: str
):
    put, most = FORMATS[name]
    put(tmp_path)
    whole = read_data(str(tmp_path))
    assert not isinstance(whole.splits["train"].images, np.memmap)
    monkeypatch.setattr(spool, "IN_MEMORY", MB)
    monkeypatch.setattr(spool, "BLOCK", MB // 4)
    if most:
        tracemalloc.start()
    found = read_data(str(tmp_path))
    if most:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most * MB < 0.8 * whole.splits["train"].images.nbytes
    assert isinstance(found.splits["train"].images, np.memmap)
    for split, pair in whole.splits.items():
        np.testing.assert_array_equal(found.splits[split].images, pair.images)
        np.testing.assert_array_equal(found.splits[split].labels, pair.labels)
        np.testing.assert_array_equal(
            pair.images, IMAGES[: len(pair.labels)] if split == "train" else IMAGES[:TEST]
        )
    assert found.files == whole.files and found.said == whole.said


def test_turned_and_cut_images_of_a_large_file_are_the_same(tmp_path: Path, monkeypatch):
    order = np.argsort(LABELS, kind="stable")  # so that each class has its share of the cut
    put_npz(tmp_path, IMAGES)
    idx.write_idx(str(tmp_path / "train-images-idx3-ubyte"), IMAGES[order])
    idx.write_idx(str(tmp_path / "train-labels-idx1-ubyte"), LABELS[order])
    idx.write_idx(str(tmp_path / "t10k-images-idx3-ubyte"), IMAGES[:TEST])
    idx.write_idx(str(tmp_path / "t10k-labels-idx1-ubyte"), LABELS[:TEST])
    config = DataConfig(max_images=5000, transpose=True)
    whole = read_data(str(tmp_path), config)
    monkeypatch.setattr(spool, "IN_MEMORY", MB)
    found = read_data(str(tmp_path), config)
    for split, pair in whole.splits.items():
        np.testing.assert_array_equal(found.splits[split].images, pair.images)
        np.testing.assert_array_equal(found.splits[split].rows, pair.rows)


def test_a_full_disk_is_a_sentence_before_it_is_full(tmp_path: Path, monkeypatch):
    put_idx(tmp_path)
    monkeypatch.setattr(spool, "IN_MEMORY", MB)
    monkeypatch.setattr(spool, "_LEFT_FREE", 1 << 60)
    with pytest.raises(InputError, match="GB more of temporary files, of 0.0 GB in .*TMPDIR"):
        read_data(str(tmp_path))


READ = """
import resource, sys
import numpy as np
from components.idx_example_gen import encode
from components.idx_example_gen.config import DataConfig
from components.idx_example_gen.data import read_data
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = read_data(sys.argv[1], DataConfig(max_images=3000))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(found.splits["train"].labels), before // 1024, after // 1024)
"""


def test_a_file_larger_than_the_memory_is_read(tmp_path: Path):
    """The process may take 350 MB of memory of its own, and the file has 780."""
    count, size = 1_000_000, 784
    path = tmp_path / "train-images-idx3-ubyte"
    idx.write_idx(str(path), IMAGES[:3000])
    with open(path, "r+b") as file:
        file.seek(4)
        file.write(count.to_bytes(4, "big"))
    os.truncate(path, 16 + count * size)  # zeros that take no room on the disk
    idx.write_idx(str(tmp_path / "train-labels-idx1-ubyte"), np.resize(LABELS, count))
    idx.write_idx(str(tmp_path / "t10k-images-idx3-ubyte"), IMAGES[:TEST])
    idx.write_idx(str(tmp_path / "t10k-labels-idx1-ubyte"), LABELS[:TEST])
    command = [sys.executable, "-c", READ, str(tmp_path)]
    bound = 350 * MB
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (bound, bound)),
    )
    assert done.returncode == 0, done.stderr
    read, before, after = map(int, done.stdout.split())
    assert read == 3000
    assert after - before < 150  # MB, of a file of 748


def test_gzip_that_unpacks_to_more_than_the_disk_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(spool, "IN_MEMORY", MB)
    put_idx(tmp_path, ".gz")
    images = tmp_path / "train-images-idx3-ubyte.gz"
    images.write_bytes(gzip.compress(gzip.decompress(images.read_bytes())[:16] + bytes(31 * MB)))
    taken = []
    monkeypatch.setattr(spool, "check_disk", lambda count, where: taken.append(count))
    with pytest.raises(InputError, match="holds more than|cut short"):
        read_data(str(tmp_path))
    assert max(taken) <= 32 * MB
