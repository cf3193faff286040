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
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from components.data_gate import histograms
from components.model_card.results import not_measured
from components.model_card.words import words_of
from components.pages import page_environment, report_style
from components.report.charts import bar_chart, gate_strip, line_chart
from components.report.data import EmbeddingMap, ModelReport, ReportData
from components.report.topics import by_topic
from core.artifacts import Stage, key_pictures
from core.config import from_dict
from core.models import MODELS
from core.statistics import SplitStatistics
from core.wording import FORM_ONLY, MISSING, bound, interval, number, sentence

_HERE = Path(__file__).parent
_KEY_FIGURES = 4
_HELD_OUT = "held-out "  # begins the name of a curve of the eval split


class Verdict(NamedTuple):
    """``kind`` is good, bad or unknown; ``title`` a few words; ``reasons`` sentences."""

    kind: str
    title: str
    reasons: list[str]


def render_report(data: ReportData) -> str:
    """Renders the page."""
    script = _text("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return _template().render(
        data=data,
        config=flatten(data.config),
        style=report_style() + Markup(histograms.STYLE),
        script=Markup(script),
        script_digest=digest,
    )


def verdict(model: ModelReport) -> Verdict:
    """The verdict on the model, and the reasons."""
    if model.push and model.push.pushed:
        form_only = (model.evaluation or {}).get("quality_gates") is False
        title = f"Approved and pushed as version {model.push.version}"
        return Verdict("good", title, [FORM_ONLY] if form_only else [])
    if model.evaluation is None:
        return Verdict("unknown", "Not evaluated", ["The run holds no evaluation of this model."])
    failed = [gate for gate in model.evaluation.get("gates", []) if not gate.get("passed")]
    if failed or model.blessed is False:
        reasons = [gate.get("sentence") or gate.get("title", "") for gate in failed]
        return Verdict("bad", "Not approved", reasons or [model.reason])
    check = model.serving_check
    if check is not None and not check.get("passed"):
        return Verdict("bad", "Approved, but fails the serving check", [check.get("reason", "")])
    why = [model.push.reason] if model.push and model.push.reason else []
    return Verdict("bad", "Approved, but not pushed", why)


def key_figures(model: ModelReport) -> list[Mapping[str, Any]]:
    """The gated metrics, in the order of the gates, else the first ones; at most four."""
    figures = (model.evaluation or {}).get("figures", [])
    by_name = {figure.get("name"): figure for figure in figures}
    gates = (model.evaluation or {}).get("gates", [])
    gated = [by_name[gate["metric"]] for gate in gates if gate.get("metric") in by_name]
    return (gated or figures)[:_KEY_FIGURES]


def outcome(data: ReportData) -> str:
    """The outcome for all models, in one sentence."""
    pushed = [model.title for model in data.models if model.push and model.push.pushed]
    others = [model.title for model in data.models if model.title not in pushed]
    if not others:
        return f"All {len(pushed)} models were approved and pushed."
    words = f"Not pushed: {', '.join(others)}."
    return f"{words} Pushed: {', '.join(pushed)}." if pushed else f"No model was pushed. {words}"


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
    """Captions and charts of the curves of a training: names with equal endings share a chart.

    Curves have one value per ``step``, or per ``epoch_end_step`` where they are that long.

    Args:
        stage: The training.
        of: The title of its model.
    """
    history = stage.history or {}
    curves = history.get("curves") or {}
    axes = [curves[name] for name in ("epoch_end_step", "step") if curves.get(name)]
    groups: dict[str, dict[str, tuple[Sequence, Sequence]]] = {}
    for name, values in curves.items():
        in_order = axes if name.startswith("val_") else axes[::-1]
        x = next((axis for axis in in_order if len(axis) == len(values)), None)
        if x is not None and not name.endswith("step"):
            words = name.replace("val_", _HELD_OUT).replace("_", " ")
            groups.setdefault(name.rpartition("_")[2], {})[words] = (x, values)
    charts = []
    for group, series in groups.items():
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
    return sentence(words + (", on the train split and on held-out images" if held_out else ""))


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
    helpers = (verdict, outcome, key_figures, key_pictures, comparisons, strip, not_measured)
    helpers += (
        by_topic,
        curve_charts,
        label_chart,
        column_rows,
        drift_plots,
        map_json,
        flatten,
        number_pairs,
    )
    helpers += (bound, words_of)
    named = {helper.__name__: helper for helper in helpers}
    environment.globals.update(
        {**named, "MISSING": MISSING, "MODELS": MODELS, "KEY": Markup(histograms.KEY)}
    )
    return environment.get_template("report.html.jinja")
