import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scaling, tables
from components.idx_example_gen.data import read_data
from pipeline.plan import NODES

SIZES = (10_000, 30_000, 60_000, 120_000)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_order_is_the_power_of_the_growth(power):
    slope, error = scaling.order(SIZES, [3e-4 * size**power for size in SIZES])
    assert slope == pytest.approx(power) and error == pytest.approx(0, abs=1e-6)


def test_noise_shows_as_an_error():
    slope, error = scaling.order(SIZES, [1.0, 3.6, 5.4, 13.0])
    assert abs(slope - 1) < 2 * error < 0.5
    assert math.isnan(scaling.order(SIZES[:2], [1.0, 3.0])[1])


def test_the_time_of_starting_is_not_counted():
    start = [8.0] * 4
    linear = [8.0 + size / 1000 for size in SIZES]
    assert scaling.growth(SIZES, linear, start) == "1.00 ± 0.00"
    assert scaling.growth(SIZES, [8.0, 8.2, 8.1, 9.0], start) == "constant"
    assert scaling.growth(SIZES[:2], linear[:2], start[:2]) == "1.00"


def test_table_has_every_node_and_the_sum():
    costs = {
        size: {
            node: scaling.Cost(8.0 + i * size / 1e5, 9.0, 100.0 + i) for i, node in enumerate(NODES)
        }
        for size in SIZES
    }
    lines = scaling.rows(costs)
    assert [line[0] for line in lines[1:-1]] == list(NODES)
    assert {len(line) for line in lines} == {len(lines[0])}
    gan = dict(zip(lines[0], lines[1 + list(NODES).index("gan")], strict=True))
    assert gan["order"] == "1.00 ± 0.00"
    whole = dict(zip(lines[0], lines[-1], strict=True))
    assert float(whole["120k, s"]) == 9.0 * len(NODES)
    assert whole["10k, MiB"] == f"{100 + len(NODES) - 1}"
    text = tables.markdown(lines).splitlines()
    assert len(text) == len(lines) + 1 and set(text[1]) <= set("|-: ")


@pytest.mark.parametrize("size", [300, 60_300])
def test_data_of_any_size(tmp_path: Path, size):
    folder = scaling.write_data(tmp_path / "data", size)
    splits = read_data(str(folder)).splits
    images, labels = splits["train"].images, splits["train"].labels
    assert images.shape == (size, 28, 28) and labels.shape == (size,)
    np.testing.assert_array_equal(images[60_000:], images[: max(size - 60_000, 0)])
    assert len(splits["test"].labels) == 10_000


def test_more_than_there_is_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="120000"):
        scaling.write_data(tmp_path / "data", 120_001)
