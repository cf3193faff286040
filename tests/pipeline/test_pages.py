"""The pages of runs and of a lineage: what they say, and how they are in a real browser."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("ml_metadata")

from pipeline.cli.main import app
from pipeline.pages.graph import Box, draw
from tests.browser import needs_chromium, open_browser, violations
from tests.components.report.test_browser import OVERFLOWING
from tests.pipeline.records import Place

OLD, NEW = "20260821-101500", "20260822-090000"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Two runs, of which the first has a report, and a version made by the first."""
    place = Place(tmp_path)
    place.read_data(OLD, "a" * 64)
    [model] = place.execute(OLD, "gan", {"model": {}}, reads=("pipeline/example-gen/examples/1",))
    place.record(OLD, {"gan": {"epochs": 8}, "output_dir": "a"}, commit="c1")
    place.record(NEW, {"gan": {"epochs": 12}, "output_dir": "b"}, blessed=False, pushed=False)
    record = place.folder / "runs" / f"{OLD}.json"
    content = json.loads(record.read_text())
    content["result"]["report"] = "report.html"
    record.write_text(json.dumps(content))
    (place.folder / "report.html").write_text("report")
    extra = tmp_path / "serving" / "gan" / "18" / "assets.extra"
    extra.mkdir(parents=True)
    lineage = {"model_uri": model, "run_id": OLD, "data": {"digest": "a" * 64}}
    (extra / "lineage.json").write_text(json.dumps(lineage))
    (extra.parent / "saved_model.pb").write_text("graph")
    return place


def write(place: Place, name: str, *arguments: str) -> str:
    """A page that a command wrote to ``name`` next to the runs."""
    path = place.output / name
    given = [*arguments, "--output", str(place.output), "-o", str(path)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0 and result.output.strip() == str(path)
    return path.read_text(encoding="utf-8")


def lineage(place: Place, name: str) -> str:
    serving = str(place.output.parent / "serving")
    return write(place, name, "lineage", "gan", "--serving", serving)


def test_runs_are_listed_newest_first_with_verdicts_metrics_and_changed_settings(place):
    page = write(place, "runs.html", "runs")
    assert page.index(NEW) < page.index(OLD)
    assert "pushed as 18" in page and "not approved" in page
    assert re.search(r"<dt>FD</dt><dd class=\"n\">4.5 <span class=\"small\">4 to 5</span>", page)
    assert "<dt>gan.epochs</dt><dd>8 → 12</dd>" in page and "output_dir" not in page
    assert 'href="smoke/report.html"' in page and page.count("no report") == 1


def test_the_json_has_what_the_page_shows(place):
    told = CliRunner().invoke(app, ["runs", "--json", "--output", str(place.output)]).output
    first, second = json.loads(told)
    assert first["settings_changed"] is None
    assert second["settings_changed"] == {"gan.epochs": [8, 12]}
    [gate] = second["models"]["gan"]["gates"]
    assert (gate["metric"], gate["value"], gate["interval"]) == ("fd", 4.5, [4.0, 5.0])


def test_what_a_record_says_is_text_on_the_page(place):
    record = place.folder / "runs" / f"{NEW}.json"
    content = json.loads(record.read_text())
    content["result"]["failure"] = {"kind": "crash", "node": "gan", "message": "<b>x</b>"}
    record.write_text(json.dumps(content))
    page = write(place, "runs.html", "runs")
    assert "&lt;b&gt;x&lt;/b&gt;" in page and "<b>x" not in page


def test_a_lineage_is_drawn_from_the_data_to_the_version(place):
    page = lineage(place, "lineage.html")
    svg = ET.fromstring(re.search(r"<svg.*</svg>", page)[0])
    name = "{http://www.w3.org/2000/svg}"
    titles = [text.text for text in svg.iter(f"{name}text") if text.get("class") == "name"]
    assert titles == ["data", "example-gen", "gan", "gan 18"]
    assert len([p for p in svg.iter(f"{name}path") if p.get("class") == "arrow"]) == 3
    links = [link.get("href") for link in svg.iter(f"{name}a")]
    assert links[0].startswith("smoke/pipeline/example-gen/examples/")
    assert (place.output / links[1]).is_dir() and links[-1] == "../serving/gan/18"
    assert svg.find(f"{name}title").text == "Lineage of gan 18"
    assert "From the data" in svg.find(f"{name}desc").text


def test_a_drawing_alone_has_its_style(place):
    root = ET.fromstring(lineage(place, "lineage.svg"))
    assert root.tag.endswith("svg") and "prefers-color-scheme:dark" in "".join(root.itertext())


def test_an_arrow_is_left_out_where_others_lead_the_same_way_and_no_boxes_meet():
    boxes = {name: Box([name]) for name in "abcdef"}
    arrows = ["ab", "bc", "ac", "ad", "dc", "ae", "ce", "bf", "fe"]
    drawn = ET.fromstring(draw(boxes, [tuple(a) for a in arrows], "t", "w", ""))
    name = "{http://www.w3.org/2000/svg}"
    # a leads to c by b, and to e by c.
    assert len([p for p in drawn.iter(f"{name}path") if p.get("class") == "arrow"]) == 7
    found = [
        [float(r.get(k)) for k in ("x", "y", "width", "height")] for r in drawn.iter(f"{name}rect")
    ]
    for i, (x, y, w, h) in enumerate(found):
        for left, top, across, down in found[:i]:
            assert x >= left + across or left >= x + w or y >= top + down or top >= y + h


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_pages_are_quiet_accessible_and_fit_the_window(place, tmp_path, scheme):
    write(place, "runs.html", "runs")
    lineage(place, "lineage.html")
    with open_browser(tmp_path / "profile") as browser:
        for name in ("runs.html", "lineage.html"):
            for width in (390, 1280):
                page, said = browser.new_page(), []
                page.on("console", lambda message, said=said: said.append(message.text))
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size({"width": width, "height": 844})
                page.goto((place.output / name).as_uri())
                assert page.evaluate(OVERFLOWING) == []
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert violations(page) == []
                assert said == []
                page.close()
