"""The results on a model card: verdict and gates at its top, comparison and metrics further down.

Contract: pure; every number is from metrics.json or from the serving check. A metric without a
value is shown as missing, with its reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from components.model_card.content import UNKNOWN, Facts, Grid
from core.artifacts import CHANGED_GATES
from core.wording import (
    FORM_ONLY,
    MISSING,
    REFERENCE_COLUMN,
    bound,
    interval,
    number,
    reference_word,
    sentence,
)


def overview(facts: Facts) -> Iterator[str | Grid]:
    """Verdict and date in a sentence, and every gate with its value."""
    gates = facts.metrics.get("gates") or []
    failed = [gate for gate in gates if not gate.get("passed")]
    if not gates:
        verdict = "No gate was set for this version."
    elif failed:
        verdict = f"Not approved: {len(failed)} of {len(gates)} gates failed."
    else:
        verdict = f"Approved: every gate passed ({len(gates)})."
    pushed = facts.lineage.get("pushed_at")
    when = f"{datetime.fromisoformat(pushed):%d %B %Y, %H:%M %Z}" if pushed else UNKNOWN
    yield f"{verdict} Pushed: {when}."
    if facts.metrics.get("quality_gates") is False:
        yield FORM_ONLY
    if changed := facts.lineage.get(CHANGED_GATES):
        yield f"Gates that were changed for this run: {changed}."
    if gates:
        yield Grid(
            ("gate", "verdict", "value", "threshold", "95 % interval"),
            [
                (
                    title_of(gate),
                    "passed" if gate.get("passed") else "failed",
                    number(gate.get("value")),
                    bound(gate.get("direction", ""), gate.get("threshold"), gate.get("stated", "")),
                    _range(gate.get("interval")),
                )
                for gate in gates
            ],
            "Gates: all must pass before a version is pushed",
        )


def analyses(facts: Facts) -> Iterator[str | tuple[str, ...] | Grid]:
    """The comparison with the champion, every metric and table, and the latencies."""
    metrics = facts.metrics
    champion = metrics.get("champion")
    yield (
        f"Compared with the version served then, {champion.get('version')} (the champion)."
        if champion
        else "No version was served, so there is no comparison."
    )
    gates = metrics.get("gates") or []
    if any(gate.get("champion") is not None for gate in gates):
        compared = ("champion", "difference", "limit")
        yield Grid(
            ("gate", "value", *compared),
            [
                (
                    title_of(gate),
                    number(gate.get("value")),
                    *(_or_none(gate.get(key)) for key in compared),
                )
                for gate in gates
            ],
            "Gates: comparison with the champion",
        )
    if gates:
        yield "Reasons of the thresholds:"
        yield tuple(f"{title_of(g)}: {sentence(g['reason'])}" for g in gates if g.get("reason"))
    figures = metrics.get("figures") or []
    with_champion = any(figure.get("champion") is not None for figure in figures)
    yield Grid(
        (
            *("metric", "value", "95 % interval", REFERENCE_COLUMN, "which is"),
            *(("champion",) if with_champion else ()),
        ),
        [
            (
                title_of(figure),
                number(figure.get("value")),
                _range(figure.get("interval")),
                _or_none(figure.get("floor")),
                _reference(figure),
                *((_or_none(figure.get("champion")),) if with_champion else ()),
            )
            for figure in figures
        ],
        "Metrics",
    )
    reasons = not_measured(metrics)
    if reasons:
        yield "Missing:"
        yield tuple(f"{', '.join(titles)}: {why}" for why, titles in reasons.items())
    for table in metrics.get("tables") or []:
        rows = [[number(cell) for cell in row] for row in table.get("rows") or []]
        yield Grid(table.get("columns") or [], rows, table.get("title") or "")
    check = facts.serving_check
    if check and check.get("latency_ms"):
        rows = [
            (name, number(found.get("batch")), number(found.get("p50")), number(found.get("p95")))
            for name, found in check["latency_ms"].items()
        ]
        title = f"Latency of {check.get('server') or 'a model server'}, milliseconds"
        yield Grid(("signature", "images per call", "p50", "p95"), rows, title)


def _reference(figure: Mapping[str, Any]) -> str:
    """What a reference value is: ``floor: two samples of real images``."""
    if figure.get("floor") is None:
        return "none"
    word, title = reference_word(figure.get("better")), figure.get("floor_title")
    return f"{word}: {title}" if title else word


def not_measured(metrics: Mapping[str, Any]) -> dict[str, list[str]]:
    """Titles of the metrics without a value, by reason."""
    reasons: dict[str, list[str]] = {}
    for figure in metrics.get("figures") or []:
        if number(figure.get("value")) == MISSING:
            why = sentence(figure.get("missing") or f"why is {UNKNOWN}")
            reasons.setdefault(why, []).append(title_of(figure))
    return reasons


def title_of(row: Mapping[str, Any]) -> str:
    """Title of a metric or gate of metrics.json."""
    return row.get("title") or row.get("name") or row.get("metric") or UNKNOWN


def _range(ends: Sequence[float] | None) -> str:
    words = interval(ends)
    return "none" if words == MISSING else words


def _or_none(value: Any) -> str:
    return "none" if value is None else number(value)
