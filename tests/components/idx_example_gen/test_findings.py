"""What is found in images and labels: the count, the first places, and nothing in clean data."""

from pathlib import Path

import numpy as np
import pytest

from components.idx_example_gen import data, findings
from components.idx_example_gen.data import Pair

COUNT = 2400


@pytest.fixture(scope="module")
def mnist(mnist_dir: Path) -> dict[str, Pair]:
    return {
        split: Pair(pair.images[:COUNT], pair.labels[:COUNT])
        for split, pair in data.read_data(str(mnist_dir)).splits.items()
    }


def named(splits, name: str, split: str = "train") -> findings.Finding:
    [found] = [f for f in findings.find(splits) if (f.name, f.split) == (name, split)]
    return found


def with_train(splits, images=None, labels=None) -> dict[str, Pair]:
    train = splits["train"]
    images = train.images if images is None else images
    return {**splits, "train": Pair(images, train.labels if labels is None else labels)}


def test_nothing_is_found_in_the_whole_of_mnist(mnist_dir: Path):
    assert findings.find(data.read_data(str(mnist_dir)).splits) == []


def test_blank_images_are_counted_and_named(mnist):
    images = mnist["train"].images.copy()
    images[310], images[415] = 0, 255
    found = named(with_train(mnist, images), "blank")
    assert (found.count, found.first, found.stops) == (2, (310, 415), True)
    assert found.sentence == (
        "2 of 2,400 train images are blank: 310, 415. Remove them, with their labels."
    )
    rows = np.arange(COUNT) * 3
    cut = {**mnist, "train": Pair(images, mnist["train"].labels, rows)}
    assert named(cut, "blank").first == (930, 1245)  # their places in the file


def test_ten_places_at_most_are_given(mnist):
    images = np.concatenate([mnist["train"].images, mnist["train"].images[:30]])
    labels = np.concatenate([mnist["train"].labels, mnist["train"].labels[:30]])
    found = named(with_train(mnist, images, labels), "duplicate")
    assert found.count == 30 and not found.stops
    assert found.first == tuple(range(COUNT, COUNT + 10))
    assert "2408, 2409, .... Remove" in found.sentence


@pytest.mark.parametrize("noise", [0, 3])
def test_test_images_that_are_in_train_are_found(mnist, noise: int):
    shift = np.random.default_rng(0).integers(-noise, noise + 1, (40, 28, 28))
    copies = np.clip(mnist["train"].images[:40] + shift, 0, 255).astype(np.uint8)
    test = Pair(
        np.concatenate([mnist["test"].images, copies]),
        np.concatenate([mnist["test"].labels, mnist["train"].labels[:40]]),
    )
    found = named({**mnist, "test": test}, "leak", "test")
    assert (found.count, found.first[0], found.stops) == (40, COUNT, True)
    few = {**mnist, "test": Pair(test.images[: COUNT + 5], test.labels[: COUNT + 5])}
    assert not named(few, "leak", "test").stops  # 0.2 %


def test_labels_that_disagree_with_the_same_image_are_found(mnist):
    images = np.concatenate([mnist["train"].images, mnist["train"].images[:60]])
    other = (mnist["train"].labels[:60] + 1) % 10
    found = named(
        with_train(mnist, images, np.concatenate([mnist["train"].labels, other])), "disagree"
    )
    assert (found.count, found.first[0], found.stops) == (60, COUNT, True)


@pytest.mark.parametrize(
    ("images", "high", "stops"),
    [
        (lambda x: (x > 127).astype(np.uint8), 1, True),
        (lambda x: x // 16, 15, True),
        (lambda x: x // 5, 51, False),
    ],
)
def test_pixels_on_another_scale_are_found(mnist, images, high: int, stops: bool):
    found = named(with_train(mnist, images(mnist["train"].images)), "scale")
    assert found.stops == stops and f"is above {high}," in found.sentence
    assert f"Multiply the pixels by {255 // high}." in found.sentence


def test_white_paper_and_sorted_files_are_noted(mnist):
    found = named(with_train(mnist, 255 - mnist["train"].images), "inverted")
    assert not found.stops and "dark on white" in found.sentence
    order = np.argsort(mnist["train"].labels, kind="stable")
    train = mnist["train"]
    found = named(with_train(mnist, train.images[order], train.labels[order]), "sorted")
    assert not found.stops and "sorted by class" in found.sentence


def test_gaps_and_marks_for_no_label_are_told_apart(mnist):
    labels = mnist["train"].labels.copy()
    labels[labels == 4] = 11
    found = named(with_train(mnist, labels=labels), "gaps")
    assert found.first == (4, 10) and found.stops
    labels = mnist["train"].labels.copy()
    labels[::50] = 255
    assert "Label 255 is far above the next, 9. If it marks" in (
        named(with_train(mnist, labels=labels), "gaps").sentence
    )


def test_too_few_images_say_how_many_are_needed(mnist):
    small = {split: Pair(p.images[:400], p.labels[:400]) for split, p in mnist.items()}
    assert named(small, "few").sentence == (
        "Train holds 400 images, of which 34 go to eval, where at least 50 are needed. Give about "
        "600."
    )
    rare = (mnist["train"].labels != 3) | (np.cumsum(mnist["train"].labels == 3) <= 2)
    train = Pair(mnist["train"].images[rare], mnist["train"].labels[rare])
    found = named({**mnist, "train": train}, "few")
    assert found.first == (3,) and "train has only 2 to 2 of each" in found.sentence


@pytest.mark.parametrize(
    "wrong",
    [
        lambda labels: np.random.default_rng(0).permutation(labels),
        lambda labels: np.roll(labels, 1),
    ],
    ids=["shuffled", "moved by one"],
)
def test_labels_of_other_images_are_found(mnist, wrong):
    found = named(with_train(mnist, labels=wrong(mnist["train"].labels)), "shuffled")
    assert found.stops and "no better than chance" in found.sentence
    half = mnist["train"].labels.copy()
    half[: COUNT // 2] = wrong(half[: COUNT // 2])
    names = [f.name for f in findings.find(with_train(mnist, labels=half))]
    assert "shuffled" not in names  # half of them are right


def test_what_is_allowed_stops_nothing(mnist):
    images = mnist["train"].images.copy()
    images[5] = 0
    found = findings.find(with_train(mnist, images))
    assert [f.name for f in findings.stopping(found, [])] == ["blank"]
    assert findings.stopping(found, ["blank"]) == []
