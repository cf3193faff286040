"""The verdict on a data directory as a page: rows, images of each class, and what has drifted.

Contract: ``page`` gives HTML that needs nothing else. A look at the images shows what no check
knows without a baseline, such as letters that lie on their side.
"""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

import numpy as np

from components.data_gate.check import Verdict
from components.idx_example_gen import scalars
from components.idx_example_gen.data import Data
from core.images import HEIGHT, WIDTH

if TYPE_CHECKING:
    from components.data_gate.baseline import Statistics

_IMAGES, _CLASSES = 12, 62  # shown: of each class, and at most
_GAP, _GREY = 2, 96  # pixels between two images, and their brightness
_BINS = 24
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0}"
    "figure{display:inline-block;margin:0 1rem 1rem 0}figcaption{font-size:.85rem}"
    ".now{fill:#1f6f9f;opacity:.6}.was{fill:none;stroke:#c2410c;stroke-width:1.5}"
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
        f"<style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>Images by split: {splits}. {verdict.checks} checks.{drift}</p>"
        f"<ul>{said}</ul>{found}{_samples(verdict.data)}{_drift(verdict)}</html>\n"
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
    """Every scalar of train and test, now and in the baseline, as histograms over each other."""
    if verdict.baseline is None:
        return ""
    figures = "".join(
        _figure(split, name, verdict.statistics[split], known)
        for split, known in verdict.baseline.items()
        if verdict.statistics[split].datasets[0].num_examples
        for name in scalars.NAMES
    )
    return f"<h2>Drift</h2><p>Filled: this data. Line: the baseline.</p>{figures}"


def _figure(split: str, name: str, now: Statistics, known: Statistics) -> str:
    low, high = _span(name, now, known)
    edges = np.linspace(low, high, _BINS + 1)
    both = [_density(statistics, name, edges) for statistics in (now, known)]
    top = max(float(shares.max()) for shares in both) or 1.0
    x, y = np.linspace(0, 240, _BINS + 1), [80 - 76 * shares / top for shares in both]
    bars = "".join(
        f'<rect class="now" x="{a:.1f}" y="{b:.1f}" width="10" height="{80 - b:.1f}"/>'
        for a, b in zip(x, y[0], strict=False)
    )
    points = " ".join(
        f"{a:.1f},{h:.1f} {b:.1f},{h:.1f}" for a, b, h in zip(x, x[1:], y[1], strict=False)
    )
    return (
        f'<figure><svg width="240" height="80" role="img" aria-label="{name} of {split}">{bars}'
        f'<polyline class="was" points="{points}"/></svg>'
        f"<figcaption>{name}, {split}: {low:.3g} to {high:.3g}</figcaption></figure>"
    )


def _span(name: str, *statistics: Statistics) -> tuple[float, float]:
    """The lowest and the highest value in any of them, never the same."""
    features = [_numbers(one, name) for one in statistics]
    low, high = min(f.min for f in features), max(f.max for f in features)
    return low, high if high > low else low + 1


def _density(statistics: Statistics, name: str, edges: np.ndarray) -> np.ndarray:
    """Share of the images in each bin: [len(edges) - 1].

    The count of a bucket is spread evenly over its width.
    """
    buckets = _histogram(statistics, name)
    total = sum(bucket.sample_count for bucket in buckets)
    shares = np.zeros(len(edges) - 1)
    for bucket in buckets:
        low, high = bucket.low_value, bucket.high_value
        if high <= low:
            place = min(int(np.searchsorted(edges, low, "right")) - 1, len(shares) - 1)
            shares[place] += bucket.sample_count
            continue
        overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
        shares += bucket.sample_count * np.maximum(overlap, 0) / (high - low)
    return shares / max(total, 1)


def _histogram(statistics: Statistics, name: str):
    """Buckets of equal width, or of equal counts where there are no others."""
    found = _numbers(statistics, name).histograms
    standard = [h for h in found if h.type == h.STANDARD]
    return (standard or list(found))[0].buckets


def _numbers(statistics: Statistics, name: str):
    [feature] = [f for f in statistics.datasets[0].features if f.path.step[0] == name]
    return feature.num_stats
