"""Data that grows: spans are found, joined in order, cut to the newest, and digested."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.idx_example_gen import data, idx, spans
from components.idx_example_gen.config import DataConfig
from core.config import InputError


def write(folder: Path, first: int, count: int = 60, labels: list[int] | None = None) -> None:
    """A span of images whose first pixel counts on from ``first``; a tenth as many for test."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in (("train", count), ("test", count // 10)):
        images = np.zeros((size, 28, 28), np.uint8)
        images[:, 0, 0] = first + np.arange(size)
        given = np.resize(labels or range(10), size).astype(np.uint8)
        prefix = idx.FILE_PREFIX[split]
        idx.write_idx(str(folder / f"{prefix}-images-idx3-ubyte"), images)
        idx.write_idx(str(folder / f"{prefix}-labels-idx1-ubyte"), given)


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """Three spans; the third has ten, so that their order by name is another."""
    for number, first in ((1, 0), (2, 60), (10, 120)):
        write(tmp_path / f"span-{number}", first)
    return tmp_path


def firsts(found: data.Data, split: str = "train") -> list[int]:
    return found.splits[split].images[:, 0, 0].tolist()


def test_all_spans_are_joined_in_the_order_of_their_numbers(grown: Path):
    assert spans.find(str(grown)) == ["span-1", "span-2", "span-10"]
    found = data.read_data(str(grown))
    assert firsts(found) == list(range(180))
    assert firsts(found, "test") == [*range(6), *range(60, 66), *range(120, 126)]
    assert found.splits["train"].labels.tolist() == [i % 10 for i in range(180)]
    assert found.spans == ("span-1", "span-2", "span-10")
    assert "Of 3 spans" in found.said[0] and "span-1, span-2, span-10." in found.said[0]


def test_the_newest_spans_are_read(grown: Path):
    assert firsts(data.read_data(str(grown), DataConfig(spans=1))) == list(range(120, 180))
    found = data.read_data(str(grown), DataConfig(spans=2))
    assert firsts(found) == list(range(60, 180)) and found.spans == ("span-2", "span-10")
    assert len(data.read_data(str(grown), DataConfig(spans=9)).spans) == 3


def test_spans_may_have_formats_of_their_own(grown: Path):
    shutil.rmtree(grown / "span-2")
    (grown / "span-3").mkdir()
    names = {"x_train": (60, 200), "x_test": (6, 240)}
    arrays = {name: np.zeros((n, 28, 28), np.uint8) for name, (n, _) in names.items()}
    arrays |= {f"y_{name[2:]}": np.arange(n) % 10 for name, (n, _) in names.items()}
    arrays["x_train"][:, 0, 0] = 200
    np.savez(grown / "span-3" / "mnist.npz", **arrays)
    assert firsts(data.read_data(str(grown), DataConfig(spans=2)))[:61] == [200] * 60 + [120]


def test_a_span_without_class_0_keeps_its_labels(grown: Path):
    write(grown / "span-11", 0, labels=list(range(1, 10)))
    found = data.read_data(str(grown), DataConfig(spans=2)).splits["train"]
    assert found.labels[60:63].tolist() == [1, 2, 3]  # 1 is subtracted only where all run from 1


def test_the_digest_changes_with_a_new_span_alone(grown: Path):
    before = data.digest(str(grown))
    assert data.digest(str(grown)) == before
    found = data.read_data(str(grown))
    assert data.digest(str(grown), read=found.files) == before
    write(grown / "span-11", 0)
    assert data.digest(str(grown)) != before
    shutil.rmtree(grown / "span-11")
    (grown / "span-2").rename(grown / "span-3")  # the same images, delivered as another
    assert data.digest(str(grown)) != before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: (d / "span-x").mkdir(), "holds the folder span-x; a span is named span-1"),
        (lambda d: (d / "span-01").mkdir(), "span-01 and span-1, which have the same number"),
        (lambda d: write(d, 0), "holds spans and, besides them, t.*-images-idx3-ubyte"),
        (lambda d: (d / "span-11").mkdir(), "span-11 is empty"),
        (
            lambda d: (d / "span-2" / "labels.txt").write_text("a\n" * 10),
            "names of the classes lie in span-2; move that file",
        ),
        (
            lambda d: (d / "span-2" / "train-images-idx3-ubyte").unlink(),
            "span-2.*train-images",
        ),
    ],
)
def test_what_is_not_clear_is_a_sentence(grown: Path, change, sentence: str):
    change(grown)
    with pytest.raises(InputError) as error:
        data.read_data(str(grown))
    assert re.search(sentence, str(error.value)), error.value


def test_names_of_classes_lie_beside_the_spans(grown: Path):
    (grown / "labels.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    assert data.class_names(str(grown))[3] == "class 3"
    assert data.read_data(str(grown)).names[3] == "class 3"
    assert len(data.read_images(str(grown), "test")) == 18
