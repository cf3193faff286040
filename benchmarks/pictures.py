"""Makes the pictures of the documents from a run and from the demo's models.

    python -m benchmarks.pictures --output outputs/quick

Contract: writes docs/images: ``overview`` and ``samples-*`` from the newest evaluations of a run,
``report`` and ``playground`` as Chromium shows them. Samples are the first of their seed, none left
out. Needs Chromium and Playwright.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from benchmarks.command import mistakes_exit
from core.config import InputError, require
from core.models import MODELS
from pipeline.local import history

FOLDER = Path(__file__).parents[1] / "docs" / "images"
_HEIGHT, _TITLE, _GAP = 380, 40, 18
_OVERVIEW = (  # title, model, picture of its evaluation
    ("GAN, first 64 by seed", "gan", "samples"),
    ("diffusion, first 64 by seed", "diffusion", "samples"),
    ("diffusion denoises", "diffusion", "denoising"),
    ("autoencoder's code, t-SNE", "autoencoder", "tsne"),
)
_DESK = {"width": 1280, "height": 900}
# The strokes of a 3, as shares of the pad's width and height.
_THREE = (
    (0.32, 0.24), (0.48, 0.16), (0.64, 0.26), (0.62, 0.4), (0.46, 0.47),
    (0.64, 0.55), (0.66, 0.7), (0.5, 0.8), (0.32, 0.74),
)  # fmt: skip


def figures(profile_dir: Path) -> dict[tuple[str, str], Path]:
    """The pictures of the newest evaluation of each model, by model and name.

    Raises:
        InputError: There is no evaluation of a model.
    """
    found = {}
    for model, kind in MODELS.items():
        made = list((profile_dir / "pipeline" / kind.evaluator).glob("evaluation/*/figures"))
        if not made:
            raise InputError(f"{profile_dir} holds no evaluation of {model}; run: inkwell run")
        newest = max(made, key=lambda path: int(path.parent.name))
        found |= {(model, path.stem): path for path in newest.glob("*.png")}
    return found


def row(pictures: Mapping[str, Path]) -> Image.Image:
    """Pictures side by side, at the same height, each below its title."""
    parts = []
    for path in pictures.values():
        image = Image.open(path).convert("RGB")
        width = round(image.width * _HEIGHT / image.height)
        parts.append(image.resize((width, _HEIGHT), Image.Resampling.LANCZOS))
    width = sum(part.width for part in parts) + _GAP * (len(parts) + 1)
    sheet = Image.new("RGB", (width, _HEIGHT + _TITLE + _GAP), "white")
    pen, x = ImageDraw.Draw(sheet), _GAP
    font = ImageFont.load_default(size=18)
    for title, part in zip(pictures, parts, strict=True):
        pen.text((x, 10), title, fill="black", font=font)
        sheet.paste(part, (x, _TITLE))
        x += part.width + _GAP
    return sheet


@contextlib.contextmanager
def demo() -> Iterator[str]:
    """``inkwell demo``, once it serves; the address of its playground."""
    command = [sys.executable, "-m", "pipeline.cli.main", "demo", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout or ():
            if line.startswith("Playground: "):
                yield line.split()[1]
                return
        raise InputError("The demo did not start; see what it said above.")
    finally:
        process.terminate()
        process.wait()


def photograph(report: Path, playground: str) -> None:
    """Writes report.png and playground.png: the top of each page, light, 1280 pixels wide."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    require(chromium is not None, "Chromium is not installed, so no page can be opened in it.")
    with sync_playwright() as started, tempfile.TemporaryDirectory() as profile:
        browser = started.chromium.launch_persistent_context(
            profile, executable_path=chromium, chromium_sandbox=False, color_scheme="light",
            viewport=_DESK,
        )  # fmt: skip
        page = browser.new_page()
        page.goto(report.resolve().as_uri())
        page.wait_for_timeout(1000)
        # From the first section on: the lines above it name directories of this machine.
        heading = page.get_by_role("heading", name="Look at first")
        corner = heading.bounding_box() or {"x": 0, "y": 0}
        left, top = corner["x"] - 16, corner["y"] - 12
        size = {"width": _DESK["width"] - left, "height": _DESK["height"] - top}
        page.screenshot(path=FOLDER / "report.png", clip={"x": left, "y": top, **size})
        page.goto(playground)
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        stroke(page, *_THREE)
        page.wait_for_timeout(3000)
        page.screenshot(path=FOLDER / "playground.png")
        browser.close()


def stroke(page: Any, *points: tuple[float, float]) -> None:
    """A stroke of the mouse on the playground; points are shares of the pad's width and height."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


@mistakes_exit("pictures")
def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("outputs/quick"), metavar="DIR")
    profile_dir = parser.parse_args(arguments).output
    found = figures(profile_dir)
    sheet = row({title: found[model, name] for title, model, name in _OVERVIEW})
    sheet.save(FOLDER / "overview.png", optimize=True)
    for model in ("gan", "diffusion"):
        image = Image.open(found[model, "samples"]).convert("L")
        image.save(FOLDER / f"samples-{model}.png", optimize=True)
    run = history.find(profile_dir.parent, history.NEWEST)
    if run.result.report is None:
        raise InputError(f"The newest run in {profile_dir.parent} has no report.")
    with demo() as address:
        photograph(Path(run.result.report), address)
    print(f"{FOLDER}: {', '.join(sorted(path.name for path in FOLDER.glob('*.png')))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
