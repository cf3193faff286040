"""Turns ``ReportData`` into one HTML page that needs no network, and reads well without script.

Contract: ``render_report(data) -> str`` is pure; the same data gives the same page. Images are
embedded as base64 PNG, curves as inline SVG, style and script inline, and a policy in the page
forbids the network. Missing metrics are shown as missing, with the reason. Rendering takes well
under a second.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from components.data_gate import histograms
from components.model_card.results import not_measured
from components.model_card.words import words_of
from components.pages import page_environment, report_style
from components.report import first
from components.report.charts import bar_chart, gate_strip, line_chart
from components.report.data import EmbeddingMap, ReportData
from components.report.topics import by_topic
from core import comparison
from core.artifacts import Stage
from core.config import from_dict
from core.models import MODELS
from core.statistics import SplitStatistics
from core.wording import (
    MISSING,
    bound,
    interval,
    number,
    reference_word,
    sentence,
    setting,
    with_interval,
)

_HERE = Path(__file__).parent
_SHOWN = {"SHOWN": 5, "SHOWN_REASONS": 1, "MOST_NOTES": 6}  # lines before a link to the rest
_HELD_OUT = "held-out "  # begins the name of a curve of the eval split


def render_report(data: ReportData) -> str:
    """Renders the page."""
    script = _text("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return _template().render(
        data=data,
        config=setting_pairs(data.config) if data.config else [],
        style=report_style() + Markup(histograms.STYLE),
        script=Markup(script),
        script_digest=digest,
    )


def comparisons(evaluation: Mapping[str, Any]) -> dict[str, bool]:
    """Whether the tables of this evaluation have a column for a ``champion``, and ``intervals``."""
    rows = [*(evaluation.get("figures") or []), *(evaluation.get("gates") or [])]
    return {
        "champion": any(row.get("champion") is not None for row in rows),
        "intervals": any(row.get("interval") for row in rows),
    }


def strip(gate: Mapping[str, Any]) -> Markup:
    """The metric of a gate and its threshold on a line."""
    return Markup(
        gate_strip(
            gate.get("value"),
            gate.get("interval"),
            gate.get("threshold"),
            gate.get("direction", ""),
            gate.get("champion"),
            gate.get("limit"),
            gate.get("sentence") or gate.get("title") or "",
        )
    )


def curve_charts(stage: Stage, of: str) -> list[tuple[str, Markup]]:
    """Captions and charts of the curves of a training.

    Names with equal endings share a chart, but held-out ones have one of their own.

    Curves have one value per ``step``, or per ``epoch_end_step`` where they are that long.

    Args:
        stage: The training.
        of: The title of its model.
    """
    history = stage.history or {}
    curves = history.get("curves") or {}
    axes = [curves[name] for name in ("epoch_end_step", "step") if curves.get(name)]
    groups: dict[tuple[str, bool], dict[str, tuple[Sequence, Sequence]]] = {}
    for name, values in curves.items():
        in_order = axes if name.startswith("val_") else axes[::-1]
        x = next((axis for axis in in_order if len(axis) == len(values)), None)
        if x is not None and not name.endswith("step"):
            words = name.replace("val_", _HELD_OUT).replace("_", " ")
            # Held-out losses leave out what a training adds to its own, so the two share no axis.
            key = (name.rpartition("_")[2], name.startswith("val_"))
            groups.setdefault(key, {})[words] = (x, values)
    charts = []
    for (group, _), series in groups.items():
        caption = _caption(group, list(series))
        unit = _unit(group, history.get("model"))
        svg = line_chart(series, "training step", unit, f"{of}, {stage.title.lower()}: {caption}")
        if svg:
            charts.append((caption, Markup(svg)))
    return charts


def _caption(group: str, names: Sequence[str]) -> str:
    """The caption of a chart of curves."""
    is_game = any("discriminator" in name for name in names)
    words = {
        ("loss", False): "Loss during training",
        ("loss", True): "Losses of discriminator and generator during training",
        ("accuracy", False): "Share of images that are classified correctly during training",
        ("accuracy", True): "Share of pairs of a real and a generated image that each network wins",
        ("spread", False): "How much generated images differ from each other during training, as a "
        "multiple of how much real images do; about 1 is healthy",
    }.get((group, is_game), f"{group} during training")
    held_out = any(name.startswith(_HELD_OUT) for name in names)
    return sentence(words + (", on held-out images" if held_out else ""))


def _unit(group: str, model: str | None) -> str:
    if group == "loss" and model in MODELS:
        return words_of(model).loss
    units = {
        "loss": "cross-entropy (nats)",
        "accuracy": "share, 0 to 1",
        "spread": "multiple of real images",
    }
    return units.get(group, f"{group} (no unit)")


def label_chart(splits: Sequence[SplitStatistics]) -> Markup:
    """Share of every label in every split, in percent."""
    shares = {split.name: split.label_shares for split in splits if split.label_shares}
    labels = sorted({label for share in shares.values() for label in share}, key=_natural)
    groups = {name: [share.get(label) for label in labels] for name, share in shares.items()}
    title = "Share of every label in every split, in percent"
    return Markup(bar_chart(labels, groups, "label", "share of the images (%)", title))


def column_rows(splits: Sequence[SplitStatistics]) -> list[tuple[str, list[str]]]:
    """Mean and standard deviation of every numeric column in every split."""
    columns = [{column.name: column for column in split.columns} for split in splits]
    names = dict.fromkeys(c.name for split in splits for c in split.columns if not c.counts)

    def cell(column: Any) -> str:
        return f"{number(column.mean)} \u00b1 {number(column.deviation)}" if column else MISSING

    return [(name, [cell(found.get(name)) for found in columns]) for name in names]


def drift_plots(findings: Mapping[str, Any]) -> list[Markup]:
    """Every column of the data over its baseline; empty where there was none to compare with."""
    rows = findings.get("histograms") or []
    return [Markup(histograms.draw(from_dict(histograms.Histogram, row))) for row in rows]


def map_json(found: EmbeddingMap) -> Markup:
    """The points of a map as JSON that is safe in a script element."""
    content = {"points": [[round(v, 3) for v in p] for p in found.points], "labels": found.labels}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def setting_pairs(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings by dotted key with their values in words."""
    return [(key, setting(value)) for key, value in comparison.flatten(config).items()]


def number_pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Readable names with their numbers, for a table."""
    return [(name.replace("_", " "), number(value)) for name, value in values.items()]


def _natural(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdecimal() else (10**9, label)


@functools.cache
def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    environment = page_environment(_HERE)
    environment.filters.update(number=number, sentence=sentence, interval=interval)
    helpers = (first.verdict, first.outcome, first.noteworthy)
    helpers += (first.key_figures, first.threshold_of, first.champion_of, first.first_pictures)
    helpers += (comparisons, strip, not_measured, by_topic, curve_charts, label_chart, column_rows)
    helpers += (drift_plots, map_json, setting, setting_pairs, number_pairs, bound, words_of)
    helpers += (reference_word, with_interval, first.differences, first.alike)
    named = {helper.__name__: helper for helper in helpers}
    environment.globals.update(
        {**named, "MISSING": MISSING, "MODELS": MODELS, "KEY": Markup(histograms.KEY), **_SHOWN}
    )
    return environment.get_template("report.html.jinja")
