"""The spread over retrained seeds: its arithmetic, and two seeds trained for real."""

import json
import math

import numpy as np
import pytest

from benchmarks import retrain_spread
from components.evaluator.config import Gate
from core.config import InputError

GATE = Gate("fd_over_floor", "max", 10.0, retrain_spread=0.1)
TINY = (
    *("gan.channels=8", "gan.sample_every=1000", "judge.epochs=1", "evaluator.samples=200"),
    "evaluator.batch_size=200",
)


def test_tolerance_is_two_deviations_or_their_share_of_the_mean():
    figures = [{"fd_over_floor": value} for value in (4.0, 5.0, 6.0, 5.0)]
    found = retrain_spread.spread(GATE, figures)
    assert found.mean == 5.0 and (found.least, found.most) == (4.0, 6.0)
    assert found.deviation == pytest.approx(math.sqrt(2 / 3))
    assert found.tolerance == pytest.approx(2 * math.sqrt(2 / 3))
    share = Gate("fd_over_floor", "max", 10.0, retrain_spread=0.1, relative=True)
    assert retrain_spread.spread(share, figures).tolerance == pytest.approx(found.tolerance / 5)
    below_zero = [{"fd_over_floor": -figure["fd_over_floor"]} for figure in figures]
    assert retrain_spread.spread(share, below_zero).tolerance == pytest.approx(found.tolerance / 5)


def test_a_seed_without_the_figure_is_told():
    with pytest.raises(InputError, match="fd_over_floor was not measured"):
        retrain_spread.spread(GATE, [{"fd_over_floor": 1.0}, {"fd_over_floor": None}])


@pytest.mark.extended
def test_two_seeds_are_trained_judged_alike_and_kept(small_mnist_dir, tmp_path, capsys):
    settings = [part for setting in TINY for part in ("--set", setting)]
    arguments = ["--profile", "smoke", "--data", str(small_mnist_dir), "--models", "gan"]
    arguments += ["--seeds", "2", "--output", str(tmp_path / "kept"), *settings]
    table = tmp_path / "table.md"
    assert retrain_spread.main([*arguments, "--markdown", str(table)]) == 0
    places = [tmp_path / "kept" / "smoke" / "gan" / f"seed-{seed}" for seed in (1, 2)]
    found = [json.loads((place / "metrics.json").read_text()) for place in places]
    values = [
        {figure["name"]: figure["value"] for figure in metrics["figures"]} for metrics in found
    ]
    assert values[0]["judge_accuracy"] == values[1]["judge_accuracy"]  # the very same judge
    assert [metrics["seed"] for metrics in found] == [1, 1]  # the same sampling seeds
    distances = np.array([value["frechet_distance"] for value in values])
    assert distances[0] != distances[1]  # another training
    assert found[0]["champion"] is None
    assert not (places[0] / "models").exists()
    [row] = [line for line in table.read_text().splitlines() if "frechet_distance" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(cells[2]) == pytest.approx(distances.mean(), rel=1e-3)
    assert float(cells[3]) == pytest.approx(distances.std(ddof=1), rel=1e-3)

    written = [(place / "metrics.json").stat().st_mtime_ns for place in places]
    capsys.readouterr()
    assert retrain_spread.main(arguments) == 0  # goes on: nothing is trained again
    assert [(place / "metrics.json").stat().st_mtime_ns for place in places] == written
    assert "frechet_distance" in capsys.readouterr().out
    assert retrain_spread.main([*arguments, "--set", "gan.epochs=2"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_one_seed_has_no_deviation(capsys):
    assert retrain_spread.main(["--seeds", "1"]) == 2
    assert "two seeds" in capsys.readouterr().err
