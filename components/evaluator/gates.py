"""Gates: a value threshold, and whether a candidate is significantly worse than the champion.

Contract: ``check_gate`` never drops a gate. A value that is missing or not finite fails, and every
verdict has a sentence that names value, threshold, champion, limit and outcome. Significantly worse
means a loss above half the 95 % interval of the paired difference plus the spread over retrained
seeds, so that neither the choice of images nor a retraining explains it. No gate compares with a
champion that fails a threshold itself, or that lacks a finite value for some gate: it would not be
approved today.
"""

import math

from components.evaluator.config import Gate
from components.evaluator.results import GateResult

Interval = tuple[float, float]


def check_gate(
    gate: Gate,
    title: str,
    value: float | None,
    champion: float | None = None,
    *,
    interval: Interval | None = None,
    difference_interval: Interval | None = None,
    why_missing: str = "",
    has_champion: bool = False,
    champion_fails: str = "",
) -> GateResult:
    """Checks one metric.

    Args:
        gate: The condition.
        title: Title of the metric.
        value: The candidate's value; None if it was not measured.
        champion: The champion's value; None if it was not measured.
        interval: 95 % interval of ``value``, for the sentence.
        difference_interval: 95 % interval of ``value - champion``, both measured on the same
            resampled images; without it only the spread over retrained seeds is allowed.
        why_missing: Why ``value`` is missing, for the sentence.
        has_champion: Whether a champion exists, so that its missing value is reported.
        champion_fails: As ``failed_threshold``: a gate of this model that the champion fails;
            empty if it fails none.
    """
    bound = _bound(gate)
    passed, limit, parts = False, None, []
    if value is None:
        cause = f" ({why_missing})" if why_missing else ""
        parts.append(f"was not measured{cause} and {bound}")
    elif not math.isfinite(value):
        parts.append(f"is not a finite number and {bound}")
    else:
        passed = not _worse(gate, value, gate.threshold)
        spread = f" (95 %: {_number(interval[0])} to {_number(interval[1])})" if interval else ""
        parts.append(f"is {_number(value)}{spread} and {bound}")
        if gate.retrain_spread is not None and has_champion:
            limit, words = _limit(gate, champion, difference_interval, champion_fails)
            passed = passed and (limit is None or not _worse(gate, value, limit))
            parts.append(words)
    compared = value is not None and champion is not None
    return GateResult(
        metric=gate.metric,
        title=title,
        value=value,
        interval=interval,
        threshold=gate.threshold,
        direction=gate.direction,
        champion=champion,
        difference=value - champion if compared else None,
        difference_interval=difference_interval if compared else None,
        retrain_spread=gate.retrain_spread,
        relative=gate.relative,
        limit=limit,
        passed=passed,
        sentence=f"{title} {'; '.join(parts)}: {'passed' if passed else 'failed'}.",
        reason=gate.reason,
    )


def failed_threshold(gate: Gate, title: str, champion: float | None, why_missing: str = "") -> str:
    """How the champion's own value fails the gate's threshold, in words; empty if it does not.

    Args:
        gate: The condition.
        title: Title of the metric.
        champion: The champion's value; None if it was not measured.
        why_missing: Why it could not be measured; empty if it was left out on purpose.
    """
    if champion is None:
        return f"{title} could not be measured: {why_missing}" if why_missing else ""
    if not math.isfinite(champion):
        return f"{title} is not a finite number and {_bound(gate)}"
    if not _worse(gate, champion, gate.threshold):
        return ""
    return f"{title} is {_number(champion)} and {_bound(gate)}"


def _limit(
    gate: Gate,
    champion: float | None,
    difference_interval: Interval | None,
    champion_fails: str,
) -> tuple[float | None, str]:
    """The worst value that is not significantly worse than the champion's, and why, in words.

    None if the champion has no such value or would not be approved today.
    """
    is_measured = champion is not None and math.isfinite(champion)
    own = _number(champion) if is_measured else "no such value"
    if champion_fails:
        return None, (
            f"the champion has {own} but is not compared, as it fails a gate itself "
            f"({champion_fails}), so the value alone decides"
        )
    if not is_measured:
        return None, f"the champion has {own}, so the value alone decides"
    retraining = gate.retrain_spread * (abs(champion) if gate.relative else 1.0)
    if difference_interval is None:
        chance, words = 0.0, "as the metric has no interval"
    else:
        chance = (difference_interval[1] - difference_interval[0]) / 2
        words = f"and {_number(chance)} for chance, half the 95 % interval of the difference"
    allowed = retraining + chance
    limit = champion + allowed if gate.direction == "max" else champion - allowed
    return limit, (
        f"the champion has {own} and sets the limit {_number(limit)}: "
        f"{_number(retraining)} for retraining{'' if difference_interval else ' alone'}, {words}"
    )


def _bound(gate: Gate) -> str:
    side = "at most" if gate.direction == "max" else "at least"
    return f"must be {side} {_number(gate.threshold)}"


def _worse(gate: Gate, value: float, limit: float) -> bool:
    return value > limit if gate.direction == "max" else value < limit


def _number(value: float) -> str:
    return f"{value:.4g}"
