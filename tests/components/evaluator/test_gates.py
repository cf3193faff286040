"""Gates: value and change thresholds, missing figures, and the settings they come from."""

import dataclasses
import json
import math

import pytest

from components.evaluator.catalogue import catalogue
from components.evaluator.config import EvaluatorConfig, Gate
from components.evaluator.gates import check_gate, failed_threshold
from components.evaluator.results import Evaluation
from core.config import InputError, from_dict
from core.models import MODELS

LOW = Gate("frechet_distance", "max", 10.0, retrain_spread=0.1, relative=True, reason="why")
HIGH = Gate("inception_score", "min", 9.0, retrain_spread=0.1)


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        (LOW, 9.9, True),
        (LOW, 10.0, True),
        (LOW, 10.1, False),
        (HIGH, 9.0, True),
        (HIGH, 8.9, False),
    ],
)
def test_value_threshold_in_both_directions(gate, value, passed):
    found = check_gate(gate, "Figure", value)
    assert found.passed is passed
    assert f"{value:.4g}" in found.sentence
    assert ("at most 10" if gate is LOW else "at least 9") in found.sentence
    assert found.sentence.endswith("passed." if passed else "failed.")
    assert "champion" not in found.sentence


@pytest.mark.parametrize(
    ("gate", "value", "champion", "passed"),
    [
        (LOW, 6.5, 6.0, True),  # retraining alone moves 6 by 10 %
        (LOW, 6.7, 6.0, False),
        (LOW, 5.0, 6.0, True),
        (LOW, 10.5, 12.0, False),  # better than the champion, but above the threshold
        (HIGH, 9.45, 9.5, True),
        (HIGH, 9.35, 9.5, False),
    ],
)
def test_without_an_interval_the_retraining_spread_alone_may_be_lost(gate, value, champion, passed):
    found = check_gate(gate, "Figure", value, champion, has_champion=True)
    assert found.passed is passed
    assert found.champion == champion
    assert found.difference == value - champion
    assert found.difference_interval is None
    assert found.limit == pytest.approx(6.6 if champion == 6.0 else found.limit)
    assert f"champion has {champion:.4g}" in found.sentence
    assert "for retraining alone, as the metric has no interval" in found.sentence


@pytest.mark.parametrize(
    ("gate", "value", "half", "passed"),
    [
        (LOW, 6.8, 0.3, True),  # 6 + 10 % + 0.3
        (LOW, 7.0, 0.3, False),
        (LOW, 7.0, 0.5, True),  # the same loss, with fewer images to tell it by
        (HIGH, 5.75, 0.2, False),  # must be at least 9 as well
        (dataclasses.replace(HIGH, threshold=5.0), 5.75, 0.2, True),  # 6 - 0.1 - 0.2
        (dataclasses.replace(HIGH, threshold=5.0), 5.65, 0.2, False),
    ],
)
def test_half_the_interval_of_the_difference_is_allowed_on_top(gate, value, half, passed):
    between = (value - 6.0 - half, value - 6.0 + half)
    found = check_gate(gate, "Figure", value, 6.0, difference_interval=between, has_champion=True)
    assert found.passed is passed
    assert found.difference_interval == between
    sign, spread = (1, 0.6) if gate is LOW else (-1, 0.1)
    assert found.limit == pytest.approx(6.0 + sign * (spread + half))
    assert f"{found.limit:.4g}" in found.sentence
    assert f"and {half:.4g} for chance, half the 95 % interval" in found.sentence


def test_the_sentence_names_value_interval_threshold_champion_limit_and_verdict():
    found = check_gate(
        LOW,
        "FD",
        6.8,
        6.0,
        interval=(6.5, 7.1),
        difference_interval=(0.5, 1.1),
        has_champion=True,
    )
    assert found.sentence == (
        "FD is 6.8 (95 %: 6.5 to 7.1) and must be at most 10; the champion has 6 and sets the "
        "limit 6.9: 0.6 for retraining, and 0.3 for chance, half the 95 % interval of the "
        "difference: passed."
    )


def test_without_a_champion_or_its_figure_the_value_decides():
    assert check_gate(LOW, "Figure", 9.0).passed
    found = check_gate(LOW, "Figure", 9.0, None, has_champion=True)
    assert found.passed
    assert "champion has no such value" in found.sentence
    assert check_gate(LOW, "Figure", 9.0, math.nan, has_champion=True).passed


def test_a_champion_that_fails_a_threshold_itself_is_not_compared_with():
    why = failed_threshold(HIGH, "Inception Score", 1.1)
    assert why == "Inception Score is 1.1 and must be at least 9"
    precision = Gate("precision", "min", 0.7, retrain_spread=0.033)
    assert not check_gate(precision, "Precision", 0.84, 1.0, has_champion=True).passed
    between = (-0.17, -0.15)
    found = check_gate(
        *(precision, "Precision", 0.84, 1.0),
        difference_interval=between,
        has_champion=True,
        champion_fails=why,
    )
    assert found.passed and found.limit is None
    assert (found.champion, found.difference_interval) == (1.0, between)
    assert found.difference == pytest.approx(-0.16)
    assert found.sentence == (
        "Precision is 0.84 and must be at least 0.7; the champion has 1 but is not compared, "
        "as it fails a gate itself (Inception Score is 1.1 and must be at least 9), so the value "
        "alone decides: passed."
    )
    below = check_gate(precision, "Precision", 0.6, 1.0, has_champion=True, champion_fails=why)
    assert not below.passed


@pytest.mark.parametrize(
    ("gate", "champion", "fails"),
    [(LOW, 10.0, False), (LOW, 10.1, True), (HIGH, 9.0, False), (HIGH, 8.9, True)]
    + [(gate, value, True) for gate in (LOW, HIGH) for value in (math.nan, math.inf, -math.inf)],
)
def test_the_champion_fails_a_threshold_as_a_candidate_would(gate, champion, fails):
    assert bool(failed_threshold(gate, "Figure", champion)) is fails
    assert check_gate(gate, "Figure", champion).passed is not fails


def test_a_figure_of_the_champion_that_is_missing_fails_only_if_it_could_not_be_measured():
    assert failed_threshold(HIGH, "Score", None) == ""
    assert failed_threshold(HIGH, "Score", None, "signature generate gave NaN") == (
        "Score could not be measured: signature generate gave NaN"
    )
    assert failed_threshold(HIGH, "Score", math.nan) == (
        "Score is not a finite number and must be at least 9"
    )


def test_a_champion_without_the_figure_is_told_though_it_fails_another_gate():
    found = check_gate(LOW, "Figure", 9.0, None, has_champion=True, champion_fails="Score is 1")
    assert found.passed and "champion has no such value" in found.sentence


def test_a_gate_without_a_retraining_spread_ignores_the_champion():
    gate = dataclasses.replace(HIGH, retrain_spread=None)
    found = check_gate(gate, "Figure", 9.1, 9.9, has_champion=True)
    assert found.passed and found.limit is None
    assert "champion" not in found.sentence


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gate", [LOW, HIGH])
def test_a_figure_that_is_no_number_fails(gate, value):
    found = check_gate(gate, "Figure", value)
    assert not found.passed
    assert "not a finite number" in found.sentence


def test_a_missing_figure_fails_and_says_why():
    found = check_gate(HIGH, "Inception Score", None, why_missing="signature generate gave NaN")
    assert not found.passed
    assert found.value is None
    assert found.sentence == (
        "Inception Score was not measured (signature generate gave NaN) and must be at least 9: "
        "failed."
    )


def _evaluation(gates):
    return Evaluation("gan", 1, 10, 1.0, [], gates, [], [])


def test_all_gates_must_pass_and_the_reason_names_those_that_fail():
    good, bad = check_gate(HIGH, "Score", 9.5), check_gate(LOW, "Distance", 50.0)
    assert _evaluation([good]).blessed
    assert _evaluation([good]).reason == "All 1 gates passed."
    assert not _evaluation([good, bad]).blessed
    assert _evaluation([good, bad]).reason == bad.sentence


def test_a_model_without_a_gate_is_not_blessed():
    found = _evaluation([])
    assert not found.blessed
    assert "set evaluator.gates.gan" in found.reason


def test_metrics_json_holds_null_for_what_is_no_number():
    found = _evaluation([check_gate(HIGH, "Score", math.nan)]).as_dict()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["gates"][0]["value"] is None
    assert json.loads(text)["blessed"] is False


def test_config_survives_json_with_its_gates():
    config = EvaluatorConfig(gates={"gan": (LOW, HIGH), "autoencoder": ()})
    again = from_dict(EvaluatorConfig, json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config
    assert again.gates_of("gan") == (LOW, HIGH)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"gates": {"gan": [{"metric": "fvd", "direction": "max", "threshold": 1}]}},
            "no metric fvd",
        ),
        ({"batch_size": 10_001}, "batch_size must be between 1 and 10000"),
        ({"gates": {"vae": []}}, "no model vae; known are autoencoder, diffusion, gan"),
        (
            {"gates": {"gan": [{"metric": "class_tv", "direction": "up", "threshold": 1}]}},
            "max or min",
        ),
        ({"gates": {"gan": [{"metric": "class_tv", "direction": "max"}]}}, "threshold is missing"),
        (
            {"gates": {"gan": [{"metric": "class_tv", "direction": "max", "threshold": math.nan}]}},
            "finite",
        ),
        (
            {"gates": {"gan": [{"metric": "class_tv", "direction": "max", "threshold": 1}] * 2}},
            "more than one gate",
        ),
        ({"samples": 2}, "samples must be at least 16"),
        ({"samples": "many"}, "samples must be of type int"),
        ({"noise_levels": [0.2, 0.2]}, "different multiples"),
        ({"noise_levels": [0.333333]}, "different multiples"),
        ({"noise_levels": [0]}, "above 0"),
        ({"tsne_points": 100}, "Unknown setting tsne_points"),
    ],
)
def test_wrong_settings_are_one_sentence(settings, words):
    with pytest.raises(InputError, match=words):
        from_dict(EvaluatorConfig, settings)


def test_denoising_gates_follow_the_noise_levels():
    gate = {"metric": "denoising_gain_25", "direction": "min", "threshold": 1}
    settings = {"noise_levels": [0.25], "gates": {"diffusion": [gate]}}
    assert from_dict(EvaluatorConfig, settings).gates_of("diffusion")[0].threshold == 1.0
    with pytest.raises(InputError, match="no metric denoising_gain_25"):
        from_dict(EvaluatorConfig, {"gates": {"diffusion": [gate]}})


@pytest.mark.parametrize("model", MODELS)
def test_every_metric_has_words(model):
    for metric in catalogue(model, (0.2, 0.4)).values():
        assert metric.title
        assert metric.description.endswith(".")
        assert metric.better in ("lower", "higher", None)
