"""The node as TFX runs it: splits, the same bytes twice, cache and errors."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.data_gate.content import digests
from components.idx_example_gen import data, encode, findings, idx
from components.idx_example_gen.config import DataConfig
from core.config import InputError, from_dict
from tests.components.idx_example_gen.local_run import newest, run_nodes


def make(data_dir: Path, max_images: int | None = None):
    from components.idx_example_gen.component import make_example_gen

    content = digests(str(data_dir))["example-gen"]
    return make_example_gen(str(data_dir), DataConfig(max_images=max_images), content)


def read_labels(path: Path) -> np.ndarray:
    return idx.parse(io.BytesIO(path.read_bytes()), str(path), "labels")


def records(examples: Path, split: str) -> list[bytes]:
    import tensorflow as tf

    files = list((examples / f"Split-{split}").iterdir())
    assert len(files) == 1
    dataset = tf.data.TFRecordDataset([str(files[0])], compression_type="GZIP")
    return list(dataset.as_numpy_iterator())


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def examples(root: Path, small_mnist_dir: Path) -> Path:
    run_nodes(root, [make(small_mnist_dir)])
    return newest(root, "example-gen", "examples")


def test_splits_hold_the_files_in_their_order(examples: Path, small_mnist_dir: Path):
    splits = data.read_data(str(small_mnist_dir)).splits
    train, test = splits["train"], splits["test"]
    is_eval = encode.choose_eval(train.images)
    expected = {
        "train": encode.encode_examples(train.images[~is_eval], train.labels[~is_eval]),
        "eval": encode.encode_examples(train.images[is_eval], train.labels[is_eval]),
        "test": encode.encode_examples(test.images, test.labels),
    }
    assert sorted(path.name for path in examples.iterdir()) == [
        "Split-eval", "Split-test", "Split-train", findings.FINDINGS_FILE
    ]  # fmt: skip
    for split, wanted in expected.items():
        assert records(examples, split) == wanted


def test_second_run_writes_the_same_bytes(root: Path, examples: Path, small_mnist_dir: Path):
    run_nodes(root, [make(small_mnist_dir)], cache=False)
    again = newest(root, "example-gen", "examples")
    assert again != examples
    for first in examples.rglob("*.gz"):
        assert (again / first.relative_to(examples)).read_bytes() == first.read_bytes()


def test_cache_holds_until_content_changes_even_with_the_old_time_stamp(
    root: Path, examples: Path, small_mnist_dir: Path, tmp_path: Path
):
    data_dir = tmp_path / "data"
    shutil.copytree(small_mnist_dir, data_dir)
    path = data_dir / "train-labels-idx1-ubyte"
    labels = read_labels(Path(f"{path}.gz"))
    Path(f"{path}.gz").unlink()
    idx.write_idx(str(path), labels)
    run_nodes(root, [make(data_dir)])
    first = newest(root, "example-gen", "examples")
    run_nodes(root, [make(data_dir)])
    assert newest(root, "example-gen", "examples") == first

    stat = path.stat()
    idx.write_idx(str(path), labels[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run_nodes(root, [make(data_dir)])
    changed = newest(root, "example-gen", "examples")
    assert changed != first
    assert records(changed, "train") != records(first, "train")


def replace_after_the_plan(data_dir: Path, monkeypatch, put_back: bool) -> None:
    """Other valid labels are there when the node reads them; perhaps the old ones are back soon."""
    path = data_dir / "train-labels-idx1-ubyte.gz"
    old, read = path.read_bytes(), data.read_data

    def read_others(folder: str, config: DataConfig):
        idx.write_idx(str(path), read_labels(path)[::-1])
        found = read(folder, config)
        if put_back:
            path.write_bytes(old)
        return found

    monkeypatch.setattr(data, "read_data", read_others)


@pytest.mark.parametrize("put_back", [True, False])
def test_data_replaced_after_the_plan_fails_and_is_never_cached(
    small_mnist_dir: Path, tmp_path: Path, monkeypatch, put_back: bool
):
    data_dir = shutil.copytree(small_mnist_dir, tmp_path / "data")
    before = {path.name: path.read_bytes() for path in data_dir.iterdir()}
    with monkeypatch.context() as patch:
        node = make(data_dir)
        replace_after_the_plan(data_dir, patch, put_back)
        with pytest.raises(InputError) as caught:
            run_nodes(tmp_path / "root", [node])
    assert str(caught.value) == (
        f"The files in {data_dir} changed after the run began; run it again when nothing writes "
        "there."
    )
    for name, content in before.items():
        (data_dir / name).write_bytes(content)
    run_nodes(tmp_path / "root", [make(data_dir)])
    examples = newest(tmp_path / "root", "example-gen", "examples")
    train = data.read_data(str(data_dir)).splits["train"]
    rows = ~encode.choose_eval(train.images)
    expected = encode.encode_examples(train.images[rows], train.labels[rows])
    assert records(examples, "train") == expected


def test_without_a_plan_the_node_reads_what_is_there_when_it_runs(
    small_mnist_dir: Path, tmp_path: Path
):
    from components.idx_example_gen.component import make_example_gen

    data_dir = shutil.copytree(small_mnist_dir, tmp_path / "data")
    node = make_example_gen(str(data_dir), DataConfig())
    path = data_dir / "train-labels-idx1-ubyte.gz"
    labels = read_labels(path)[::-1]
    idx.write_idx(str(path), labels)
    run_nodes(tmp_path / "root", [node])
    examples = newest(tmp_path / "root", "example-gen", "examples")
    train = data.read_data(str(data_dir)).splits["train"]
    rows = ~encode.choose_eval(train.images)
    expected = encode.encode_examples(train.images[rows], labels[rows])
    assert records(examples, "train") == expected


def test_max_images_takes_the_first_of_each_file(root: Path, examples: Path, small_mnist_dir: Path):
    run_nodes(root, [make(small_mnist_dir, 1000)])
    limited = newest(root, "example-gen", "examples")
    counts = {split: len(records(limited, split)) for split in ("train", "eval", "test")}
    assert counts["train"] + counts["eval"] == 1000
    assert counts["test"] == 600  # the whole file
    assert records(limited, "train") == records(examples, "train")[: counts["train"]]


def test_label_names_and_digest_are_properties_of_examples(
    root: Path, small_mnist_dir: Path, tmp_path
):
    from ml_metadata.metadata_store import metadata_store
    from tfx.orchestration import metadata

    data_dir = tmp_path / "named"
    shutil.copytree(small_mnist_dir, data_dir)
    names = [f"digit {label}" for label in range(10)]
    (data_dir / "labels.txt").write_text("\n".join(names))
    run_nodes(root, [make(data_dir)])
    store = metadata_store.MetadataStore(
        metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    )
    newest_artifact = max(store.get_artifacts_by_type("Examples"), key=lambda artifact: artifact.id)
    assert json.loads(newest_artifact.custom_properties["label_names"].string_value) == names
    read = json.loads(newest_artifact.custom_properties["data"].string_value)
    settings = {"format": "auto", "transpose": False, "max_images": None, "spans": []}
    assert read == {"digest": data.digest(str(data_dir)), **settings}


def test_bad_file_reaches_the_caller_as_its_one_sentence(root: Path, small_mnist_dir, tmp_path):
    data_dir = tmp_path / "cut"
    shutil.copytree(small_mnist_dir, data_dir)
    path = data_dir / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError) as error:
        run_nodes(root, [make(data_dir)])
    assert str(error.value) == (
        f"{path} is cut short: its gzip stream has no end; copy or download it again."
    )


def test_identical_images_leave_a_split_empty_but_present(root: Path, small_mnist_dir, tmp_path):
    data_dir = tmp_path / "blank"
    shutil.copytree(small_mnist_dir, data_dir)
    idx.write_idx(str(data_dir / "train-images-idx3-ubyte.gz"), np.zeros((3000, 28, 28), np.uint8))
    run_nodes(root, [make(data_dir)])
    blank = newest(root, "example-gen", "examples")
    assert sorted(len(records(blank, split)) for split in ("train", "eval")) == [0, 3000]


def test_fewer_than_a_thousand_images_are_refused():
    with pytest.raises(InputError, match="data.max_images must be null or at least 1000, not 10"):
        from_dict(DataConfig, {"max_images": 10}, "data")
