"""The playground in a real browser, on a desk and on a phone, against a real server."""

import time

import httpx
import numpy as np
import pytest

from tests.browser import needs_chromium, open_browser

PHONE, DESK = (360, 740), (1280, 900)
PIXELS = """id => [...document.getElementById(id).getContext('2d').getImageData(0, 0, 28, 28).data]
    .filter((_, i) => i % 4 == 0)"""


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    with open_browser(profile, has_touch=True) as context:
        yield context


@pytest.fixture
def page(context, served, request):
    """The page once it is ready; complaints and requests to other hosts fail the test."""
    page = context.new_page()
    complaints, hosts = [], set()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: hosts.add(r.url.split("/")[2]))
    width, height = getattr(request, "param", DESK)
    page.set_viewport_size({"width": width, "height": height})
    page.goto(served.playground)
    page.wait_for_selector("body[data-ready]")
    yield page
    page.close()
    # The hint about getImageData is for the tests' own reading of pixels.
    assert [text for text in complaints if not text.startswith("Canvas2D: Multiple readback")] == []
    assert hosts <= {served.rest, served.playground.removeprefix("http://")}


def pixels(page, id: str) -> np.ndarray:
    return np.array(page.evaluate(PIXELS, id), "float32") / 255


def draw(page) -> None:
    box = page.locator("#pad").bounding_box()
    x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] * 0.3, y, steps=5)
    page.mouse.move(x, y + box["height"] * 0.6, steps=5)
    page.mouse.up()


def wait(page, condition: str, seconds: float = 20) -> None:
    """Until the expression holds; asked from here, as the page's policy forbids eval."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def wait_for_pixels(page, id: str, expected: np.ndarray, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while np.abs(pixels(page, id) - expected).max() > 2 / 255:
        assert time.monotonic() < end, id
        page.wait_for_timeout(50)


@needs_chromium
@pytest.mark.parametrize("page", [PHONE, DESK], indirect=True)
def test_page_fits_and_names_the_models(page):
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for model in ("autoencoder", "diffusion", "gan"):
        assert model in page.inner_text("#served")
    assert page.is_hidden("#error") and page.locator("section.missing").count() == 0
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas')].filter(e => "
        "!(e.labels?.length || e.ariaLabel || e.textContent.trim())).length"
    )
    assert unnamed == 0
    small = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].filter(e => e.offsetParent && "
        "e.getBoundingClientRect().height < 44).length"
    )
    assert small == 0


@needs_chromium
def test_mouse_draws_and_the_autoencoder_answers(page):
    draw(page)
    wait(page, "document.getElementById('anomaly').textContent.includes('nats')")
    seen = pixels(page, "input")
    assert seen.max() > 0.9
    ys, xs = np.indices((28, 28))
    image = seen.reshape(28, 28)
    assert abs((image * ys).sum() / image.sum() - 13.5) < 1.5
    assert abs((image * xs).sum() / image.sum() - 13.5) < 1.5
    wait(page, "document.getElementById('cluster-caption').textContent.includes('%')")
    wait_for_pixels(page, "reconstruction", seen * 0.9)
    score = float(page.inner_text("#anomaly").split()[0])
    assert score - np.floor(score) == pytest.approx(seen.mean(), abs=2e-3)
    assert "3 dimensions" in page.inner_text("#code-caption")
    page.click("#clear")
    assert pixels(page, "input").max() == 0
    wait(page, "document.getElementById('anomaly').textContent == '–'")


@needs_chromium
def test_keyboard_draws(page):
    page.focus("#pad")
    page.keyboard.press("Space")
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    wait(page, "document.getElementById('anomaly').textContent.includes('nats')")
    image = pixels(page, "input").reshape(28, 28)
    assert image.max() > 0.9 and (image.max(0) > 0.5).sum() < (image.max(1) > 0.5).sum()
    page.keyboard.press("Delete")
    assert pixels(page, "input").max() == 0


@needs_chromium
@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_finger_draws(page):
    box = page.locator("#pad").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert pixels(page, "input").max() > 0.9


@needs_chromium
def test_noise_is_added_and_taken_away_step_by_step(page):
    draw(page)
    page.evaluate(
        "const s = document.getElementById('noise'); s.value = 0.8; "
        "s.dispatchEvent(new Event('input'))"
    )
    clean, noisy = pixels(page, "input"), pixels(page, "noisy")
    assert page.inner_text("#noise-value") == "0.80"
    assert np.std(noisy - clean) > 0.2
    # The toy darkens by the noise level.
    wait_for_pixels(page, "cleaned", noisy * 0.2)
    page.click("#clean")
    wait(page, "document.querySelectorAll('#film li').length == 9")
    wait(page, "!document.getElementById('clean').disabled")
    assert page.inner_text("#film li:first-child") == "0.80"
    assert page.inner_text("#film li:last-child") == "0.00"
    assert "after 8 steps" in page.inner_text("#cleaned-caption")


@needs_chromium
def test_generating_by_seed(page):
    for model in ("gan", "diffusion"):
        page.select_option("#generate-model", model)
        assert page.is_visible("#steps") == (model == "diffusion")
        strips = []
        for seed in ("5", "5", "6"):
            page.fill("#seed", seed)
            page.select_option("#count", "8")
            page.click("#generate")
            wait(page, "!document.getElementById('generate').disabled")
            assert page.locator("#samples canvas").count() == 8
            strips.append(
                page.evaluate(
                    "[...document.querySelectorAll('#samples canvas')].map(c => c.toDataURL())"
                )
            )
        assert strips[0] == strips[1] != strips[2]


@needs_chromium
@pytest.mark.parametrize("page", [PHONE, DESK], indirect=True)
@pytest.mark.parametrize("count", [8, 16, 32, 64])
def test_generated_digits_fill_rows_of_eight(page, count):
    page.select_option("#count", str(count))
    page.click("#generate")
    wait(page, f"document.querySelectorAll('#samples canvas').length == {count}")
    boxes = page.evaluate(
        "[...document.querySelectorAll('#samples canvas')].map(c => c.getBoundingClientRect())"
        ".map(b => [b.x, b.y, b.width, b.height])"
    )
    tops = [top for _, top, _, _ in boxes]
    assert [tops.count(top) for top in sorted(set(tops))] == [8] * (count // 8)
    assert all(
        width == pytest.approx(height, abs=0.5) and width > 28 for *_, width, height in boxes
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


@needs_chromium
def test_dice_of_the_seed_generates_others(page):
    seeds, digits = set(), set()
    for _ in range(3):
        page.click("#dice")
        page.wait_for_selector("#samples canvas")
        wait(page, "!document.getElementById('generate').disabled")
        seeds.add(page.input_value("#seed"))
        digits.add(page.evaluate("document.querySelector('#samples canvas').toDataURL()"))
    assert len(seeds) == len(digits) == 3 and all(0 <= int(seed) < 1e6 for seed in seeds)


@needs_chromium
def test_dice_of_the_walk_change_one_end_each(page):
    def walk(expected: int = 9) -> list[str]:
        wait(page, f"document.querySelectorAll('#walk canvas').length == {expected}")
        script = "[...document.querySelectorAll('#walk canvas')].map(c => c.toDataURL())"
        return page.evaluate(script)

    before = walk()
    for end, changed, kept in (("a", 0, 8), ("b", 8, 0)):
        page.click(f"#dice-{end}")
        until = time.monotonic() + 20
        while (after := walk())[changed] == before[changed]:
            assert time.monotonic() < until
            page.wait_for_timeout(50)
        assert after[kept] == before[kept] and after[4] != before[4]
        before = after
    # Nothing may be read as the digits between which one walks.
    section = page.locator("section[aria-labelledby=walk-title]")
    assert section.locator("input:not([type=range])").count() == 0


@needs_chromium
def test_walk_between_two_latents(page):
    wait(page, "document.querySelectorAll('#walk canvas').length == 9")
    first = pixels(page, "between")
    page.evaluate(
        "const s = document.getElementById('way'); s.value = 1; s.dispatchEvent(new Event('input'))"
    )
    wait(page, "document.getElementById('way-value').textContent == '1.00'")
    page.wait_for_timeout(500)
    assert np.abs(pixels(page, "between") - first).max() > 0.05


@needs_chromium
def test_errors_are_told_in_words_and_go_away(page):
    page.fill("#seed", "1.5")
    page.click("#generate")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error").startswith("Seed")
    page.fill("#seed", "2")
    page.click("#generate")
    page.wait_for_selector("#error", state="hidden")


@needs_chromium
def test_server_that_is_away_and_models_that_are_missing(context, served):
    page = context.new_page()
    page.route(f"http://{served.rest}/**", lambda route: route.abort())
    page.goto(served.playground)
    page.wait_for_selector("#error:not([hidden])")
    assert "does not answer" in page.inner_text("#error")
    assert "No model answers" in page.inner_text("#served")
    assert page.locator("section.missing").count() == 4
    assert "The model autoencoder is not being served." in page.inner_text("main")
    page.close()


def test_files_come_with_a_policy_and_nothing_else_is_served(served):
    response = httpx.get(served.playground)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert f"connect-src 'self' http://{served.rest};" in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(f"{served.playground}/config.json").json()["models"] == [
        *("autoencoder", "diffusion", "gan")
    ]
    for path in ("/../server.py", "/%2e%2e/server.py", "/server.py", "/none"):
        assert httpx.get(served.playground + path).status_code == 404
