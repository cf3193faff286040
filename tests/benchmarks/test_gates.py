"""The gates against retrainings and bad candidates: arithmetic, a real run, today's records."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gates, tables
from pipeline.config import load_config

ROOT = Path(__file__).parents[2]
RECORDS = sorted(gates.RECORDS.glob("gates-*.json"))
TINY = (
    *("gan.channels=8", "gan.sample_every=1000", "judge.epochs=1", "evaluator.samples=200"),
    "evaluator.batch_size=200",
)
GATES = (
    "[{metric: fd_over_floor, direction: max, threshold: 8, retrain_spread: 0.1, relative: true},"
    "{metric: precision, direction: min, threshold: 0.8, times: real_train}]"
)


@pytest.fixture
def config():
    return load_config("quick", overrides=[f"evaluator.gates.gan={GATES}"])


def record(*distances: float, precision: float = 0.8) -> dict:
    values = [{"fd_over_floor": [d, 1.0], "precision": [precision, 0.9]} for d in distances]
    trained = {"gan": {str(seed): found for seed, found in enumerate(values)}}
    bad = {"gan": {"copies": {"fd_over_floor": [0.3, 1.0], "precision": [0.9, 0.9]}}}
    return {"data": "mnist", "caption": "here", "trained": trained, "bad": bad}


def test_the_table_has_distance_and_expected_refusals_of_a_normal_distribution(config):
    lines = gates.trained_table(record(4.0, 5.0, 6.0, 5.0), config)
    line = dict(zip(lines[0], lines[1], strict=True))
    assert (line["metric"], line["mean"], line["worst"]) == ("fd_over_floor", "5", "6")
    assert line["standard deviation"] == "0.8165" and line["threshold"] == "≤ 8"
    assert line["distance"] == "3.7"  # (8 - 5) / 0.8165
    assert float(line["refused of 60"]) == pytest.approx(60 * 0.000119, rel=0.02)
    assert line["two standard deviations"] == "0.33 of the mean"
    line = dict(zip(lines[0], lines[2], strict=True))
    assert line["threshold"] == "≥ 0.72" and line["standard deviation"] == "none"
    assert lines[3][1] == "4 of 4 approved"
    assert gates.trained_table(record(4.0, 9.0), config)[3][1] == "1 of 2 approved"


def test_a_bad_candidate_is_listed_with_the_gates_that_refuse_it(config):
    assert gates.bad_table(record(4.0, 5.0), config)[1:] == [["gan", "copies", "no gate"]]
    strict = load_config(
        "quick",
        overrides=[f"evaluator.gates.gan={GATES.replace('threshold: 8', 'threshold: 0.2')}"],
    )
    [line] = gates.bad_table(record(4.0, 5.0), strict)[1:]
    assert line[2] == "fd_over_floor 0.3"


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_todays_gates_approve_every_recorded_training_and_refuse_every_bad_candidate(path):
    found, config = gates.read_record(path), load_config("quick")
    for model, seeds in found["trained"].items():
        for seed, values in seeds.items():
            verdicts = gates.judged(config, model, values)
            assert len(verdicts) == len(config.evaluator.gates_of(model))
            assert [v.sentence for v in verdicts if not v.passed] == [], f"{model}, seed {seed}"
    passed = [line[1] for line in gates.bad_table(found, config) if line[2] == "no gate"]
    # docs/results.md says why this one cannot be refused.
    assert set(passed) <= {"trained, as much noise as signal in the latent"}
    text = (ROOT / "docs" / "results.md").read_text()
    assert tables.markdown(gates.trained_table(found, config)) in text


def test_the_documents_list_more_than_twenty_bad_candidates():
    bad = gates.bad_table(gates.read_record(gates.RECORDS / "gates-mnist.json"), load_config())
    assert len(bad) > 20
    assert tables.markdown(bad) in (ROOT / "docs" / "results.md").read_text()


@pytest.mark.extended
def test_two_seeds_are_trained_judged_alike_and_kept_and_bad_candidates_measured(
    small_mnist_dir, tmp_path, capsys
):
    settings = [part for setting in TINY for part in ("--set", setting)]
    arguments = ["--profile", "smoke", "--data", str(small_mnist_dir), "--models", "gan"]
    arguments += ["--seeds", "2", "--output", str(tmp_path / "kept"), *settings]
    table = tmp_path / "table.md"
    kept = tmp_path / "record.json"
    assert gates.main([*arguments, "--markdown", str(table), "--record", str(kept)]) == 0
    folder = tmp_path / "kept" / "smoke" / small_mnist_dir.name
    places = [folder / "gan" / f"seed-{seed}" for seed in (1, 2)]
    found = [json.loads((place / "metrics.json").read_text()) for place in places]
    values = [
        {figure["name"]: figure["value"] for figure in metrics["figures"]} for metrics in found
    ]
    assert values[0]["judge_accuracy"] == values[1]["judge_accuracy"]  # the very same judge
    assert [metrics["seed"] for metrics in found] == [1, 1]  # the same sampling seeds
    distances = np.array([value["frechet_distance"] for value in values])
    assert distances[0] != distances[1]  # another training
    assert found[0]["champion"] is None
    [row] = [line for line in table.read_text().splitlines() if "frechet_distance" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(cells[2]) == pytest.approx(distances.mean(), rel=1e-3)
    assert float(cells[3]) == pytest.approx(distances.std(ddof=1), rel=1e-3)

    bad = gates.bad_table(gates.read_record(kept), load_config("smoke"))[1:]
    assert ["gan", "Gaussian of the pixels"] in [line[:2] for line in bad]
    assert len(bad) > 20

    written = [(place / "metrics.json").stat().st_mtime_ns for place in places]
    capsys.readouterr()
    assert gates.main(arguments) == 0  # goes on: nothing is trained again
    assert [(place / "metrics.json").stat().st_mtime_ns for place in places] == written
    assert "frechet_distance" in capsys.readouterr().out
    assert gates.main([*arguments, "--set", "gan.epochs=2"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_one_seed_has_no_standard_deviation(config, capsys):
    lines = gates.trained_table(record(4.0), config)
    assert lines[1][2:] == ["4", "none", "4", "≤ 8", "", "", ""]
    assert lines[3][1] == "1 of 1 approved"
    assert gates.main(["--seeds", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
