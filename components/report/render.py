"""Turns ``ReportData`` into one HTML page that needs no network and no script.

Contract: ``render_report(data) -> str`` is pure; the same data gives the same page. Pictures are
embedded as base64 PNG, curves as inline SVG, styles inline; the page reads well on a phone and in
light and dark. Missing figures are shown as missing. Rendering takes well under a second.
"""

from __future__ import annotations

import base64
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from components.report.charts import bar_chart, line_chart
from components.report.data import ModelReport, Picture, ReportData, SplitStatistics, Stage

MISSING = "missing"
_TEMPLATE = Path(__file__).parent / "report.html.jinja"
_KEY_FIGURES = 4


class Verdict(NamedTuple):
    """``kind`` is good, bad or unknown; ``title`` a few words; ``reasons`` sentences."""

    kind: str
    title: str
    reasons: list[str]


def render_report(data: ReportData) -> str:
    """Renders the page."""
    return _template().render(data=data, config=flatten(data.config))


def verdict(model: ModelReport) -> Verdict:
    """What became of the model, and why."""
    if model.push and model.push.pushed:
        return Verdict("good", f"Approved and pushed as version {model.push.version}", [])
    if model.evaluation is None:
        return Verdict("unknown", "Not evaluated", ["The run holds no evaluation of this model."])
    failed = [gate for gate in model.evaluation.get("gates", []) if not gate.get("passed")]
    if failed or model.blessed is False:
        reasons = [gate.get("sentence") or gate.get("title", "") for gate in failed]
        return Verdict("bad", "Not approved", reasons or [model.reason])
    check = model.serving_check
    if check is not None and not check.get("passed"):
        return Verdict("bad", "Approved, but fails the serving check", [check.get("reason", "")])
    return Verdict("bad", "Approved, but not pushed", [])


def key_figures(model: ModelReport) -> list[Mapping[str, Any]]:
    """The figures that are gated, in the order of the gates, else the first ones; at most four."""
    figures = (model.evaluation or {}).get("figures", [])
    by_name = {figure.get("name"): figure for figure in figures}
    gates = (model.evaluation or {}).get("gates", [])
    gated = [by_name[gate["metric"]] for gate in gates if gate.get("metric") in by_name]
    return (gated or figures)[:_KEY_FIGURES]


def compares(evaluation: Mapping[str, Any]) -> bool:
    """Whether anything was measured of a champion; only change thresholds ask for that."""
    rows = [*evaluation.get("figures", []), *evaluation.get("gates", [])]
    return any(row.get("champion") is not None for row in rows)


def number(value: Any) -> str:
    """Four significant digits; ``missing`` where there is no finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return MISSING if value is None else str(value)
    if not math.isfinite(value):
        return MISSING
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3e}" if abs(value) < 1e-3 else f"{value:.4g}"


def curve_charts(stage: Stage) -> list[tuple[str, Markup]]:
    """Charts of the curves of a training: those whose names end alike share one.

    Curves have one value per ``step``, or per ``epoch_end_step`` where they are that long.
    """
    curves = (stage.history or {}).get("curves", {})
    axes = [curves[name] for name in ("epoch_end_step", "step") if curves.get(name)]
    groups: dict[str, dict[str, tuple[Sequence, Sequence]]] = {}
    for name, values in curves.items():
        in_order = axes if name.startswith("val_") else axes[::-1]
        x = next((axis for axis in in_order if len(axis) == len(values)), None)
        if x is not None and not name.endswith("step"):
            words = name.replace("val_", "held-out ").replace("_", " ")
            groups.setdefault(name.rpartition("_")[2], {})[words] = (x, values)
    charts = []
    for group, series in groups.items():
        title = next(iter(series)) if len(series) == 1 else group
        svg = line_chart(series, "step", f"{stage.title}: {title} over the steps")
        if svg:
            charts.append((title, Markup(svg)))
    return charts


def label_chart(splits: Sequence[SplitStatistics]) -> Markup:
    """Share of every label in every split, in percent."""
    shares: dict[str, dict[str, float]] = {}
    for split in splits:
        for column in split.columns:
            total = sum(column.counts.values())
            if column.name == "label" and total:
                shares[split.name] = {k: 100 * v / total for k, v in column.counts.items()}
    labels = sorted({label for share in shares.values() for label in share}, key=_natural)
    groups = {name: [share.get(label) for label in labels] for name, share in shares.items()}
    return Markup(bar_chart(labels, groups, "Share of every label in every split, in percent"))


def data_uri(picture: Picture) -> str:
    """The PNG as an address that holds its own bytes."""
    return "data:image/png;base64," + base64.b64encode(picture.png or b"").decode("ascii")


def flatten(config: Mapping[str, Any], where: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names with their values."""
    rows = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            rows += flatten(value, f"{where}{key}.")
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            for i, item in enumerate(value):
                rows += flatten(item, f"{where}{key}.{item.get('metric', i)}.")
        else:
            words = value if isinstance(value, str) and value else json.dumps(value)
            rows.append((f"{where}{key}", words))
    return rows


def sentence(words: str) -> str:
    """The words with a capital at the beginning and a full stop at the end."""
    stop = "." if words and words[-1] not in ".!?" else ""
    return words[:1].upper() + words[1:] + stop


def number_pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names in words with their numbers, for a table."""
    return [(name.replace("_", " "), number(value)) for name, value in values.items()]


def _natural(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdecimal() else (10**9, label)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(number=number, data_uri=data_uri, sentence=sentence)
    environment.globals.update(
        verdict=verdict,
        key_figures=key_figures,
        compares=compares,
        curve_charts=curve_charts,
        label_chart=label_chart,
        flatten=flatten,
        number_pairs=number_pairs,
        MISSING=MISSING,
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
