"""The candidate beside the champion: bootstrap in pairs, and what is missing and why."""

import dataclasses

import numpy as np
import pytest

from components.evaluator.catalogue import Metric, catalogue
from components.evaluator.config import Gate
from components.evaluator.measurement import Measured, Part, Row, Standard, run_parts
from components.evaluator.metrics.bootstrap import mean_replicates
from components.evaluator.references import References
from components.evaluator.saved_model import DEEP_ONLY, LoadedModel, NotFinite, NotRun

GATE = Gate("reconstruction_mse", "max", 10.0, retrain_spread=0.0)
REPLICATES = 400


def metrics(model: str, *names: str) -> list[Metric]:
    return [catalogue(model, ())[name] for name in names]


@pytest.fixture
def compare(data, small):
    """Measures the mean of one error per test image, of a candidate and of a champion."""

    def run(candidate: np.ndarray, champion: np.ndarray, gate: Gate = GATE, **settings):
        errors = {"candidate": candidate, "champion": champion}

        def measure(model, references, stage, draw) -> Measured:
            own = errors[model.path]
            drawn = mean_replicates(own, REPLICATES, references.config.seed)
            if not settings.get("replicates", True):
                drawn = None
            return Measured([Row("reconstruction_mse", float(own.mean()), replicates=drawn)])

        config = dataclasses.replace(small, gates={"autoencoder": (gate,)})
        part = Part(
            "reconstruction",
            "reconstruction",
            metrics("autoencoder", "reconstruction_mse"),
            measure,
        )
        models = [LoadedModel("autoencoder", name, None, 1) for name in errors]
        standards = [Standard("the champion", models[1])]
        return run_parts([part], models[0], References(data, None, config), config, standards)

    return run


@pytest.fixture
def errors() -> np.ndarray:
    """One error per image; images differ a lot, as easy and difficult digits do."""
    return np.random.default_rng(7).gamma(2.0, 1.0, 500)


def test_a_small_loss_on_every_image_is_seen_though_images_differ_a_lot(compare, errors):
    found = compare(errors + 0.02, errors)
    [gate] = found.gates
    low, high = gate.interval
    assert high - low > 0.2  # alone, the mean is known to ten times the loss
    assert gate.difference == pytest.approx(0.02)
    assert gate.difference_interval == pytest.approx((0.02, 0.02), abs=1e-9)
    assert not gate.passed and not found.blessed
    assert compare(errors - 0.02, errors).blessed


def test_a_loss_within_chance_passes_and_the_same_loss_beyond_it_does_not(compare, errors):
    noise = np.random.default_rng(8).normal(0, 1, len(errors))
    noise -= noise.mean()
    chance = 1.96 / np.sqrt(len(errors)) * noise.std()
    [gate] = compare(errors + noise + 0.8 * chance, errors).gates
    low, high = gate.difference_interval
    assert (high - low) / 2 == pytest.approx(chance, rel=0.15)
    assert gate.passed
    [gate] = compare(errors + noise + 1.3 * chance, errors).gates
    assert not gate.passed
    tolerant = dataclasses.replace(GATE, retrain_spread=0.5 * chance)
    assert compare(errors + noise + 1.3 * chance, errors, tolerant).blessed


def test_the_same_model_twice_has_no_difference_and_passes(compare, errors):
    [gate] = compare(errors, errors).gates
    assert gate.passed
    assert gate.difference == 0.0 and gate.difference_interval == (0.0, 0.0)


def test_a_figure_without_replicates_has_the_retraining_spread_alone(compare, errors):
    [gate] = compare(errors + 0.02, errors, replicates=False).gates
    assert not gate.passed and gate.interval is None and gate.difference_interval is None
    assert "for retraining alone, as the metric has no interval" in gate.sentence


def test_measured_twice_with_one_seed_the_verdict_is_the_same_to_the_last_digit(compare, errors):
    first, second = (compare(errors + 0.02, errors[::-1]).as_dict() for _ in range(2))
    assert first["gates"] == second["gates"] and first["figures"] == second["figures"]


GENERATION = (
    Gate("fd_over_floor", "max", 15.0, retrain_spread=0.13, relative=True),
    Gate("inception_score", "min", 9.0, retrain_spread=0.01),
    Gate("precision", "min", 0.7, retrain_spread=0.033),
    Gate("memorised_share", "max", 0.03),
)
GOOD = {
    "fd_over_floor": 2.457,
    "inception_score": 9.405,
    "precision": 0.838,
    "memorised_share": 0.003,
}
REAL = {"inception_score": 9.81, "precision": 0.88}
NOISE = {
    "fd_over_floor": 538.0,
    "inception_score": 1.1,
    "precision": 1.0,
    "memorised_share": 0.0,
}


@pytest.fixture
def generate(data, small):
    """Judges a generator with the values ``candidate`` next to versions with the values of others:
    the champion, then the best version so far.
    """

    def run(candidate: dict[str, float], *others, gates=GENERATION, unfit: str = ""):
        values = {"candidate": candidate, **{f"other-{i}": o for i, o in enumerate(others)}}

        def part(name: str) -> Part:
            def measure(model, references, stage, draw) -> Measured:
                found = values[model.path][name]
                if isinstance(found, Exception):
                    raise found
                return Measured([Row(name, found, REAL.get(name))])

            return Part(name, "samples", metrics("gan", name), measure)

        config = dataclasses.replace(small, gates={"gan": gates})
        model, *rivals = [LoadedModel("gan", name, None, 1) for name in values]
        words = ("the champion", "the best version so far")
        standards = [Standard(*each, unfit) for each in zip(words, rivals, strict=False)]
        references = References(data, None, config)
        return run_parts([part(name) for name in GOOD], model, references, config, standards)

    return run


def test_noise_as_champion_keeps_no_good_generator_out(generate):
    found = generate(GOOD, NOISE)
    assert found.blessed, found.reason
    for gate in found.gates[:3]:
        assert gate.limit is None and gate.champion == NOISE[gate.metric]
        assert (
            "fails a gate itself (FD as a multiple of its floor is 538 and must be at most 15)"
            in (gate.sentence)
        )
    assert "champion" not in found.gates[3].sentence  # it never compares
    assert not generate({**GOOD, "precision": 0.6}, NOISE).blessed


def test_a_good_champion_is_still_compared_with(generate):
    found = generate(GOOD, {**GOOD, "precision": 1.0})
    assert [gate.metric for gate in found.gates if not gate.passed] == ["precision"]


def test_a_champion_is_judged_by_the_gates_that_do_not_compare_as_well(generate):
    copies = {**GOOD, "fd_over_floor": 0.3, "precision": 0.91, "memorised_share": 1.0}
    found = generate(GOOD, copies)
    assert found.blessed, found.reason
    assert found.figure("memorised_share").champion == 1.0
    no_comparison = tuple(dataclasses.replace(gate, retrain_spread=None) for gate in GENERATION)
    unmeasured = generate(GOOD, copies, gates=no_comparison)
    assert unmeasured.blessed and unmeasured.figure("precision").champion is None


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (float("nan"), "is not a finite number and must be at least 9"),
        (
            NotFinite("signature generate gave NaN"),
            "could not be measured: signature generate gave NaN",
        ),
    ],
)
def test_a_champion_of_nan_keeps_no_good_generator_out(generate, score, words):
    found = generate(GOOD, {**GOOD, "inception_score": score, "precision": 1.0})
    assert found.blessed, found.reason
    precision = found.gates[2]
    assert precision.champion == 1.0 and precision.limit is None
    assert (
        "is not compared, as it fails a gate itself "
        f"(Inception Score under the judge {words})" in precision.sentence
    )


def test_a_figure_that_was_left_out_on_purpose_does_not_make_the_champion_a_bad_one(generate):
    candidate = {**GOOD, "inception_score": NotRun(DEEP_ONLY)}
    found = generate(candidate, {**candidate, "precision": 1.0})
    failed = [gate.metric for gate in found.gates if not gate.passed]
    assert failed == ["inception_score", "precision"]
    assert found.gates[2].limit is not None


def failed(found) -> list[str]:
    return [gate.metric for gate in found.gates if not gate.passed]


BLUR = {**GOOD, "fd_over_floor": 9.0, "precision": 0.979}
COLLAPSE = {**GOOD, "fd_over_floor": 210.0, "inception_score": 1.0, "precision": 1.0}
COPIES = {**GOOD, "fd_over_floor": 0.3, "precision": 0.9, "memorised_share": 1.0}


@pytest.mark.parametrize("champion", [NOISE, BLUR, COLLAPSE, COPIES])
def test_no_bad_champion_keeps_a_good_generator_out(generate, champion):
    assert generate(GOOD, champion).blessed
    assert not generate(champion, GOOD).blessed


def test_a_version_that_beats_the_champion_in_the_primary_metric_may_lose_in_others(generate):
    worse = {**GOOD, "fd_over_floor": 6.0, "precision": 0.9, "inception_score": 9.44}
    found = generate(GOOD, worse)
    assert found.blessed and found.primary == "fd_over_floor"
    assert "sets no limit, as FD as a multiple of its floor improves from 6 to 2.457" in (
        found.gates[2].sentence
    )
    # Better within what retraining alone explains is not better.
    assert failed(generate(GOOD, {**worse, "fd_over_floor": 2.7})) == [
        *("inception_score", "precision")
    ]
    assert failed(generate({**GOOD, "precision": 0.6}, worse)) == ["precision"]  # its threshold


def test_three_pushes_that_are_each_not_significantly_worse_do_not_add_up(generate):
    gates = (Gate("fd_over_floor", "max", 15.0, retrain_spread=0.13, relative=True),)
    first, second, third = ({**GOOD, "fd_over_floor": v} for v in (2.5, 2.8, 3.1))
    assert generate(second, first, gates=gates).blessed
    assert generate(third, second, gates=gates).blessed  # were the best forgotten
    found = generate(third, second, first, gates=gates)
    assert not found.blessed and found.best.version == "other-1"
    assert found.gates[0].limit == pytest.approx(2.5 * 1.13)
    assert "the best version so far has 2.5 and sets the limit 2.825" in found.gates[0].sentence
    assert found.gates[0].champion == 2.8


def test_a_version_whose_gates_did_not_judge_quality_is_no_standard(generate):
    better = {**GOOD, "precision": 1.0}
    assert failed(generate(GOOD, better)) == ["precision"]
    found = generate(GOOD, better, unfit="its gates did not judge quality")
    assert found.blessed
    assert "is not compared, as its gates did not judge quality" in found.gates[2].sentence


def test_a_threshold_by_a_reference_follows_what_was_measured(generate):
    gates = (
        Gate("inception_score", "min", 0.95, times="real_test"),
        Gate("precision", "min", -0.05, plus="real_train"),
    )
    found = generate(GOOD, gates=gates)
    assert [gate.threshold for gate in found.gates] == pytest.approx([9.3195, 0.83])
    assert found.blessed and found.gates[0].stated == "0.95 times real test images"
    assert found.gates[0].sentence == (
        "Inception Score under the judge is 9.405 and must be at least 9.319, 0.95 times the 9.81 "
        "of real test images: passed."
    )
    assert failed(generate({**GOOD, "inception_score": 9.3}, gates=gates)) == ["inception_score"]
    # Its reference was not measured: nothing can pass.
    lost = generate(GOOD, gates=(Gate("memorised_share", "max", 3, times="held_out"),))
    assert not lost.blessed and "which was not measured" in lost.gates[0].sentence


@pytest.mark.parametrize(
    ("error", "notes"),
    [(NotRun(DEEP_ONLY), []), (NotFinite("signature x gave NaN"), ["x: signature x gave NaN."])],
)
def test_what_a_part_does_not_measure_is_missing_with_its_reason(data, small, error, notes):
    def refuse(model, references, stage, draw) -> Measured:
        raise error

    def measure(model, references, stage, draw) -> Measured:
        missing = Row("kmeans_ari", None, missing="labels are not at hand")
        return Measured([Row("kmeans_nmi", 0.5), missing])

    config = dataclasses.replace(
        small, gates={"autoencoder": (Gate("reconstruction_mse", "max", 1.0),)}
    )
    parts = [
        Part(
            "x",
            "reconstruction",
            metrics("autoencoder", "reconstruction_mse", "mse_over_pca"),
            refuse,
        ),
        Part("clusters", "clusters", metrics("autoencoder", "kmeans_nmi", "kmeans_ari"), measure),
    ]
    model = LoadedModel("autoencoder", "here", None, 1)
    found = run_parts(parts, model, References(data, None, config), config)
    assert found.figure("reconstruction_mse").missing == str(error)
    assert found.figure("mse_over_pca").missing == str(error)
    assert found.figure("kmeans_nmi").value == 0.5 and found.figure("kmeans_nmi").missing == ""
    assert found.figure("kmeans_ari").missing == "labels are not at hand"
    assert not found.gates[0].passed and str(error) in found.gates[0].sentence
    assert found.notes == notes
    written = {figure["name"]: figure for figure in found.as_dict()["figures"]}
    assert written["mse_over_pca"]["missing"] == str(error)
