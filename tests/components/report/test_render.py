from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser

from components.report.data import ModelReport, Push, ReportData
from components.report.render import (
    MISSING,
    curve_charts,
    flatten,
    key_figures,
    number,
    render_report,
    verdict,
)


class Page(HTMLParser):
    """Collects the tags, addresses and words of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.addresses += [values[k] for k in ("src", "href") if k in values]
        if "id" in values:
            self.ids.append(values["id"])
        if tag not in {"meta", "link", "img", "br", "path", "rect", "line", "circle"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in {"path", "rect", "line", "circle"}:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += f" {data}"


def page_of(data: ReportData) -> Page:
    page = Page(render_report(data))
    assert page.open == []
    page.words = re.sub(r"\s+", " ", page.words)
    return page


def test_the_page_refers_to_nothing_outside_itself(report_data):
    text = render_report(report_data)
    page = Page(text)
    assert all(a.startswith(("#", "data:")) for a in page.addresses)
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert "<script" not in text and "@import" not in text and "url(" not in text


def test_pictures_are_embedded_byte_for_byte(report_data):
    page = page_of(report_data)
    embedded = [
        base64.b64decode(a.split(",")[1]) for a in page.addresses if a.startswith("data:image/png")
    ]
    for model in report_data.models:
        for picture in model.pictures:
            assert picture.png is None or picture.png in embedded


def test_verdicts_come_first_and_say_why_a_model_was_not_approved(report_data):
    words = page_of(report_data).words
    summary = words[: words.index("Evaluated with")]  # its end is the first model's heading
    assert summary.count("Approved and pushed as version 18") >= 2
    assert "Not approved" in summary
    assert "Fréchet distance 4.568 must be at most 2." in summary


def test_every_figure_stands_with_its_floor_and_champion(report_data):
    words = page_of(report_data).words
    assert "4.568 0.4321 real train images, as many, against the same test images 5.25" in words
    assert "Lower is better" in words


def test_figures_that_are_not_numbers_are_shown_as_missing(report_data):
    words = page_of(report_data).words
    assert "Inception Score Higher is better. missing none none" in words
    assert not re.search(r"\bnan\b", words, re.I)


def test_missing_files_and_artifacts_are_named_missing():
    empty = ReportData("r", "now", [ModelReport("gan", "GAN")])
    words = page_of(empty).words
    for sentence in (
        "Not evaluated",
        "The evaluation is missing.",
        "The serving check is missing.",
        "The statistics are missing.",
        "The findings are missing.",
        "The judge is missing.",
        "The settings are missing.",
    ):
        assert sentence in words


def test_findings_of_the_data_gate_are_counted_and_quoted(report_data):
    words = page_of(report_data).words
    assert "2 checks, 1 failed." in words
    assert "Label 9 is rarer in test than in train." in words
    assert "failed test drift label 0.31 0.1" in words


def test_lineage_of_what_was_pushed_is_listed(report_data):
    words = page_of(report_data).words
    lineage = words[words.index("Lineage", words.index("It is not served")) :]
    assert "/serving_models/autoencoder/18" in lineage
    assert "/outputs/quick/pipeline/x/model/17" in lineage
    assert "Nothing was pushed." in lineage  # the GAN
    assert "/outputs/quick/pipeline/judge/model/9" in lineage


def test_text_from_outside_is_escaped(report_data):
    text = render_report(report_data)
    assert "data/&lt;mnist&gt;" in text and "<mnist>" not in text


def test_events_of_a_training_are_listed(report_data):
    words = page_of(report_data).words
    assert "120 dead discriminator Accuracy 1.00 for 50." in words


def test_the_same_data_gives_the_same_page(report_data):
    assert render_report(report_data) == render_report(report_data)


def test_verdict_names_a_failed_serving_check(report_data):
    model = dataclasses.replace(
        report_data.models[0],
        push=Push(False),
        serving_check={"passed": False, "reason": "decode differs by 0.2."},
    )
    assert verdict(model).kind == "bad"
    assert verdict(model).reasons == ["decode differs by 0.2."]


def test_key_figures_are_the_gated_ones(report_data):
    assert [f["name"] for f in key_figures(report_data.models[0])] == ["frechet_distance"]


def test_curves_per_epoch_are_drawn_over_the_epochs_steps(report_data):
    titles = [title for title, _ in curve_charts(report_data.judge)]
    assert titles == ["loss", "accuracy"]
    [(_, loss), _] = curve_charts(report_data.judge)
    assert loss.count("<path") == 2 and "held-out loss" in loss


def test_numbers_are_short_and_say_when_they_are_missing():
    assert number(0.123456) == "0.1235"
    assert number(60000) == "60,000"
    assert number(12345.678) == "12,346"
    assert number(1.5e-7) == "1.500e-07"
    assert number(0.0) == "0"
    assert number(None) == number(float("inf")) == MISSING
    assert number("words") == "words"


def test_a_gate_stands_with_its_reason_and_a_failed_one_with_its_sentence(report_data):
    words = page_of(report_data).words
    reason = "Two samples of real images differ by half as much."
    assert words.count(f"Fréchet distance {reason} 4.568 at most 10 5.25 passed") == 2
    failed = f"Fréchet distance Fréchet distance 4.568 must be at most 2. {reason} 4.568 at most 2"
    assert failed in words


def test_the_champion_has_a_column_where_something_was_compared(report_data):
    def without(rows):
        return [{**row, "champion": None} for row in rows]

    def uncompared(model, champion):
        e = model.evaluation
        e = {**e, "figures": without(e["figures"]), "gates": without(e["gates"])}
        return dataclasses.replace(model, evaluation={**e, "champion": champion})

    def page(champion):
        models = [uncompared(model, champion) for model in report_data.models]
        return render_report(dataclasses.replace(report_data, models=models))

    assert "champion</th>" in render_report(report_data)
    assert "champion</th>" not in page({"version": "17"}) + page(None)
    assert "no gate asks for a comparison with the champion, version 17" in page({"version": "17"})
    assert "no champion was in serving" in page(None)


def test_settings_are_flattened_to_dotted_names():
    rows = flatten({"a": {"b": 1}, "gates": [{"metric": "fd", "threshold": 2.5}], "c": [1, 2]})
    assert rows == [
        ("a.b", "1"),
        ("gates.fd.metric", "fd"),
        ("gates.fd.threshold", "2.5"),
        ("c", "[1, 2]"),
    ]
