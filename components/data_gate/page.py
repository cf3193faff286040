"""The verdict on a data directory as a page: rows, images of each class, and what has drifted.

Contract: ``page`` gives HTML that needs nothing else. A look at the images shows what no check
knows without a baseline, such as letters that lie on their side.
"""

import base64
import html
import io

import numpy as np

from components.data_gate.check import Verdict
from components.data_gate.histograms import KEY, STYLE, compare, draw
from components.idx_example_gen.data import Data
from core.images import HEIGHT, WIDTH

_IMAGES, _CLASSES = 12, 62  # shown: of each class, and at most
_GAP, _GREY = 2, 96  # pixels between two images, and their brightness
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{background:canvas;color:canvastext;font:16px/1.5 sans-serif}"
    "main{max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h1,li,td:last-child{overflow-wrap:anywhere}"
    "td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0}"
    "table{border-collapse:collapse}img{max-width:100%;height:auto;image-rendering:pixelated}"
)


def page(verdict: Verdict, data_dir: str) -> str:
    """The page of a verdict."""
    splits = ", ".join(f"{name}: {len(p.labels):,}" for name, p in verdict.data.splits.items())
    said = "".join(f"<li>{html.escape(line)}</li>" for line in verdict.data.said)
    rows = "".join(
        f"<tr><td>{'stops a run' if row.stops else 'noted'}</td><td>{row.name}</td>"
        f"<td>{row.split}</td><td>{html.escape(row.sentence)}</td></tr>"
        for row in verdict.rows
    )
    head = "<tr><th>verdict</th><th>name</th><th>split</th><th>what</th></tr>"
    found = f"<table>{head}{rows}</table>" if rows else "<p>Nothing is wrong with it.</p>"
    drift = "" if verdict.baseline else " There is no baseline, so drift was not measured."
    title = f"Check of {html.escape(data_dir)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}{STYLE}</style>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<main><h1>{title}</h1>"
        f"<p>Images by split: {splits}. {len(verdict.checks)} checks.{drift}</p>"
        f"<ul>{said}</ul>{found}{_samples(verdict.data)}{_drift(verdict)}</main></html>\n"
    )


def _samples(data: Data) -> str:
    """The first images of each class of train, one class per row."""
    from PIL import Image

    train = data.splits["train"]
    classes = np.unique(train.labels)[:_CLASSES]
    down, across = HEIGHT + _GAP, WIDTH + _GAP
    sheet = np.full((len(classes) * down, _IMAGES * across), _GREY, np.uint8)
    for row, label in enumerate(classes):
        for column, image in enumerate(train.images[train.labels == label][:_IMAGES]):
            top, left = row * down, column * across
            sheet[top : top + HEIGHT, left : left + WIDTH] = image
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    names = ", ".join(data.names[label] if data.names else str(label) for label in classes)
    return (
        "<h2>Images</h2><p>Do they stand upright, and is each row one class? If they lie on their "
        "side, as EMNIST's do, set data.transpose. From the top: "
        f"{html.escape(names)}.</p>"
        f'<img alt="Images of each class" width="{sheet.shape[1] * 2}" '
        f'src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
    )


def _drift(verdict: Verdict) -> str:
    """Every column of train and test, now and in the baseline, as histograms over each other."""
    if verdict.baseline is None:
        return ""
    found = compare(verdict.statistics, verdict.baseline, verdict.checks)
    return f'<h2>Drift</h2>{KEY}<div class="histograms">{"".join(map(draw, found))}</div>'
