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
    """What axe-core finds wrong with a page as it is shown: rule, impact, place and measure.

    It knows the names of controls, contrast, roles, headings, landmarks and what scrolls.
    """
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    rules = axe.Axe().run(page).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}) at {node['target'][0]}: {found['message']}"
        for rule in rules
        for node in rule["nodes"]
        for found in node["any"] + node["all"] + node["none"]
    ]
