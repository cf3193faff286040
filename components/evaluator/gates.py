"""Gates: a value threshold, and how much worse than the champion a candidate may be.

Contract: ``check_gate`` never drops a gate. A figure that is missing or not a number fails, and
every verdict comes with a sentence that names value, threshold, champion and outcome.
"""

from __future__ import annotations

import math

from components.evaluator.config import Gate
from components.evaluator.results import GateResult


def check_gate(
    gate: Gate,
    title: str,
    value: float | None,
    champion: float | None = None,
    why_missing: str = "",
    has_champion: bool = False,
) -> GateResult:
    """Judges one figure.

    Args:
        gate: The condition.
        title: Words of the metric.
        value: The candidate's figure; None if it was not measured.
        champion: The champion's figure; None if it was not measured.
        why_missing: Why ``value`` is missing, for the sentence.
        has_champion: Whether a champion exists, so that a missing figure of it is told.
    """
    parts, passed = [], False
    bound = "at most" if gate.direction == "max" else "at least"
    if value is None:
        cause = f" ({why_missing})" if why_missing else ""
        parts.append(f"was not measured{cause}, {bound} {_number(gate.threshold)} is asked")
    elif not math.isfinite(value):
        parts.append(f"is not a finite number, {bound} {_number(gate.threshold)} is asked")
    else:
        passed = not _worse(gate, value, gate.threshold)
        parts.append(f"is {_number(value)}, {bound} {_number(gate.threshold)} is asked")
        if gate.max_regression is not None and has_champion:
            held, words = _against_champion(gate, value, champion)
            passed = passed and held
            parts.append(words)
    verdict = "passed" if passed else "failed"
    return GateResult(
        metric=gate.metric,
        title=title,
        value=value,
        threshold=gate.threshold,
        direction=gate.direction,
        champion=champion,
        max_regression=gate.max_regression,
        relative=gate.relative,
        passed=passed,
        sentence=f"{title} {'; '.join(parts)}: {verdict}.",
        reason=gate.reason,
    )


def _against_champion(gate: Gate, value: float, champion: float | None) -> tuple[bool, str]:
    """Whether the change threshold holds, in words; a champion without a figure cannot be beaten
    or lost against, which is told and leaves the value threshold alone to decide."""
    if champion is None or not math.isfinite(champion):
        return True, "the champion has no such figure, so the value alone decides"
    allowed = gate.max_regression * (abs(champion) if gate.relative else 1.0)
    limit = champion + allowed if gate.direction == "max" else champion - allowed
    unit = f"{100 * gate.max_regression:g} %" if gate.relative else f"{gate.max_regression:g}"
    words = (
        f"the champion has {_number(champion)} and a loss of {unit} is allowed, which makes the "
        f"limit {_number(limit)}"
    )
    return not _worse(gate, value, limit), words


def _worse(gate: Gate, value: float, limit: float) -> bool:
    return value > limit if gate.direction == "max" else value < limit


def _number(value: float) -> str:
    return f"{value:.4g}"
