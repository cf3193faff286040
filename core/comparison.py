"""Two runs or versions compared: their settings by dotted key, and their metrics.

Contract: pure functions of plain data, as records, lineage.json and metrics.json hold it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Metric:
    """One measured metric of a model."""

    name: str
    title: str
    value: float
    interval: tuple[float, float] | None = None  # 95 %
    better: str = ""  # lower or higher; empty where neither is
    reference: float | None = None


@dataclasses.dataclass(frozen=True)
class Change:
    """A metric of a model in two runs."""

    model: str
    metrics: tuple[Metric | None, Metric | None]

    @property
    def either(self) -> Metric:
        """The metric where it was measured."""
        return next(metric for metric in self.metrics if metric)

    @property
    def verdict(self) -> str:
        """better or worse where the intervals do not meet, else unclear; empty if not known."""
        first, second = self.metrics
        if not (first and second and first.interval and second.interval and first.better):
            return ""
        (low, high), (other_low, other_high) = first.interval, second.interval
        if other_low <= high and low <= other_high:
            return "unclear"
        return "better" if (second.value < first.value) == (first.better == "lower") else "worse"


def measured(evaluation: Mapping[str, Any] | None) -> dict[str, Metric]:
    """The metrics of metrics.json by name, in its order but the primary first."""
    found = {}
    for figure in (evaluation or {}).get("figures", []):
        if isinstance(figure.get("value"), (int, float)):
            ends = figure.get("interval")
            found[figure["name"]] = Metric(
                name=figure["name"],
                title=figure.get("title") or figure["name"],
                value=figure["value"],
                interval=tuple(ends) if ends else None,
                better=figure.get("better") or "",
                reference=figure.get("floor"),
            )
    first = [name for name in ((evaluation or {}).get("primary"),) if name in found]
    return {name: found[name] for name in (*first, *(n for n in found if n not in first))}


def flatten(settings: Any, path: str = "") -> dict[str, Any]:
    """Settings by dotted key, as ``--set`` takes them; gates go by their metric."""
    if isinstance(settings, list) and settings and all(map(_is_gate, settings)):
        settings = {item["metric"]: item for item in settings}
    if not isinstance(settings, dict) or not settings:
        return {path: settings}
    return {
        key: value
        for name, part in settings.items()
        for key, value in flatten(part, f"{path}.{name}".removeprefix(".")).items()
    }


def _is_gate(item: Any) -> bool:
    return isinstance(item, dict) and "metric" in item


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys whose values differ; None where one side lacks the key."""
    pairs = {key: (first.get(key), second.get(key)) for key in {**first, **second}}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
