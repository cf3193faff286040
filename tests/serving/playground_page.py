"""The playground's page in a real browser, as its tests use it."""

import contextlib
import time

import numpy as np
from PIL import Image

from benchmarks.pictures import stroke
from serving.playground.real_digits import SPRITE

PHONE, DESK = (390, 844), (1280, 900)
PAGE = SPRITE.parent
_PIXELS = """id => [...document.getElementById(id).getContext('2d').getImageData(0, 0, 28, 28).data]
    .filter((_, i) => i % 4 == 0)"""
FRAMES = "id => [...document.querySelectorAll(id)].map(c => c.toDataURL())"
SET_SLIDER = """([id, value]) => { const s = document.getElementById(id);
    s.value = value; s.dispatchEvent(new Event('input')) }"""


@contextlib.contextmanager
def opened_page(context, served, size=DESK, ready="body[data-ready]"):
    """The page once it is ready; complaints and requests to other hosts fail the test."""
    page = context.new_page()
    complaints, hosts = [], set()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: hosts.add(r.url.split("/")[2]) if "://" in r.url else None)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(served.playground)
    page.wait_for_selector(ready)
    yield page
    page.close()
    # The hint about getImageData is for the tests' own reading of pixels.
    assert [text for text in complaints if not text.startswith("Canvas2D: Multiple readback")] == []
    assert hosts <= {served.rest, served.playground.removeprefix("http://"), ""}


def pixels(page, id: str) -> np.ndarray:
    return np.array(page.evaluate(_PIXELS, id), "float32") / 255


def draw(page) -> None:
    stroke(page, (0.3, 0.2), (0.6, 0.2), (0.3, 0.8))


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


def sprite() -> np.ndarray:
    """uint8 [100, 28, 28]."""
    picture = np.asarray(Image.open(SPRITE))
    return picture.reshape(10, 28, 10, 28).swapaxes(1, 2).reshape(100, 28, 28)
