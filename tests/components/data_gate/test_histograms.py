"""Histograms of new data over those of the baseline: numbers, drawing, and gaps in either."""

import numpy as np
import pytest

from components.data_gate import baseline as baselines
from components.data_gate import gate, histograms
from components.data_gate.schema import read_schema, without_image
from components.idx_example_gen import data, scalars
from components.idx_example_gen.data import Pair

COLUMNS = (*scalars.NAMES, "label")


@pytest.fixture(scope="module")
def measured(small_mnist_dir):
    """Statistics of 1,000 digits, of the same moved three pixels right, and the schema."""
    schema = read_schema(str(small_mnist_dir))
    splits = data.read_data(str(small_mnist_dir)).splits
    moved = {
        split: Pair(np.roll(pair.images, 3, axis=2), pair.labels) for split, pair in splits.items()
    }
    return (
        baselines.compute_splits(splits, schema),
        baselines.compute_splits(moved, schema),
        without_image(schema),
    )


def test_the_same_data_lies_on_its_baseline(measured):
    known, _, _ = measured
    baseline = {split: known[split] for split in ("train", "test")}
    found = histograms.compare(known, baseline)
    assert [(h.column, h.split) for h in found] == [
        (column, split) for column in COLUMNS for split in ("train", "test")
    ]
    for histogram in found:
        assert histogram.now == histogram.known
        assert sum(histogram.now) == pytest.approx(1, abs=0.01)
    assert (found[-1].low, found[-1].high, len(found[-1].now)) == (0, 9, 10)


def test_moved_images_leave_the_baseline_in_their_column_alone(measured):
    known, now, schema = measured
    baseline = {"train": known["train"]}
    found = histograms.compare(now, baseline, gate.inspect(now, schema, baseline))
    distance = {h.column: np.abs(np.subtract(h.now, h.known)).sum() / 2 for h in found}
    assert distance["center_x"] > 0.5 and distance["center_y"] < 0.1
    drawn = {h.column: histograms.draw(h) for h in found}
    assert {name for name, text in drawn.items() if "drifted" in text} == {
        h.column for h in found if h.drift > h.limit
    }
    assert "drifted" in drawn["center_x"] and "drifted" not in drawn["center_y"]


def test_classes_that_are_gone_are_bins_of_their_own(measured, small_mnist_dir):
    known, _, _ = measured
    train = data.read_data(str(small_mnist_dir)).splits["train"]
    low = train.labels < 5
    less = baselines.compute_statistics(
        train.images[low], train.labels[low], read_schema(str(small_mnist_dir))
    )
    found = histograms.compare({"train": less}, {"train": known["train"]})[-1]
    assert found.column == "label" and len(found.now) == 10
    assert min(found.now[:5]) > 0.1 and max(found.now[5:]) == 0
    assert min(found.known) > 0 and max(found.known) < 0.15


def test_a_column_without_a_baseline_and_an_empty_split_are_left_out(measured):
    known, now, _ = measured
    less = type(known["train"]).FromString(known["train"].SerializeToString())
    [place] = [
        i for i, f in enumerate(less.datasets[0].features) if f.path.step[0] == "stroke_width"
    ]
    del less.datasets[0].features[place]
    empty = type(less).FromString(now["test"].SerializeToString())
    empty.datasets[0].num_examples = 0
    found = histograms.compare({**now, "test": empty}, {"train": less, "test": known["test"]})
    assert [h.column for h in found] == [name for name in COLUMNS if name != "stroke_width"]
    assert {h.split for h in found} == {"train"}


def test_names_are_text_in_the_drawing():
    text = histograms.draw(histograms.Histogram("<b>", '"', 0, 1, (1.0,), (0.5,)))
    assert "<b>" not in text and "&lt;b&gt;, &quot;: 0 to 1" in text
