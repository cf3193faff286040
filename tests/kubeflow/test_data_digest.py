"""The first task of a run: the digests that it hands the readers of the data."""

import json
import os
import shutil
from pathlib import Path

import pytest

from components.data_gate.content import MORE_FILES
from pipeline.kubeflow import data_digest
from pipeline.kubeflow.spec import DATA_READERS


def message(data_uri: str | Path, out: Path) -> str:
    """The executor input, with the output parameters that the package declares."""
    files = {name: {"outputFile": str(out / "outputs" / name)} for name in DATA_READERS}
    inputs = {"parameterValues": {"data_uri": str(data_uri)}}
    return json.dumps({"inputs": inputs, "outputs": {"parameters": files}})


def digests(data_uri: Path, out: Path) -> dict[str, str]:
    assert data_digest.main([message(data_uri, out)]) == 0
    return {name: (out / "outputs" / name).read_text() for name in DATA_READERS}


@pytest.fixture
def data(small_mnist_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_mnist_dir, tmp_path / "data"))


def test_every_reader_has_a_digest():
    assert set(MORE_FILES) == set(DATA_READERS)


def test_a_changed_file_changes_the_digest_of_those_who_read_it(data, tmp_path):
    before = digests(data, tmp_path)
    assert all(len(text) == 64 for text in before.values())
    assert digests(Path(shutil.copytree(data, tmp_path / "copy")), tmp_path) == before
    (data / "baseline.pbtxt").write_text("# another")
    after = digests(data, tmp_path)
    assert after["example-gen"] == before["example-gen"]
    assert after["schema"] != before["schema"]
    (data / "labels.txt").write_text("\n".join("abcdefghij"))
    assert digests(data, tmp_path)["example-gen"] != before["example-gen"]


def test_data_that_cannot_be_read_is_one_sentence_and_leaves_no_output(data, tmp_path, capsys):
    assert data_digest.main([message(tmp_path / "none", tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"data-digest: The data directory {tmp_path}/none does not exist; name one that holds "
        "images with --data.\n"
    )
    os.remove(next(data.glob("train-labels*")))
    assert data_digest.main([message(data, tmp_path)]) == 2
    assert "holds neither train-labels-idx1-ubyte nor" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_a_bucket_that_refuses_is_one_sentence(tmp_path, monkeypatch, capsys):
    import tensorflow as tf

    def refuse(*_):
        raise tf.errors.PermissionDeniedError(None, None, "Anonymous caller\nhas no access")

    monkeypatch.setattr(tf.io.gfile, "isdir", lambda path: True)
    monkeypatch.setattr(tf.io.gfile, "listdir", refuse)
    assert data_digest.main([message("gs://bucket/mnist", tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "gs://bucket/mnist cannot be read (Anonymous caller has" in said
    assert said.count("\n") == 1


def test_the_digest_follows_every_format(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.csv").write_text("label,pixel0\n")
    before = digests(data, tmp_path)
    (data / "train.csv").write_text("label,pixel1\n")
    assert digests(data, tmp_path)["example-gen"] != before["example-gen"]
