"""The machine's own Chromium, driven by Playwright."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Contrast of each element's own text with the colour below it: text, ratio. axe-core measures none
# over a gradient, which every table that scrolls has, and none in an SVG.
_CONTRAST = """() => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const shares = [.2126, .7152, .0722];
  const luminance = (colour) => shares.reduce((sum, weight, i) => {
    const v = colour[i] / 255;
    return sum + weight * (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  }, 0);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const found = rgba(getComputedStyle(element).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  return [...document.querySelectorAll('body *')].filter((element) =>
    element.checkVisibility() && element.getClientRects().length &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) &&
    !element.closest(':disabled')).map((element) => {
      const style = getComputedStyle(element), isSvg = element instanceof SVGElement;
      const own = luminance(rgba(isSvg ? style.fill : style.color));
      const below = luminance(ground(element));
      const ratio = (Math.max(own, below) + .05) / (Math.min(own, below) + .05);
      return [element.textContent.trim().slice(0, 30), ratio];
    });
}"""
_LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA, for text of any size

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed, so no page can be opened in it"
)


@contextlib.contextmanager
def open_browser(profile: Path, flags: Sequence[str] = (), **options: Any) -> Iterator[Any]:
    """A Playwright browser context with a new profile in ``profile``; ``flags`` are Chromium's.

    A process may have one open at a time: a fixture's scope is a module, never the session.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=CHROMIUM,
            headless=True,
            chromium_sandbox=False,
            args=[*FLAGS, *flags],
            **options,
        )
        yield context
        context.close()


def violations(page: Any) -> list[str]:
    """What is wrong with a page as it is shown, one line each, so that an empty list is good.

    By axe-core: names of controls, roles, headings, landmarks, boxes that scroll, contrast. The
    contrast of every text is measured here as well, because axe-core leaves out much of it.
    """
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    by_axe = [
        f"{rule['id']} ({rule['impact']}) at {node['target'][0]}: {broken[0]['message']}"
        for rule in axe.Axe().run(page).response["violations"]
        for node in rule["nodes"]
        if (broken := node["any"] + node["all"] + node["none"])
    ]
    contrasts = page.evaluate(_CONTRAST)
    assert contrasts
    return by_axe + [
        f"contrast {ratio:.2f} of “{text}”" for text, ratio in contrasts if ratio < _LEAST_CONTRAST
    ]
