"""The page in a real browser: nothing is fetched, nothing complains, nothing overflows."""

from __future__ import annotations

import pytest

from components.report.render import render_report
from tests.browser import needs_chromium, open_browser

pytestmark = needs_chromium


@pytest.fixture
def browser(tmp_path):
    with open_browser(tmp_path / "profile") as context:
        yield context


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_page_is_quiet_and_fits(browser, report_data, tmp_path, width, height):
    path = tmp_path / "index.html"
    path.write_text(render_report(report_data), encoding="utf-8")
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": height})
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = page.evaluate(
        "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    )
    assert broken == 0
    assert page.evaluate("document.images.length") > 0
