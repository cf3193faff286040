"""Schema and baseline of a data directory: found, refused, or written for a customer's own data."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.data_gate import baseline as baseline_module
from components.data_gate import gate
from components.data_gate import schema as schemas
from components.idx_example_gen import data, scalars
from core.config import InputError
from tests.components.data_gate import corruption


@pytest.fixture
def own_dir(small_mnist_dir: Path, tmp_path: Path) -> Path:
    """A customer's data: the four files, no schema, no baseline."""
    directory = tmp_path / "own"
    shutil.copytree(small_mnist_dir, directory)
    return directory


def test_committed_baseline_is_that_of_the_committed_files(mnist_dir: Path, tmp_path: Path):
    for path in mnist_dir.glob("*.gz"):
        (tmp_path / path.name).symlink_to(path)
    shutil.copy(mnist_dir / "schema.pbtxt", tmp_path)
    assert baseline_module.write_baseline(str(tmp_path)) == [str(tmp_path / "baseline.pbtxt")]
    written, committed = (baseline_module.read_baseline(str(d)) for d in (tmp_path, mnist_dir))
    for split in ("train", "test"):
        checks = gate.inspect(
            {split: written[split]},
            schemas.without_image(schemas.read_schema(str(mnist_dir))),
            {split: committed[split]},
        )
        assert [check.value for check in checks if check.kind == "drift"] == [0.0] * 9
    assert gate.class_counts(committed["test"]) == dict(
        enumerate([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    )


def test_both_schemas_compare_every_scalar_and_the_label(mnist_dir: Path, tmp_path: Path):
    for data_dir in (mnist_dir, tmp_path):  # curated and generic
        schema = schemas.read_schema(str(data_dir))
        compared = {
            feature.name
            for feature in schema.feature
            if feature.HasField("drift_comparator") and feature.HasField("skew_comparator")
        }
        assert compared == {*scalars.NAMES, "label"}
        assert {feature.name for feature in schema.feature} == compared | {"image"}


def test_own_data_gets_schema_and_baseline_and_then_passes(own_dir: Path):
    assert baseline_module.read_baseline(str(own_dir)) is None
    written = baseline_module.write_baseline(str(own_dir))
    assert written == [str(own_dir / name) for name in ("schema.pbtxt", "baseline.pbtxt")]
    schema = schemas.read_schema(str(own_dir))
    assert schemas.label_domain(schema).max == 9
    known = baseline_module.read_baseline(str(own_dir))
    scalar_schema = schemas.without_image(schema)

    def inspect():
        pairs = data.read_data(str(own_dir)).splits
        splits = baseline_module.compute_splits(pairs, schema)
        return gate.inspect(splits, scalar_schema, known)

    gate.require_clean(inspect())
    corruption.corrupt_files(own_dir, corruption.invert)
    with pytest.raises(gate.DataGateError, match="are the images inverted"):
        gate.require_clean(inspect())


def test_a_schema_edited_by_hand_is_kept(own_dir: Path):
    baseline_module.write_baseline(str(own_dir))
    path = own_dir / "schema.pbtxt"
    path.write_text("# mine\n" + path.read_text())
    assert baseline_module.write_baseline(str(own_dir)) == [str(own_dir / "baseline.pbtxt")]
    assert path.read_text().startswith("# mine\n")


def test_data_that_breaks_the_schema_gets_no_baseline(own_dir: Path):
    corruption.corrupt_files(own_dir, corruption.drop_class)
    with pytest.raises(gate.DataGateError, match="train has no image of class 7"):
        baseline_module.write_baseline(str(own_dir))
    assert not (own_dir / "baseline.pbtxt").exists() and not (own_dir / "schema.pbtxt").exists()


def test_label_names_say_how_many_classes_there_must_be(own_dir: Path):
    (own_dir / "labels.txt").write_text("\n".join("abcdefghijk"))  # eleven
    schema = schemas.read_schema(str(own_dir))
    assert schemas.label_domain(schema).max == 10
    with pytest.raises(gate.DataGateError, match="train has no image of class 10"):
        baseline_module.write_baseline(str(own_dir))


def test_unreadable_text_is_one_sentence_with_file_and_line(own_dir: Path):
    (own_dir / "schema.pbtxt").write_text("feature {\n  nme: 'image'\n}\n")
    with pytest.raises(InputError, match=r"schema.pbtxt is not the text form of a Schema \(2:3"):
        schemas.read_schema(str(own_dir))
    (own_dir / "baseline.pbtxt").write_text("datasets { name: 'train' }\n")
    with pytest.raises(InputError, match=r"statistics of \['train'\], not of train and test"):
        baseline_module.read_baseline(str(own_dir))


def test_statistics_are_those_of_the_scalars():
    images = np.zeros((4, 28, 28), np.uint8)
    images[:2, 10:14, 10:14] = 255
    schema = schemas.read_schema("nowhere")
    stats = baseline_module.compute_statistics(images, np.array([0, 1, 1, 1], np.uint8), schema)
    assert stats.datasets[0].num_examples == 4
    assert gate.class_counts(stats) == {0: 1, 1: 3}
    means = {f.path.step[0]: f.num_stats.mean for f in stats.datasets[0].features}
    assert means["mean_intensity"] == pytest.approx(16 / 784 / 2)
    assert means["height"] == pytest.approx(2)


def test_names_are_in_no_written_schema_and_are_added_while_there_are_any(own_dir: Path):
    names = own_dir / "labels.txt"
    names.write_text("\n".join("abcdefghij"))
    baseline_module.write_baseline(str(own_dir))
    assert "label_name" not in (own_dir / "schema.pbtxt").read_text()
    features = {feature.name for feature in schemas.read_schema(str(own_dir)).feature}
    assert features == {*scalars.NAMES, "label", "image", "label_name"}
    names.unlink()
    features = {feature.name for feature in schemas.read_schema(str(own_dir)).feature}
    assert features == {*scalars.NAMES, "label", "image"}


def test_a_baseline_that_cannot_be_written_leaves_nothing(own_dir: Path):
    (own_dir / "baseline.pbtxt").mkdir()
    before = sorted(own_dir.iterdir())
    with pytest.raises(InputError, match="remove the directory of that name"):
        baseline_module.write_baseline(str(own_dir))
    assert sorted(own_dir.iterdir()) == before


def test_a_full_disk_is_named_and_leaves_nothing(own_dir: Path, monkeypatch):
    def full(path, content):
        if "baseline" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        Path(path).write_text(content)

    monkeypatch.setattr(baseline_module, "write_whole", full)
    before = sorted(own_dir.iterdir())
    with pytest.raises(InputError, match="No space left on device.*free some space"):
        baseline_module.write_baseline(str(own_dir))
    assert sorted(own_dir.iterdir()) == before


GENERIC = Path(schemas.__file__).with_name("schema.pbtxt").read_text()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no feature image"),
        (b'feature { name: "image" type: BYTES }', "no feature label"),
        (GENERIC.replace(" is_categorical: true", "").encode(), "needs int_domain"),
        (GENERIC.replace('int_domain { name: "label"', 'bool_domain { name: "x" } #').encode(),
         "needs int_domain"),
        (GENERIC.encode("utf-16"), "not UTF-8 text"),
    ],
    ids=["empty", "no label", "not categorical", "no domain", "UTF-16"],
)  # fmt: skip
def test_a_schema_without_what_is_read_of_it_is_one_sentence(
    own_dir: Path, content: bytes, sentence: str
):
    (own_dir / "schema.pbtxt").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        baseline_module.write_baseline(str(own_dir))
    assert not (own_dir / "baseline.pbtxt").exists()


def test_a_schema_with_a_byte_order_mark_is_read(own_dir: Path):
    (own_dir / "schema.pbtxt").write_bytes(GENERIC.encode("utf-8-sig"))
    assert schemas.label_domain(schemas.read_schema(str(own_dir))).max == 255
