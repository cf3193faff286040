"""Gates: value and change thresholds, missing figures, and the settings they come from."""

import dataclasses
import json
import math

import pytest

from components.evaluator.catalogue import REFERENCES, Metric, catalogue
from components.evaluator.config import EvaluatorConfig, Gate
from components.evaluator.gates import (
    Measurement,
    Rival,
    check_gate,
    failed_threshold,
    improvement,
)
from components.evaluator.results import Evaluation
from core.config import InputError, from_dict
from core.models import MODELS

LOW = Gate("frechet_distance", "max", 10.0, retrain_spread=0.1, relative=True, reason="why")
HIGH = Gate("inception_score", "min", 9.0, retrain_spread=0.1)
FIGURE = Metric("figure", "Figure", "lower", "Any.", "pca")
PCA = "PCA with a code of the same size"


def check(gate, value, *rivals, interval=None, reference=None, missing=""):
    """The verdict; a rival that is a number is a champion of that value."""
    found = [r if isinstance(r, Rival) else Rival("the champion", r) for r in rivals]
    return check_gate(gate, FIGURE, Measurement(value, reference, interval, missing), found)


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
    found = check(gate, value)
    assert found.passed is passed
    assert f"{value:.4g}" in found.sentence
    assert ("at most 10" if gate is LOW else "at least 9") in found.sentence
    assert found.sentence.endswith("passed." if passed else "failed.")
    assert "champion" not in found.sentence


@pytest.mark.parametrize(
    ("gate", "value", "champion", "limit", "passed"),
    [
        (LOW, 6.5, 6.0, 6.6, True),  # retraining alone moves 6 by 10 %
        (LOW, 6.7, 6.0, 6.6, False),
        (LOW, 5.0, 6.0, 6.6, True),
        (LOW, 10.5, 12.0, 13.2, False),  # better than the champion, but above the threshold
        (HIGH, 9.45, 9.5, 9.4, True),
        (HIGH, 9.35, 9.5, 9.4, False),
    ],
)
def test_without_an_interval_the_retraining_spread_alone_may_be_lost(
    gate, value, champion, limit, passed
):
    found = check(gate, value, champion)
    assert found.passed is passed
    assert found.champion == champion
    assert found.difference == value - champion
    assert found.difference_interval is None
    assert found.limit == pytest.approx(limit)
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
    found = check(gate, value, Rival("the champion", 6.0, between))
    assert found.passed is passed
    assert found.difference_interval == between
    sign, spread = (1, 0.6) if gate is LOW else (-1, 0.1)
    assert found.limit == pytest.approx(6.0 + sign * (spread + half))
    assert f"{found.limit:.4g}" in found.sentence
    assert f"and {half:.4g} for chance, half the 95 % interval" in found.sentence


def test_the_sentence_names_value_interval_threshold_champion_limit_and_verdict():
    champion = Rival("the champion", 6.0, (0.5, 1.1))
    assert check(LOW, 6.8, champion, interval=(6.5, 7.1)).sentence == (
        "Figure is 6.8 (95 %: 6.5 to 7.1) and must be at most 10; the champion has 6 and sets the "
        "limit 6.9: 0.6 for retraining, and 0.3 for chance, half the 95 % interval of the "
        "difference: passed."
    )


def test_the_stricter_of_champion_and_best_version_sets_the_limit():
    champion, best = Rival("the champion", 6.0), Rival("the best version so far", 5.0)
    for gate, rivals, limit in (
        (LOW, (champion, best), 5.5),
        (HIGH, (Rival("the champion", 9.3), Rival("the best version so far", 9.6)), 9.5),
    ):
        found = check(gate, limit, *rivals)
        assert found.limit == pytest.approx(limit)
        assert found.champion == rivals[0].value
        assert "the best version so far has" in found.sentence
    assert not check(LOW, 5.6, champion, best).passed


@pytest.mark.parametrize(
    ("gate", "reference", "threshold", "words"),
    [
        (
            Gate("mse", "max", 0.6, times="pca"),
            *(0.02, 0.012, f"at most 0.012, 0.6 times the 0.02 of {PCA}"),
        ),
        (
            Gate("accuracy", "min", 0.1, plus="pca"),
            *(0.5, 0.6, f"at least 0.6, 0.1 plus the 0.5 of {PCA}"),
        ),
    ],
)
def test_a_threshold_by_a_reference(gate, reference, threshold, words):
    inside, outside = sorted((0.9 * threshold, 1.1 * threshold), reverse=gate.direction == "min")
    found = check(gate, inside, reference=reference)
    assert found.passed and found.threshold == pytest.approx(threshold)
    assert words in found.sentence
    assert not check(gate, outside, reference=reference).passed
    for lost in (None, math.nan):
        refused = check(gate, inside, reference=lost)
        assert not refused.passed and refused.threshold is None
        assert f"{PCA}, which was not measured: failed." in refused.sentence


def test_better_than_the_champion_is_a_gain_above_what_a_loss_may_be():
    champion = Rival("the champion", 6.0, (-0.3, 0.3))
    assert improvement(LOW, FIGURE, 5.2, champion) == ""  # within 10 % and 0.3
    assert improvement(LOW, FIGURE, 5.0, champion) == "Figure improves from 6 to 5"
    assert improvement(HIGH, FIGURE, 6.5, champion) == "Figure improves from 6 to 6.5"
    assert improvement(HIGH, FIGURE, 5.0, champion) == ""
    for value, other in ((None, 6.0), (5.0, None), (5.0, math.nan), (math.nan, 6.0)):
        assert improvement(LOW, FIGURE, value, Rival("the champion", other)) == ""
    beaten = dataclasses.replace(champion, beaten="Distance improves from 9 to 3")
    found = check(LOW, 9.9, beaten)
    assert found.passed and found.limit is None
    assert "the champion has 6 but sets no limit, as Distance improves from 9 to 3" in (
        found.sentence
    )
    assert not check(LOW, 10.1, beaten).passed


def test_without_a_champion_or_its_figure_the_value_decides():
    assert check(LOW, 9.0).passed
    found = check(LOW, 9.0, None)
    assert found.passed
    assert "champion has no such value" in found.sentence
    assert check(LOW, 9.0, math.nan).passed


def test_a_champion_that_fails_a_threshold_itself_is_not_compared_with():
    why = failed_threshold(HIGH, FIGURE, Measurement(1.1))
    assert why == "Figure is 1.1 and must be at least 9"
    precision = Gate("precision", "min", 0.7, retrain_spread=0.033)
    assert not check(precision, 0.84, 1.0).passed
    between = (-0.17, -0.15)
    champion = Rival("the champion", 1.0, between, unfit=f"it fails a gate itself ({why})")
    found = check(precision, 0.84, champion)
    assert found.passed and found.limit is None
    assert (found.champion, found.difference_interval) == (1.0, between)
    assert found.difference == pytest.approx(-0.16)
    assert found.sentence == (
        "Figure is 0.84 and must be at least 0.7; the champion has 1 but is not compared, "
        "as it fails a gate itself (Figure is 1.1 and must be at least 9), so the value "
        "alone decides: passed."
    )
    assert not check(precision, 0.6, champion).passed


@pytest.mark.parametrize(
    ("gate", "champion", "fails"),
    [(LOW, 10.0, False), (LOW, 10.1, True), (HIGH, 9.0, False), (HIGH, 8.9, True)]
    + [(gate, value, True) for gate in (LOW, HIGH) for value in (math.nan, math.inf, -math.inf)],
)
def test_the_champion_fails_a_threshold_as_a_candidate_would(gate, champion, fails):
    assert bool(failed_threshold(gate, FIGURE, Measurement(champion))) is fails
    assert check(gate, champion).passed is not fails


def test_a_figure_of_the_champion_that_is_missing_fails_only_if_it_could_not_be_measured():
    assert failed_threshold(HIGH, FIGURE, Measurement(None)) == ""
    lost = Measurement(None, missing="signature generate gave NaN")
    assert failed_threshold(HIGH, FIGURE, lost) == (
        "Figure could not be measured: signature generate gave NaN"
    )
    assert failed_threshold(HIGH, FIGURE, Measurement(math.nan)) == (
        "Figure is not a finite number and must be at least 9"
    )


def test_a_champion_without_the_figure_is_told_though_it_fails_another_gate():
    found = check(LOW, 9.0, Rival("the champion", None, unfit="Score is 1"))
    assert found.passed and "champion has no such value" in found.sentence


def test_a_gate_without_a_retraining_spread_ignores_the_champion():
    found = check(dataclasses.replace(HIGH, retrain_spread=None), 9.1, 9.9)
    assert found.passed and found.limit is None
    assert "champion" not in found.sentence


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gate", [LOW, HIGH])
def test_a_figure_that_is_no_number_fails(gate, value):
    found = check(gate, value)
    assert not found.passed
    assert "not a finite number" in found.sentence


def test_a_missing_figure_fails_and_says_why():
    found = check(HIGH, None, missing="signature generate gave NaN")
    assert not found.passed
    assert found.value is None
    assert found.sentence == (
        "Figure was not measured (signature generate gave NaN) and must be at least 9: failed."
    )


def _evaluation(gates):
    return Evaluation("gan", 1, 10, 1.0, [], gates, [], [])


def test_all_gates_must_pass_and_the_reason_names_those_that_fail():
    good, bad = check(HIGH, 9.5), check(LOW, 50.0)
    assert _evaluation([good]).blessed
    assert _evaluation([good]).reason == "All 1 gates passed."
    assert not _evaluation([good, bad]).blessed
    assert _evaluation([good, bad]).reason == bad.sentence


def test_a_model_without_a_gate_is_not_blessed():
    found = _evaluation([])
    assert not found.blessed
    assert "set evaluator.gates.gan" in found.reason


def test_metrics_json_holds_null_for_what_is_no_number():
    found = _evaluation([check(HIGH, math.nan)]).as_dict()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["gates"][0]["value"] is None
    assert json.loads(text)["blessed"] is False


def test_config_survives_json_with_its_gates():
    config = EvaluatorConfig(gates={"gan": (LOW, HIGH), "autoencoder": ()})
    again = from_dict(EvaluatorConfig, json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config
    assert again.gates_of("gan") == (LOW, HIGH)


AT_LEAST = {"direction": "min", "threshold": 0.9}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"gates": {"gan": [{"metric": "fvd", "direction": "max", "threshold": 1}]}},
            "no metric fvd",
        ),
        ({"batch_size": 10_001}, "batch_size must be between 1 and 10000"),
        ({"gates": {"vae": []}}, "no model vae; the models are autoencoder, diffusion, gan"),
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
        (
            {"gates": {"gan": [{"metric": "precision", **AT_LEAST, "times": "pca"}]}},
            "precision.times: pca is not the reference of this metric; its reference is real_train",
        ),
        (
            {"gates": {"gan": [{"metric": "precision", **AT_LEAST, "times": "real", "plus": "x"}]}},
            "times and plus cannot both be set",
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
        assert metric.reference in REFERENCES
