import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np

from components.idx_example_gen.scalars import compute_scalars
from components.report.data import Link, ModelReport, Push, ReportData
from components.report.first import verdict
from components.report.render import curve_charts, render_report, setting_pairs
from components.report.topics import by_topic
from core.artifacts import Stage
from core.wording import FORM_ONLY


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


def test_the_page_refers_to_nothing_outside_itself_but_the_cards(report_data):
    text = render_report(report_data)
    page = Page(text)
    outside = [a for a in page.addresses if not a.startswith(("#", "data:"))]
    cards = [f"../{name}/18/assets.extra/model_card.html" for name in ("autoencoder", "diffusion")]
    assert outside == cards
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert (
        "@import" not in text and "url(" not in text and "http" not in text.replace("http-eq", "")
    )


def test_the_policy_forbids_all_but_the_script_of_the_page(report_data):
    text = render_report(report_data)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1 and f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


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


def test_every_figure_stands_with_its_reference_and_champion(report_data):
    words = page_of(report_data).words
    assert (
        "4.568 4.25 to 4.75 0.4321 floor: real train images, as many, against the same test images "
        "5.25" in words
    )
    assert "Lower is better" in words
    assert "metric value 95 % interval floor or reference champion" in words


def test_figures_that_are_not_numbers_are_shown_as_missing_with_the_reason(report_data):
    words = page_of(report_data).words
    assert "Inception Score Higher is better. missing none none none" in words
    assert (
        "Recall Higher is better. Missing: Not run; inkwell evaluate --deep measures it." in words
    )
    assert "2 of 3 metrics were not measured" in words
    assert "Not run; inkwell evaluate --deep measures it. Recall." in words
    assert "Why is not known. Inception Score." in words
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
    assert "✗ failed test drift label 0.31 0.1" in words


def test_columns_are_drawn_over_their_baseline_where_there_is_one(report_data):
    words = page_of(report_data).words
    assert "width, train: 4 to 20; drift 0, limit 0.1 width, test" in words
    assert "width, test: 4 to 20; drift 0.31, limit 0.1: drifted" in words
    assert render_report(report_data).count('<polyline class="was"') == 2
    findings = {**report_data.findings, "histograms": []}
    without = dataclasses.replace(report_data, findings=findings)
    assert "Drift from the baseline" not in page_of(without).words


def test_the_data_section_leads_to_the_served_model_on_these_data(report_data):
    link = 'href="#autoencoder-drift">Autoencoder in serving</a> was given these data'
    assert link not in render_report(report_data)
    first, *others = report_data.models
    table = {"title": "Shares", "topic": "drift", "columns": ["cluster", "now"], "rows": []}
    evaluation = {**first.evaluation, "tables": [table]}
    models = [dataclasses.replace(first, evaluation=evaluation), *others]
    page = render_report(dataclasses.replace(report_data, models=models))
    assert link in page and 'id="autoencoder-drift"' in page


def test_lineage_of_what_was_pushed_is_listed(report_data):
    words = page_of(report_data).words
    lineage = words[words.index("Lineage", words.index("It is not served")) :]
    assert "/serving_models/autoencoder/18" in lineage
    assert "/outputs/quick/pipeline/x/model/17" in lineage
    assert "Nothing was pushed." in lineage  # the GAN
    assert "/outputs/quick/pipeline/judge/model/9" in lineage


def test_text_from_outside_is_escaped(report_data):
    link = Link("judge", "Model", "<script>alert(1)</script>")
    text = render_report(dataclasses.replace(report_data, links=[link]))
    assert "<script>alert" not in text
    assert "data/&lt;mnist&gt;" in text and "<mnist>" not in text


def test_events_of_a_training_are_listed(report_data):
    words = page_of(report_data).words
    assert "120 dead discriminator Accuracy 1.00 for 50." in words


def test_a_model_without_a_version_in_serving_says_so(report_data):
    assert "What changed since version 17, which was in serving" in page_of(report_data).words
    models = [dataclasses.replace(model, since=None) for model in report_data.models]
    words = page_of(dataclasses.replace(report_data, models=models)).words
    assert words.count("No earlier version was in serving, so there is nothing to compare") == 3
    assert "What changed since" not in words


def test_the_same_data_gives_the_same_page(report_data):
    assert render_report(report_data) == render_report(report_data)


def test_a_version_whose_gates_judged_no_quality_is_marked_on_the_page(report_data):
    model = report_data.models[0]
    evaluation = {**model.evaluation, "quality_gates": False}
    evaluation["gates"] = [evaluation["gates"][0] | {"stated": "2 times PCA"}]
    push = Push(True, "gan/18", "18")
    marked = dataclasses.replace(model, push=push, evaluation=evaluation)
    assert verdict(marked).reasons == [FORM_ONLY]
    assert verdict(dataclasses.replace(model, push=push)).reasons == []
    page = render_report(dataclasses.replace(report_data, models=[marked]))
    assert FORM_ONLY in page and "at most 10 (2 times PCA)" in page


def test_held_out_curves_have_an_axis_of_their_own_over_the_epochs_steps(report_data):
    charts = curve_charts(report_data.judge, "Judge")
    assert [caption for caption, _ in charts] == [
        "Loss during training.",
        "Share of images that are classified correctly during training.",
        "Loss during training, on held-out images.",
    ]
    assert [svg.count("<path") for _, svg in charts] == [1, 1, 1]
    assert "held-out loss" in charts[2][1] and "held-out" not in charts[0][1]


def test_captions_of_curves_are_sentences_that_say_what_is_drawn():
    steps = {"step": [1, 2]}
    game = ("discriminator_loss", "generator_loss", "discriminator_accuracy", "fake_spread")
    curves = steps | {key: [0.1, 0.2] for key in game}
    charts = curve_charts(Stage("Training", {"model": "gan", "curves": curves}, None), "GAN")
    assert [caption for caption, _ in charts] == [
        "Losses of discriminator and generator during training.",
        "Share of pairs of a real and a generated image that each network wins.",
        "How much generated images differ from each other during training, as a multiple of how "
        "much real images do; about 1 is healthy.",
    ]
    assert all('aria-label="GAN, training: ' in svg for _, svg in charts)


def test_every_picture_names_its_model_in_its_alternative_text(report_data):
    texts = re.findall(
        r'<img src="[^"]+" width="\d+" height="\d+" alt="([^"]*)"', render_report(report_data)
    )
    assert {text.partition(":")[0] for text in texts} == {
        *("Autoencoder", "Diffusion model", "GAN"),
        *("Autoencoder, fine-tuning", "Diffusion model, fine-tuning", "GAN, fine-tuning"),
    }
    assert {"GAN: Samples", "Diffusion model: Samples", "GAN, fine-tuning: step 1"} <= set(texts)


def test_the_caption_of_the_statistics_gives_the_unit_of_every_column(report_data):
    [caption] = re.findall(r"<caption>Mean &plusmn;(.*?)</caption>", render_report(report_data))
    shares, _, pixels = caption.partition(" are shares from 0 to 1; ")
    stroke = np.zeros((1, 28, 28), np.uint8)
    stroke[0, 4:20, 12:16] = 255
    for name, [value] in compute_scalars(stroke).items():
        assert name in (shares if value <= 1 else pixels)
    assert pixels.endswith(" are in pixels.")


def test_a_gate_stands_with_all_it_was_judged_by(report_data):
    words = page_of(report_data).words
    reason = "Two samples of real images differ by half as much."
    beside = "at most 10 5.25 -0.6822 -0.9 to -0.5 5.875"
    assert words.count(f"Fréchet distance {reason} ✓ passed 4.568 4.25 to 4.75 {beside}") == 2
    failed = f"Fréchet distance Fréchet distance 4.568 must be at most 2. {reason} ✗ failed 4.568"
    assert failed in words


def test_figures_pictures_and_tables_are_dealt_out_once_by_topic(report_data):
    model = report_data.models[0]
    topics = by_topic(model)
    assert [topic.key for topic in topics] == ["samples", "denoising", "map", "other"]
    shown = [p.title for topic in topics for p in topic.pictures]
    assert sorted(shown) == sorted(p.title for p in model.pictures)
    named = [f["name"] for topic in topics for f in [*topic.figures, *topic.more_figures]]
    assert named == ["frechet_distance", "inception_score", "recall"]
    assert [t["title"] for topic in topics for t in topic.tables] == ["Denoising"]
    assert topics[2].map is model.map


def test_gated_figures_of_a_long_topic_are_in_sight_and_the_others_a_click_away(report_data):
    names = [f"denoising_{i}" for i in range(9)]
    figures = [{"name": name, "title": name, "value": 1.0, "topic": "denoising"} for name in names]
    evaluation = {"figures": figures, "gates": [{"metric": "denoising_7", "passed": True}]}
    model = dataclasses.replace(report_data.models[0], evaluation=evaluation)
    topic = next(topic for topic in by_topic(model) if topic.key == "denoising")
    assert [f["name"] for f in topic.figures] == [*names[:3], "denoising_7"]
    assert [f["name"] for f in topic.more_figures] == [*names[3:7], "denoising_8"]


def test_the_points_of_the_map_are_in_the_page_and_cannot_end_their_element(report_data):
    labels = ["</script><b>", *report_data.models[0].map.labels[1:]]
    found = dataclasses.replace(report_data.models[0].map, labels=labels)
    model = dataclasses.replace(report_data.models[0], map=found)
    text = render_report(dataclasses.replace(report_data, models=[model]))
    content = re.search(r'<script type="application/json" class="points">(.*?)</script>', text)[1]
    assert json.loads(content)["labels"] == labels
    assert len(json.loads(content)["points"]) == 300


def test_the_card_can_be_saved_from_the_page(report_data):
    page = page_of(report_data)
    saved = [base64.b64decode(a.split(",")[1]) for a in page.addresses if "data:text/" in a]
    assert saved == [b"<h1>Card</h1>", b"# Card"] * 2
    assert "Nothing was pushed, so there is no card." in page.words
    lost = dataclasses.replace(report_data.models[0], push=Push(True, "x", "18"))
    text = render_report(dataclasses.replace(report_data, models=[lost]))
    assert "The card of this version is missing." in text


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
    assert "no gate compares with the champion, version 17" in page({"version": "17"})
    assert "there was no champion to compare with" in page(None)


def test_settings_are_flattened_to_dotted_names():
    rows = setting_pairs(
        {"a": {"b": 1}, "gates": [{"metric": "fd", "threshold": 2.5}], "c": [1, 2]}
    )
    assert rows == [
        ("a.b", "1"),
        ("gates.fd.metric", "fd"),
        ("gates.fd.threshold", "2.5"),
        ("c", "[1, 2]"),
    ]
