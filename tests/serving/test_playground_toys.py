"""The playground's toys in a real browser: bars, walk, film, noise, wall, game and map."""

import time

import httpx
import numpy as np
import pytest

from tests.browser import needs_chromium
from tests.serving.playground_page import (
    DESK,
    FRAMES,
    PAGE,
    PHONE,
    SET_SLIDER,
    draw,
    pixels,
    sprite,
    stroke,
    wait,
    wait_for_pixels,
)
from trainer_modules.diffusion.schedule import STEPS


@needs_chromium
def test_film_dissolves_the_drawing_and_grows_another(page):
    draw(page)
    page.click("#film-play")
    wait(page, "document.getElementById('film-at').max == 27")
    start = page.evaluate("Number(document.getElementById('film-at').value)")
    wait(page, f"Number(document.getElementById('film-at').value) > {start}")  # it plays
    assert page.inner_text("#film-play") == "Pause"
    page.click("#film-play")
    seen = pixels(page, "input")
    frames, words = [], []
    for at in range(28):
        page.evaluate(SET_SLIDER, ["film-at", at])
        frames.append(pixels(page, "film"))
        words.append(page.inner_text("#film-caption"))
    np.testing.assert_allclose(frames[0], seen, atol=2 / 255)
    # The toy mixes drawing and noise by the step's share of a thousand.
    noise = frames[13]
    for i in range(14):
        share = round(STEPS * i / 13) / STEPS
        np.testing.assert_allclose(frames[i], seen * (1 - share) + noise * share, atol=3 / 255)
    assert words[13] == "only noise is left" and words[14] == "a new digit, in 1 step"
    assert words[27] == "a new digit, in 40 steps"
    spread = [float(frame.std()) for frame in frames[14:]]
    assert spread == sorted(spread, reverse=True) and spread[-1] < 0.1 * spread[0]
    assert f"STEPS = {STEPS};" in (PAGE / "noise.js").read_text()


@needs_chromium
def test_other_noise_and_calm_films(page):
    page.emulate_media(reduced_motion="reduce")
    seen = set()
    for _ in range(2):
        page.click("#film-dice")
        wait(page, "document.getElementById('film-at').max == 27")
        page.evaluate(SET_SLIDER, ["film-at", 13])
        seen.add(page.evaluate(FRAMES, "#film")[0])
        assert page.inner_text("#film-play") == "Play"
    assert len(seen) == 2


@needs_chromium
def test_noise_is_added_and_taken_away_step_by_step(page):
    draw(page)
    page.evaluate(SET_SLIDER, ["noise", 0.8])
    clean, noisy = pixels(page, "input"), pixels(page, "noisy")
    assert np.std(noisy - clean) > 0.2
    # The toy darkens by the noise level.
    wait_for_pixels(page, "cleaned", noisy * 0.2)
    page.click("#clean")
    wait(page, "document.getElementById('clean-at').max == 8")
    wait(page, "document.getElementById('clean').textContent == 'Mend in steps'")
    assert page.inner_text("#cleaned-caption") == "after 8 of 8 steps"
    page.evaluate(SET_SLIDER, ["clean-at", 0])
    np.testing.assert_allclose(pixels(page, "cleaned"), noisy, atol=2 / 255)
    page.evaluate(SET_SLIDER, ["noise", 0.4])
    wait(page, "document.getElementById('cleaned-caption').textContent == 'its guess'")


@needs_chromium
def test_wall_fills_and_the_same_number_is_the_same_wall(page):
    walls = {}
    for model in ("gan", "diffusion"):
        page.check(f"#wall-model input[value={model}]")
        for number in ("5", "5", "6"):
            page.fill("#wall-number", number)
            page.dispatch_event("#wall-number", "change")
            page.click("#fill")
            wait(page, "document.querySelectorAll('#wall canvas').length == 64")
            wait(page, "!document.getElementById('fill').disabled")
            wall = tuple(page.evaluate(FRAMES, "#wall canvas"))
            assert walls.setdefault((model, number), wall) == wall and len(set(wall)) == 64
    assert len(set(walls.values())) == 4
    page.click("#fill")  # pressed again: another
    wait(page, "!document.getElementById('fill').disabled")
    assert page.input_value("#wall-number") != "6"
    page.click("#wall button >> nth=3")
    chosen = np.array(
        page.evaluate(
            "[...document.querySelectorAll('#wall canvas')[3].getContext('2d')"
            ".getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 == 0)"
        )
    )
    np.testing.assert_allclose(pixels(page, "input"), chosen / 255, atol=1 / 255)


@needs_chromium
@pytest.mark.parametrize("page", [PHONE, DESK], indirect=True)
def test_wall_has_whole_rows_of_squares(page):
    wait(page, "document.querySelectorAll('#wall canvas').length == 64")
    page.wait_for_timeout(500)  # tiles arrive growing
    boxes = page.evaluate(
        "[...document.querySelectorAll('#wall canvas')].map(c => c.getBoundingClientRect())"
        ".map(b => [b.y, b.width, b.height])"
    )
    tops = [top for top, _, _ in boxes]
    columns = 8 if page.viewport_size["width"] < 1000 else 16
    assert [tops.count(top) for top in sorted(set(tops))] == [columns] * (64 // columns)
    assert all(width == pytest.approx(height, abs=0.5) and width > 28 for _, width, height in boxes)


@needs_chromium
def test_game_counts_for_both_players(page):
    real = {image.tobytes() for image in sprite()}
    you = critic = 0
    for round in range(1, 5):
        wait(
            page,
            "document.getElementById('verdict').textContent.startsWith('Keys')",
        )
        cards = [_card(page, i) for i in (0, 1)]
        is_real = [card.tobytes() in real for card in cards]
        assert sorted(is_real) == [False, True]
        choice = round % 2
        # The toy's critic takes the image with more ink for real.
        guess = int(np.argmin([card.mean() for card in cards]))
        page.click(f"#card-{choice}") if round % 3 else (
            page.focus("#card-0"),
            page.keyboard.press(str(choice + 1)),
        )
        you += not is_real[choice]
        critic += not is_real[guess]
        assert f"You {you} of {round}" in page.inner_text("#score")
        assert f"critic {critic} of {round}" in page.inner_text("#score")
        side = "left" if is_real[1] else "right"
        assert f"the {side} one is invented" in page.inner_text("#verdict")
        page.click(f"#card-{choice}")  # a second choice changes nothing
        assert f"of {round}" in page.inner_text("#score")
        page.click("#next")


def _card(page, i: int) -> np.ndarray:
    values = page.evaluate(
        f"[...document.querySelector('#card-{i} canvas').getContext('2d')"
        ".getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 == 0)"
    )
    return np.array(values, "uint8").reshape(28, 28)


@needs_chromium
def test_walk_between_two_drawings(page):
    wait(page, "document.querySelectorAll('#walk canvas').length == 9")
    draw(page)
    page.click("#keep-a")
    wait_for_pixels(page, "end-a", pixels(page, "input"))
    before = page.evaluate(FRAMES, "#walk canvas")
    page.click("#clear")
    stroke(page, (0.5, 0.2), (0.5, 0.8))
    page.click("#keep-b")
    wait_for_pixels(page, "end-b", pixels(page, "input"))
    until = time.monotonic() + 20
    while (after := page.evaluate(FRAMES, "#walk canvas"))[8] == before[8]:
        assert time.monotonic() < until
        page.wait_for_timeout(50)
    assert len(set(after)) > 1
    for place, frame in ((0, 0), (1, 8), (0.5, 4)):
        page.evaluate(SET_SLIDER, ["way", place])
        assert page.evaluate(FRAMES, "#between") == [after[frame]]
    page.click("#walk-play")
    assert page.inner_text("#walk-play") == "Pause"
    wait(page, "Number(document.getElementById('way').value) > 0.9")
    page.click("#walk-play")
    assert page.inner_text("#walk-play") == "Play"


@needs_chromium
def test_map_names_the_nearest_real_digits(page, served):
    draw(page)
    image = pixels(page, "input").reshape(1, 28, 28, 1)
    images = np.concatenate([sprite()[..., None] / 255, image])
    answer = httpx.post(
        f"http://{served.rest}/v1/models/autoencoder:predict",
        json={"signature_name": "encode", "inputs": {"image": images.round(4).tolist()}},
    )
    codes = np.array(answer.json()["outputs"])
    order = np.linalg.norm(codes[:100] - codes[100], axis=1).argsort()
    wait_for_pixels(page, "reconstruction", pixels(page, "input") * 0.9)
    page.wait_for_timeout(300)
    words = page.get_attribute("#map", "aria-label")
    nearest = order[:5] // 10
    assert words.endswith(", ".join(str(label) for label in nearest))
    counts = [int((nearest == label).sum()) for label in nearest]
    most = max(counts)
    says = f"{'all' if most == 5 else most} {'is' if most == 1 else 'are'}"
    wanted = f"{says} “{nearest[counts.index(most)]}”"
    assert wanted in page.inner_text("#looks") or "nothing" in page.inner_text("#looks")
    ring = (
        "id => [...document.getElementById(id).getContext('2d').getImageData(0, 0, 640, 640).data]"
    )
    with_ring = page.evaluate(ring, "map")
    page.click("#clear")
    wait(page, "document.getElementById('map').ariaLabel.endsWith('nothing is drawn')")
    assert np.abs(np.subtract(page.evaluate(ring, "map"), with_ring)).max() > 100


@needs_chromium
def test_bars_redraw_and_go_back(page):
    draw(page)
    wait_for_pixels(page, "reconstruction", pixels(page, "input") * 0.9)
    assert page.inner_text("#bar-count") == "3"
    page.wait_for_timeout(300)
    drawn = pixels(page, "redrawn")
    bars = page.locator("#bars input")
    bars.nth(0).focus()
    values = [bars.nth(i).input_value() for i in range(3)]
    page.keyboard.press("End")
    wait(
        page,
        "document.querySelector('#bars input').value == document.querySelector('#bars input').max",
    )
    assert [bars.nth(i).input_value() for i in (1, 2)] == values[1:]
    page.wait_for_timeout(500)
    assert np.abs(pixels(page, "redrawn") - drawn).max() > 0.005
    page.click("#bars-back")
    wait_for_pixels(page, "redrawn", drawn)
    assert page.get_attribute("#bars input", "aria-label") == "Number 1 of 3"
    page.click("#bars-dice")
    page.wait_for_timeout(500)
    assert [bars.nth(i).input_value() for i in range(3)] != values


@needs_chromium
def test_bar_is_dragged(page):
    bar = page.locator("#bars input").nth(1)
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(x, box["y"] + 4, steps=4)
    page.mouse.up()
    assert float(bar.input_value()) > 0.9 * float(bar.get_attribute("max"))
