"""The page in a real browser: nothing is fetched, nothing complains, nothing overflows, and the
map of the code answers to mouse, finger and keyboard."""

import dataclasses
import io
import time

import pytest
from PIL import Image

from components.report.render import render_report
from tests.browser import needs_chromium, open_browser, violations

pytestmark = needs_chromium

WIDTHS = (360, 390, 768, 1280)
# Elements that reach beyond the window and do not lie in a box that scrolls by itself.
OVERFLOWING = """() => {
  const inBox = e => {
    for (let p = e.parentElement; p; p = p.parentElement)
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return true;
    return false;
  };
  document.querySelectorAll('details').forEach(d => { d.open = true; });
  return [...document.body.querySelectorAll('*')]
    .filter(e => e.getClientRects().length && !e.closest('.skip, .off-screen'))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5 ||
                 e.getBoundingClientRect().left < -0.5)
    .filter(e => !inBox(e)).map(e => e.outerHTML.slice(0, 120));
}"""
MAP = ".map .stage > canvas"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile"), has_touch=True) as context:
        yield context


@pytest.fixture
def path(report_data, tmp_path):
    """The report as a file."""
    file = tmp_path / "index.html"
    file.write_text(render_report(report_data), encoding="utf-8")
    return file


@pytest.fixture
def open_page(browser, path):
    """Opens the report at a width; at the end nothing may have been fetched or complained of."""
    pages, requests, complaints = [], [], []

    def open_at(width: int, height: int = 844, scheme: str = "light"):
        page = browser.new_page()
        pages.append(page)
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": height})
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        return page

    yield open_at
    for page in pages:
        page.close()
    assert {url for url in requests if not url.startswith("data:")} <= {path.as_uri()}
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page_is_quiet_and_no_element_overflows(open_page, width, scheme):
    page = open_page(width, scheme=scheme)
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert page.evaluate(broken) == 0 and page.evaluate("document.images.length") > 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_part_is_accessible(open_page, width, scheme):
    page = open_map(open_page, width, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.locator(MAP).focus()
    page.keyboard.press("ArrowRight")  # the image that is chosen is named
    assert violations(page) == []


def test_the_network_is_forbidden_to_the_page(browser, path):
    page = browser.new_page()
    page.goto(path.as_uri())
    refused = page.evaluate(
        """() => new Promise(done => {
          document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));
          new Image().src = 'https://example.invalid/x.png';
        })"""
    )
    page.close()
    assert refused == "img-src"


def test_four_screens_say_what_matters_and_all_else_is_closed(open_page):
    page = open_page(1280, 800)
    top = page.evaluate("document.getElementById('appendix').getBoundingClientRect().top")
    assert 1600 < top <= 4 * 800
    heights = "[...document.querySelectorAll('section.first')].map(s => s.offsetHeight)"
    assert max(page.evaluate(heights)) <= 800
    assert page.locator("#appendix details").count() > 20
    assert page.locator("details[open]").count() == 0


def test_a_link_opens_the_part_that_it_leads_to(open_page, browser, path):
    page = open_page(1280, 800)
    page.locator("ul.notes a", has_text="GAN: Fréchet distance").click()
    assert page.evaluate("document.getElementById('gan-gates').open")
    wait(page, "Math.abs(document.getElementById('gan-gates').getBoundingClientRect().top) < 40")
    assert page.locator("details[open]").count() == 1
    other = browser.new_page()
    other.goto(f"{path.as_uri()}#diffusion-training")
    wait(other, "document.getElementById('diffusion-training').open")
    other.close()


def test_a_print_has_every_part(open_page):
    page = open_page(1280, 800)
    page.evaluate(
        """() => addEventListener('beforeprint', () => {
          window.closed = document.querySelectorAll('details:not([open])').length;
        })"""
    )
    page.pdf()
    assert page.evaluate("window.closed") == 0
    wait(page, "document.querySelectorAll('details[open]').length === 0")


def test_the_edge_of_a_table_fades_where_it_goes_on(open_page, path):
    def edge(page) -> list[int]:
        box = table.bounding_box()
        x, y = box["x"] + box["width"] - 3, box["y"] + box["height"] - 3
        shot = page.screenshot(clip={"x": x, "y": y, "width": 1, "height": 1})
        return Image.open(io.BytesIO(shot)).convert("RGB").getpixel((0, 0))

    for scheme, paper in (("light", (255, 255, 255)), ("dark", (18, 22, 28))):
        page = open_page(390, scheme=scheme)
        page.evaluate("document.getElementById('statistics').open = true")
        table = page.locator("#statistics .scroll").nth(1)
        table.scroll_into_view_if_needed()
        assert table.evaluate("t => t.scrollWidth > t.clientWidth")
        assert max(abs(a - b) for a, b in zip(edge(page), paper, strict=True)) > 25
        table.evaluate("t => { t.scrollLeft = t.scrollWidth; }")
        assert max(abs(a - b) for a, b in zip(edge(page), paper, strict=True)) < 6


def test_in_the_dark_the_map_is_dark_and_charts_are_inverted(open_page):
    page = open_map(open_page, 1280, scheme="dark")
    scale(page)
    ground = "getComputedStyle(document.querySelector('.map .stage')).backgroundColor"
    assert page.evaluate(ground) == "rgb(18, 22, 28)"
    filters = "[...document.images].map(i => [i.alt, getComputedStyle(i).filter])"
    for words, found in page.evaluate(filters):
        assert ("invert" in found) == words.endswith(": Map"), words


def test_the_contents_mark_the_section_in_view(open_page):
    page = open_page(1280)
    current = "document.querySelector('nav.contents a[aria-current]').hash"
    assert page.evaluate(current) == "#summary"
    page.evaluate("document.getElementById('gan').scrollIntoView({behavior: 'instant'})")
    wait(page, f"{current}.startsWith('#gan')")


def wait(page, condition: str, seconds: float = 10) -> None:
    """Until the expression holds; asked from here, as the page's policy forbids eval."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def open_map(open_page, width: int, **options):
    """The page with the part of the map open."""
    page = open_page(width, **options)
    page.evaluate("document.getElementById('autoencoder-map').open = true")
    return page


def scale(page) -> float:
    wait(page, "document.querySelector('.map').dataset.scale !== undefined")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return float(page.evaluate("document.querySelector('.map').dataset.scale"))


def chosen(page) -> int:
    scale(page)
    return int(page.evaluate("document.querySelector('.map').dataset.chosen"))


def middle(page) -> tuple[float, float]:
    page.locator(MAP).scroll_into_view_if_needed()
    box = page.locator(MAP).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def place_of(page, found, index: int) -> tuple[float, float]:
    """Where a point of the map is drawn as long as it is not zoomed, by the map's own rule."""
    xs, ys = zip(*found.points, strict=True)
    extent = max(max(xs) - min(xs), max(ys) - min(ys))
    box = page.locator(MAP).bounding_box()
    unit = min(box["width"], box["height"]) - 48
    x, y = found.points[index]
    return (
        box["x"] + box["width"] / 2 + (x - (min(xs) + max(xs)) / 2) / extent * unit,
        box["y"] + box["height"] / 2 + ((min(ys) + max(ys)) / 2 - y) / extent * unit,
    )


def grey_of_tip(page) -> int:
    return page.evaluate(
        "document.querySelector('.tip canvas').getContext('2d').getImageData(14, 14, 1, 1).data[0]"
    )


def outermost(found) -> int:
    """The point with the largest x, which no other hides."""
    return max(range(len(found.points)), key=lambda i: found.points[i][0])


def test_pointing_at_a_dot_shows_its_image_and_class(open_page, report_data):
    found = report_data.models[0].map
    page = open_map(open_page, 1280)
    middle(page)
    index = outermost(found)
    page.mouse.move(*place_of(page, found, index))
    assert chosen(page) == index
    assert page.locator(".tip").is_visible()
    assert page.locator(".tip").inner_text().startswith(f"class {found.labels[index]}")
    assert grey_of_tip(page) == index % 256
    page.mouse.move(2, 2)
    assert chosen(page) == -1 and not page.locator(".tip").is_visible()


def test_the_wheel_zooms_where_the_mouse_points_and_dragging_moves(open_page, report_data):
    found = report_data.models[0].map
    page = open_map(open_page, 1280)
    middle(page)
    index = outermost(found)
    x, y = place_of(page, found, index)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    wait(page, "document.querySelector('.map').dataset.scale > 1.2")
    page.mouse.move(x + 1, y)
    assert chosen(page) == index  # what the mouse points at stays under it
    page.mouse.down()
    page.mouse.move(x - 99, y, steps=4)
    page.mouse.up()
    page.mouse.move(x - 98, y)
    assert chosen(page) == index


def test_scrolling_the_page_over_the_map_does_not_zoom(open_page):
    page = open_map(open_page, 1280)
    x, y = middle(page)
    top = page.evaluate("scrollY")
    page.mouse.move(x, y)
    page.mouse.wheel(0, 200)  # nothing to zoom out of: the page goes on
    wait(page, f"scrollY > {top}")
    page.mouse.wheel(0, -100)  # and back, the mouse still at rest
    time.sleep(0.2)
    assert scale(page) == 1.0


def test_buttons_zoom_and_show_all_again(open_page):
    page = open_map(open_page, 1280)
    page.get_by_label("Zoom in").click()
    page.get_by_label("Zoom in").click()
    assert scale(page) == pytest.approx(2.25)
    page.get_by_label("Zoom out").click()
    assert scale(page) == pytest.approx(1.5)
    page.get_by_label("Show all", exact=True).click()
    assert scale(page) == 1.0


def test_the_keyboard_goes_from_image_to_image_and_zooms(open_page, report_data):
    found = report_data.models[0].map
    page = open_map(open_page, 1280)
    page.locator(MAP).focus()
    page.keyboard.press("ArrowRight")
    first = chosen(page)
    page.keyboard.press("ArrowRight")
    second = chosen(page)
    assert found.points[second][0] > found.points[first][0]
    said = page.locator(".map output").text_content()
    assert f"class {found.labels[second]}" in said and f"image {second + 1} of 300" in said
    page.keyboard.press("+")
    assert scale(page) == pytest.approx(1.5)
    page.keyboard.press("0")
    page.keyboard.press("Escape")
    assert (scale(page), chosen(page)) == (1.0, -1)


def test_a_tap_shows_the_image_and_a_pinch_zooms(open_page, browser, report_data):
    found = report_data.models[0].map
    page = open_map(open_page, 390)
    x, y = middle(page)
    index = outermost(found)
    page.touchscreen.tap(*place_of(page, found, index))
    assert chosen(page) == index and grey_of_tip(page) == index % 256
    client = browser.new_cdp_session(page)

    def touch(kind: str, half: float) -> None:
        points = [{"x": x - half, "y": y, "id": 0}, {"x": x + half, "y": y, "id": 1}]
        client.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [] if kind == "touchEnd" else points},
        )

    touch("touchStart", 30)
    for half in (45, 60, 75, 90):
        touch("touchMove", half)
    touch("touchEnd", 0)
    assert scale(page) == pytest.approx(3, rel=0.1)


def test_one_class_can_be_shown_alone(open_page, report_data):
    found = report_data.models[0].map
    page = open_map(open_page, 1280)
    middle(page)
    index = outermost(found)
    other = next(label for label in found.labels if label != found.labels[index])
    button = page.locator(".map .classes button", has_text=other)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    page.mouse.move(*place_of(page, found, index))
    assert chosen(page) == -1  # a dimmed dot does not answer
    button.click()
    page.mouse.move(*place_of(page, found, index))
    assert chosen(page) == index


def test_without_script_the_static_map_is_there(browser, path):
    page = browser.new_page()
    client = browser.new_cdp_session(page)
    client.send("Emulation.setScriptExecutionDisabled", {"value": True})
    page.goto(path.as_uri())
    page.locator("#autoencoder-map > summary").click()
    assert page.locator("[data-still] img").first.is_visible()
    assert not page.locator(".map").first.is_visible()
    page.close()


def test_with_script_the_map_stands_for_the_static_picture(open_page):
    page = open_map(open_page, 1280)
    assert page.locator(".map").first.is_visible()
    assert not page.locator("[data-still] img").first.is_visible()


def test_a_page_with_a_full_map_and_pictures_stays_below_eight_megabytes(report_data):
    started = time.thread_time()
    sprite = bytes(range(256)) * 4 * 1500  # 1.5 MB: more than 5,000 thumbnails of digits take
    found = dataclasses.replace(
        report_data.models[0].map, points=[[1.234, 5.678]] * 5000, labels=["7"] * 5000
    )
    found = dataclasses.replace(found, sprite=sprite)
    picture = dataclasses.replace(report_data.models[0].pictures[0], png=bytes(100_000))
    models = [
        dataclasses.replace(model, pictures=[picture] * 12, map=found if i == 0 else None)
        for i, model in enumerate(report_data.models)
    ]
    page = render_report(dataclasses.replace(report_data, models=models))
    assert len(page.encode()) < 8_000_000
    assert time.thread_time() - started < 2
