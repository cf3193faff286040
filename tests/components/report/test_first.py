import dataclasses

from components.report.data import Push, Since
from components.report.first import (
    alike,
    champion_of,
    differences,
    first_pictures,
    key_figures,
    noteworthy,
    outcome,
    threshold_of,
    verdict,
)


def test_what_could_not_be_measured_is_among_what_to_look_at_but_not_what_settings_leave_out(
    report_data,
):
    [gan] = [model for model in report_data.models if model.name == "gan"]
    words = [note.words for note in noteworthy(report_data)]
    assert not [text for text in words if "inkwell evaluate --deep" in text]
    [figure] = [f for f in gan.evaluation["figures"] if f.get("missing", "").startswith("not run")]
    figure["missing"] = "signature x gave NaN"
    words = [note.words for note in noteworthy(report_data)]
    assert "GAN: 1 metric not measured: Signature x gave NaN." in words


def test_verdict_names_a_failed_serving_check(report_data):
    model = dataclasses.replace(
        report_data.models[0],
        push=Push(False),
        serving_check={"passed": False, "reason": "decode differs by 0.2."},
    )
    assert verdict(model).kind == "bad"
    assert verdict(model).reasons == ["decode differs by 0.2."]


def test_verdict_says_why_an_approved_model_was_not_pushed(report_data):
    words = "The model was compared with version 7, and clients get version 8 now."
    model = dataclasses.replace(report_data.models[0], push=Push(False, reason=words))
    assert verdict(model).title == "Approved, but not pushed"
    assert verdict(model).reasons == [words]


def test_key_figures_are_three_and_the_gated_ones_come_first(report_data):
    model = report_data.models[0]
    figures = [{"name": name} for name in "abcd"]
    evaluation = {"figures": figures, "gates": [{"metric": "d"}, {"metric": "b"}]}
    found = key_figures(dataclasses.replace(model, evaluation=evaluation))
    assert [figure["name"] for figure in found] == ["d", "b", "a"]


def test_outcome_says_what_was_pushed(report_data):
    assert outcome(report_data) == "Not pushed: GAN. Pushed: Autoencoder, Diffusion model."
    pushed = dataclasses.replace(report_data, models=report_data.models[:2])
    assert outcome(pushed) == "All 2 models were approved and pushed."
    none = dataclasses.replace(report_data, models=report_data.models[2:])
    assert outcome(none) == "No model was pushed. Not pushed: GAN."


def with_gate(model, **changed):
    evaluation = {**model.evaluation, "gates": [{**model.evaluation["gates"][0], **changed}]}
    return dataclasses.replace(model, evaluation=evaluation)


def test_what_stopped_a_model_comes_before_what_deserves_a_look(report_data):
    notes = noteworthy(report_data)
    assert notes[:3] == [
        ("bad", "GAN: Fréchet distance 4.568 must be at most 2.", "gan-gates"),
        ("bad", "Label 9 is rarer in test than in train.", "data-findings"),
        (
            "unknown",
            "Autoencoder: Frechet distance: normalised, on the judge's features is worse than in "
            "serving: 4.568, now 4.9.",
            "autoencoder-changes",
        ),
    ]
    assert {note.kind for note in notes[2:]} == {"unknown"}


def test_a_gate_that_passed_with_an_interval_across_its_threshold_is_named(report_data):
    model = report_data.models[0]

    def narrow(threshold: float) -> list[str]:
        data = dataclasses.replace(report_data, models=[with_gate(model, threshold=threshold)])
        return [note.words for note in noteworthy(data) if "narrowly" in note.words]

    reach = "the 95 % interval, 4.25 to 4.75, reaches beyond 4.7"
    assert narrow(4.7) == [f"Autoencoder: Fréchet distance passed narrowly: {reach}."]
    assert narrow(4.8) == []


def test_nothing_stands_out_of_a_run_without_faults(report_data):
    model = dataclasses.replace(report_data.models[0], since=None, stages=[])
    evaluation = {**model.evaluation, "figures": []}
    model = dataclasses.replace(model, evaluation=evaluation)
    assert noteworthy(dataclasses.replace(report_data, models=[model], findings=None)) == []


def test_a_key_metric_has_its_threshold_and_the_value_of_the_champion(report_data):
    model = report_data.models[0]
    distance, recall, inception = key_figures(model)
    assert threshold_of(model, distance) == "at most 10" and threshold_of(model, recall) == ""
    assert champion_of(model, distance) == 5.25  # measured in this run
    assert champion_of(model, recall) == 0.61  # in the champion's own
    assert champion_of(model, inception) is None


def test_the_first_plots_are_of_three_topics_and_there(report_data):
    model = report_data.models[0]
    assert [picture.title for picture in first_pictures(model)] == ["Samples", "Denoised", "Map"]
    lost = [dataclasses.replace(picture, png=None) for picture in model.pictures]
    assert first_pictures(dataclasses.replace(model, pictures=lost)) == []


def test_differences_are_told_in_words_and_so_is_what_is_the_same_or_unknown():
    since = Since("17", settings={"gan.epochs": (4, None)}, data={}, code=None)
    assert differences(since) == [("gan.epochs", "4", "none")]
    assert alike(since) == [
        "The same: data.",
        "Not recorded with that version: code and packages.",
    ]
    digest = Since("17", data={"data.digest": ("a" * 64, "b" * 64)})
    assert differences(digest) == [("data.digest", "a" * 23 + "…", "b" * 23 + "…")]
