"""Model cards: every field is there, figures are those of metrics.json, nothing is made up."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import pytest
import yaml

from components.model_card.card import build_card
from components.model_card.content import UNKNOWN, Facts, Grid
from components.model_card.formats import to_html, to_markdown
from components.model_card.results import not_measured
from core.artifacts import Picture, Stage
from core.models import MODELS
from core.statistics import ColumnStatistics, SplitStatistics
from core.wording import number
from tests.browser import needs_chromium, open_browser, violations
from tests.components.report.conftest import evaluation, history, png

FIELDS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]


def facts(model: str = "gan", **changes) -> Facts:
    counts = {str(k): 90.0 + k for k in range(10)}
    column = ColumnStatistics("label", *[float("nan")] * 5, missing=0, counts=counts)
    full = Facts(
        model=model,
        metrics=evaluation(model),
        lineage={"run_id": "run-7", "pushed_at": "2026-08-21T10:15:00+00:00", "model_uri": "/m/17"},
        stages=[
            Stage("Training", history(model, "train"), {"epochs": 4}),
            Stage("Fine-tuning", history(model, "finetune"), {"layers": ["a", "b"]}),
        ],
        splits=[SplitStatistics(name, 945, [column]) for name in ("train", "eval", "test")],
        serving_check={"server": "a server", "latency_ms": {"generate": {"batch": 4, "p50": 3.25}}},
        pictures=[Picture("Samples", "64 of 10,000.", png(200, 200))],
        data_dir="data/digits",
    )
    return dataclasses.replace(full, **changes)


def blocks_of(made) -> list:
    return [*made.overview, *(block for section in made.sections for block in section.blocks)]


def grids(made, title: str) -> list[Grid]:
    blocks = blocks_of(made)
    return [block for block in blocks if isinstance(block, Grid) and block.title.startswith(title)]


@pytest.mark.parametrize("model", MODELS)
def test_every_field_of_a_model_card_is_there_and_filled_in_both_formats(model):
    made = build_card(facts(model))
    assert [section.title for section in made.sections] == FIELDS
    assert all(section.blocks for section in made.sections)
    assert re.findall(r"^## (.*)$", to_markdown(made), re.M) == FIELDS
    assert re.findall(r"<h2>(.*?)</h2>", to_html(made)) == FIELDS


# By their value in ``evaluation``: a floor where less is better, a reference where more is.
WHICH = {
    0.4321: "floor: real train images, as many, against the same test images",
    0.875: "reference: real train images",
    None: "none",
}


def test_figures_and_gates_are_those_of_metrics_json():
    given = facts()
    [figures] = grids(build_card(given), "Metrics")
    assert figures.columns[-1] == "champion"
    assert figures.rows == [
        (
            f["title"],
            number(f["value"]),
            "4.25 to 4.75" if f.get("interval") else "none",
            "none" if f["floor"] is None else number(f["floor"]),
            WHICH[f["floor"]],
            "none" if f["champion"] is None else number(f["champion"]),
        )
        for f in given.metrics["figures"]
    ]
    [compared] = grids(build_card(given), "Gates: comparison")
    assert compared.rows == [("Fréchet distance", "4.568", "5.25", "-0.6822", "5.875")]
    assert "two samples of real images" in to_markdown(build_card(given)).lower()


def header_of(text: str) -> dict:
    empty, header, _ = re.split(r"^---\n", text, maxsplit=2, flags=re.M)
    assert empty == ""
    return yaml.safe_load(header)


@pytest.mark.parametrize("model", MODELS)
def test_the_header_for_model_hubs_holds_the_gated_metrics_of_metrics_json(model):
    metrics = json.loads(json.dumps(evaluation(model)))
    gate = metrics["gates"][0]
    tiny = gate | {"metric": "tiny", "title": "--- yes: *no* # \n---", "value": 1.25e-7}
    lost = gate | {"metric": "lost", "value": None}
    metrics["gates"] = [gate, tiny, lost, gate | {"metric": "odd", "value": math.nan}]
    found = header_of(to_markdown(build_card(facts(model, metrics=metrics))))
    assert list(found) == ["tags", "model-index"] and model in found["tags"]  # and no licence
    [entry] = found["model-index"]
    [result] = entry["results"]
    assert entry["name"] == model
    assert result["dataset"] == {"name": "digits", "type": "digits", "split": "test"}
    assert result["task"]["type"] in found["tags"]
    assert result["metrics"] == [
        {"type": g["metric"], "name": g["title"], "value": g["value"]} for g in (gate, tiny)
    ]


def test_without_gates_the_header_has_no_metrics():
    bare = Facts("gan", metrics={}, lineage={})
    assert list(header_of(to_markdown(build_card(bare)))) == ["tags"]


@pytest.mark.parametrize("passed", [True, False])
def test_verdict_date_and_gates_come_before_every_section(passed):
    made = build_card(facts(metrics=evaluation("gan", passed)))
    words, gates = made.overview
    verdict = "Approved: every gate passed (1)." if passed else "Not approved: 1 of 1 gates failed."
    assert words == f"{verdict} Pushed: 21 August 2026, 10:15 UTC."
    state, threshold = ("passed", "at most 10") if passed else ("failed", "at most 2")
    assert gates.rows == [("Fréchet distance", state, "4.568", threshold, "4.25 to 4.75")]
    for text, heading in ((to_markdown(made), "## "), (to_html(made), "<h2>")):
        assert text.index(verdict) < text.index("4.25 to 4.75") < text.index(heading)


def test_columns_of_the_champion_are_left_out_where_there_was_none():
    alone = evaluation("gan")
    alone["champion"] = None
    for row in (*alone["figures"], *alone["gates"]):
        row |= dict.fromkeys(("champion", "difference", "limit"))
    made = build_card(facts(metrics=alone))
    assert grids(made, "Gates: comparison") == []
    [figures] = grids(made, "Metrics")
    assert figures.columns[-1] == "which is" and {len(row) for row in figures.rows} == {5}


def test_a_card_holds_no_path_of_the_machine_that_made_it():
    paths = {"model_uri": "/home/ann/inkwell/outputs/quick/pipeline/gan/model/17"}
    text = to_markdown(build_card(facts(lineage=paths, data_dir="/home/ann/digits")))
    assert "/home" not in text and "ann" not in text.split()
    assert "| model artifact | gan/model/17 |" in text and "The test split of digits:" in text
    address = {"model_uri": "s3://bucket/inkwell/gan/model/17"}
    assert address["model_uri"] in to_markdown(build_card(facts(lineage=address)))


def test_numbers_are_cells_that_never_break_and_words_are_not():
    page = to_html(build_card(facts()))
    for words in ("4.568", "4.25 to 4.75", "at most 10", "-0.6822"):
        assert f'<td class="n">{words}</td>' in page
    assert "<td>reference: real train images</td>" in page and "<td>passed</td>" in page
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "td.n{white-space:nowrap" in style


def test_what_was_not_measured_is_missing_with_its_reason():
    text = to_markdown(build_card(facts()))
    assert "| Recall | missing | none | 0.875 |" in text
    assert "- Recall: Not run; inkwell evaluate --deep measures it." in text
    assert not_measured(evaluation("gan"))["Why is not known."] == ["Inception Score"]


def test_what_the_run_does_not_know_is_said_to_be_not_known():
    bare = Facts("gan", metrics={}, lineage={})
    text = to_markdown(build_card(bare))
    for line in (
        f"| pipeline run | {UNKNOWN} |",
        f"| pushed | {UNKNOWN} |",
        f"| weights | {UNKNOWN} |",
        f"| licence of the model | {UNKNOWN} |",
        f"How it was trained is {UNKNOWN}.",
        f"Data directory: {UNKNOWN}. Splits: {UNKNOWN}.",
        "No version was served, so there is no comparison.",
    ):
        assert line in text
    assert to_html(build_card(bare)).count("<h2>") == len(FIELDS)


def test_data_and_trainings_are_told_with_their_numbers():
    text = to_markdown(build_card(facts()))
    assert "train 945 images, eval 945 images" in text
    assert "The test split of data/digits: 945 images." in text
    assert "| epochs | 4 | not set here |" in text and "| layers | not set here | a, b |" in text
    assert f"| 9 | {number(100 * 99 / 945)} |" in text
    assert f"| weights | {123456 + 7890:,} |" in text


def test_settings_that_the_model_does_not_have_are_not_invented():
    lone = facts(stages=[Stage("Training", None, None)])
    assert f"| steps | {UNKNOWN} |" in to_markdown(build_card(lone))


class Words(HTMLParser):
    """The words of a page, and its addresses."""

    def __init__(self, text: str):
        super().__init__()
        self.words, self.addresses = "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words += f" {data}"


def test_both_formats_say_the_same():
    made = build_card(facts("diffusion"))
    page = " ".join(Words(to_html(made)).words.split())
    text = to_markdown(made)
    for block in blocks_of(made):
        rows = block.rows if isinstance(block, Grid) else [block]
        for words in [cell for row in rows for cell in ([row] if isinstance(row, str) else row)]:
            assert " ".join(words.split()) in page
            assert words in text.replace("\\", "")


def test_what_comes_from_outside_is_escaped_in_both_formats():
    evil = evaluation("gan")
    evil["figures"][0]["title"] = '<img src=x onerror="alert(1)"> | *bold*'
    made = build_card(facts(metrics=evil, data_dir="<b>dir</b>"))
    assert "<img src=x" not in to_html(made) and "<b>dir" not in to_html(made)
    assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt; | *bold*" in to_html(made)
    assert r"\<img src=x onerror=" in to_markdown(made)
    [row] = [r for r in to_markdown(made).splitlines() if "bold" in r and "4.25 to 4.75" in r]
    assert len(re.findall(r"(?<!\\)\|", row)) == 7  # six columns, whatever a title holds


def test_a_script_in_any_field_of_a_card_is_only_words():
    found = []

    def spoil(value):
        """The same content with every text made a script of its own."""
        if isinstance(value, str):
            found.append(f'"><script>alert({len(found)})</script>')
            return found[-1]
        if isinstance(value, (list, tuple)):
            return type(value)(map(spoil, value))
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return type(value)(**{name: spoil(getattr(value, name)) for name in names})
        return value

    made = spoil(build_card(facts()))
    page, text = to_html(made), to_markdown(made)
    assert "<script" not in page and not re.search(r"(?<!\\)<script", text)
    kept = [name for p in made.pictures for name in (p.file, p.topic)]  # no fields of the page
    words = Words(page).words
    assert len(found) > 200 and all(script in words for script in found if script not in kept)


def test_the_page_stays_small_and_shows_only_small_pictures():
    pictures = [Picture(str(i), "", png(400, 400, i)) for i in range(3)]  # noise: 160 kB each
    page = to_html(build_card(facts(pictures=[Picture("lost", "", None), *pictures])))
    assert page.count("<img") == 1 and len(page.encode()) < 300_000
    assert all(address.startswith("data:") for address in Words(page).addresses)
    assert "default-src 'none'" in page


NUMBERS = "[...document.querySelectorAll('td.n')].map(cell => cell.textContent)"
BROKEN = """[...document.querySelectorAll('td.n')].filter(cell => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return range.getClientRects().length > 1;
}).map(cell => cell.textContent)"""


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_card_is_quiet_accessible_and_fits_on_a_phone(tmp_path, scheme):
    path = tmp_path / "model_card.html"
    long = evaluation("autoencoder")
    for row in (*long["figures"], *long["gates"]):
        row |= {"value": -0.007765, "interval": [-0.009131, -0.001634], "champion": -0.001634}
    given = facts("autoencoder", metrics=long)
    path.write_text(to_html(build_card(given)), encoding="utf-8")
    with open_browser(tmp_path / "profile") as context:
        page = context.new_page()
        page.emulate_media(color_scheme=scheme)
        requests, complaints = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert violations(page) == []
            assert (
                "-0.009131 to -0.001634" in page.evaluate(NUMBERS) and page.evaluate(BROKEN) == []
            )
        assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}
        assert complaints == []
