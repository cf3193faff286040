"""Histograms of new data over those of its baseline, one plot for each column and split.

Contract: ``compare`` turns TFDV's statistics into plain numbers, which the data gate writes into
its findings; ``draw`` turns them into the same SVG on the page of ``inkwell check`` and in the
report, both of which hold ``STYLE``.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from components.idx_example_gen import scalars
from core.statistics import LABEL
from core.wording import number

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0.statistics_pb2 import (
        FeatureNameStatistics as FeatureStatistics,
    )
    from tensorflow_metadata.proto.v0.statistics_pb2 import NumericStatistics

    from components.data_gate.gate import Check, Statistics

STYLE = (
    ":root{--now:#1f6f9f;--was:#c2410c}"
    "@media (prefers-color-scheme:dark){:root{--now:#56b4e9;--was:#ffab7a}}"
    # Train and test side by side.
    ".histograms{display:grid;gap:16px 20px;grid-template-columns:repeat(2,minmax(0,1fr))}"
    "@media (min-width:800px){.histograms{grid-template-columns:repeat(4,minmax(0,1fr))}}"
    ".histograms figure{margin:0}.histograms svg{display:block;width:100%;height:auto;"
    "border-bottom:1px solid currentColor}.histograms figcaption{font-size:.85rem}"
    ".now{fill:var(--now);opacity:.55}"
    ".was{fill:none;stroke:var(--was);stroke-width:1.5;vector-effect:non-scaling-stroke}"
    ".key i{display:inline-block;width:14px;margin:0 .3em 0 0;vertical-align:middle}"
    ".key .now{height:11px;background:var(--now)}.key .was{height:2px;background:var(--was)}"
    ".key span{margin-right:1em;white-space:nowrap}"
)
KEY = (
    '<p class="key"><span><i class="now"></i>this data</span> '
    '<span><i class="was"></i>the baseline</span> Each plot has its own range.</p>'
)
_BINS = 24
_WIDTH, _HEIGHT, _HIGHEST = 240, 80, 76
_DIGITS = 5  # of a share


@dataclasses.dataclass(frozen=True)
class Histogram:
    """One column of one split, now and in the baseline: the share of the images in each bin."""

    column: str
    split: str
    low: float  # of the first bin; of the label the first class
    high: float
    now: tuple[float, ...]  # as many as there are bins
    known: tuple[float, ...]
    drift: float | None = None  # as the data gate measured it
    limit: float | None = None


def compare(
    statistics: Mapping[str, Statistics],
    baseline: Mapping[str, Statistics],
    checks: Sequence[Check] = (),
) -> list[Histogram]:
    """Histograms of every scalar and of the label, by column and then by split.

    A split without images is left out, and a column that the baseline does not have.

    Args:
        statistics: By split.
        baseline: Of the splits that it knows.
        checks: The data gate's, which hold the measured drift.
    """
    measured = {(c.name, c.split): c for c in checks if c.kind == "drift"}
    splits = [split for split in baseline if statistics[split].datasets[0].num_examples]
    found = []
    for column in (*scalars.NAMES, LABEL):
        for split in splits:
            both = [_feature(one, column) for one in (statistics[split], baseline[split])]
            if None in both:
                continue
            low, high, shares = (_classes if column == LABEL else _bins)(both)
            check = measured.get((column, split))
            now, known = (tuple(np.round(s, _DIGITS).tolist()) for s in shares)
            drift, limit = (check.value, check.limit) if check else (None, None)
            found.append(Histogram(column, split, low, high, now, known, drift, limit))
    return found


def draw(found: Histogram) -> str:
    """A figure with its caption, as HTML."""
    count = max(len(found.now), 1)
    top = max([*found.now, *found.known], default=0) or 1.0
    x = np.linspace(0, _WIDTH, count + 1)
    now, known = (_HEIGHT - _HIGHEST * np.array(s) / top for s in (found.now, found.known))
    bars = "".join(
        f'<rect class="now" x="{a:.1f}" y="{y:.1f}" width="{b - a:.1f}" '
        f'height="{_HEIGHT - y:.1f}"/>'
        for a, b, y in zip(x, x[1:], now, strict=False)
    )
    points = " ".join(
        f"{a:.1f},{y:.1f} {b:.1f},{y:.1f}" for a, b, y in zip(x, x[1:], known, strict=False)
    )
    name = html.escape(f"{found.column}, {found.split}")
    words = f"{name}: {number(found.low)} to {number(found.high)}"
    if found.drift is not None and found.limit is not None:
        words += f"; drift {number(found.drift)}, limit {number(found.limit)}"
        if found.drift > found.limit:
            words = f"<strong>{words}: drifted</strong>"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{name}: this data and the baseline">{bars}'
        f'<polyline class="was" points="{points}"/></svg>'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _bins(both: Sequence[FeatureStatistics]) -> tuple[float, float, list[np.ndarray]]:
    """Lowest value, highest value, and both shares over bins of equal width."""
    numbers = [feature.num_stats for feature in both]
    low, high = min(n.min for n in numbers), max(n.max for n in numbers)
    high = high if high > low else low + 1
    edges = np.linspace(low, high, _BINS + 1)
    return low, high, [_density(one, edges) for one in numbers]


def _classes(both: Sequence[FeatureStatistics]) -> tuple[float, float, list[np.ndarray]]:
    """First class, last class, and both shares of every class."""
    counts = [
        {int(b.label): b.sample_count for b in feature.string_stats.rank_histogram.buckets}
        for feature in both
    ]
    labels = [label for one in counts for label in one]
    low, high = min(labels), max(labels)
    shares = [np.array([one.get(k, 0.0) for k in range(low, high + 1)]) for one in counts]
    return low, high, [share / max(share.sum(), 1) for share in shares]


def _density(numbers: NumericStatistics, edges: np.ndarray) -> np.ndarray:
    """Share of the images in each bin: [len(edges) - 1].

    The count of a bucket is spread evenly over its width.
    """
    # Buckets of equal width, or of equal counts where there are no others.
    standard = [h for h in numbers.histograms if h.type == h.STANDARD]
    buckets = (standard or list(numbers.histograms))[0].buckets
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


def _feature(statistics: Statistics, column: str) -> FeatureStatistics | None:
    """The statistics of a column; None where it was not counted."""
    for feature in statistics.datasets[0].features:
        if list(feature.path.step) == [column]:
            is_counted = feature.num_stats.histograms or feature.string_stats.rank_histogram.buckets
            return feature if is_counted else None
    return None
