"""Gates: a value threshold, and whether a candidate is significantly worse than another version.

Contract: ``check_gate`` never drops a gate. A value that is missing or not finite fails, as does a
threshold whose reference is, and every verdict has a sentence that names value, threshold, other
versions, limit and outcome. Significantly worse means a loss above half the 95 % interval of the
paired difference plus the spread over retrained seeds, so that neither the choice of images nor a
retraining explains it. No gate compares with a version that fails a threshold itself, that lacks a
finite value for some gate, or whose own gates did not judge quality: it would not be approved
today. Nor does a gate compare with a version that the candidate beats in the primary metric.
"""

import dataclasses
import math
from collections.abc import Sequence

from components.evaluator.catalogue import REFERENCES, Metric
from components.evaluator.config import Gate
from components.evaluator.results import GateResult

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One metric of the candidate; ``missing`` is why it has no value."""

    value: float | None
    reference: float | None = None
    interval: Interval | None = None  # 95 %
    missing: str = ""


@dataclasses.dataclass(frozen=True)
class Rival:
    """Another version, in one metric."""

    words: str  # the champion, or the best version so far
    value: float | None  # None if it was not measured
    # 95 % interval of candidate minus rival, both measured on the same resampled images; without
    # it only the spread over retrained seeds is allowed.
    difference_interval: Interval | None = None
    unfit: str = ""  # why it is no standard for any gate, in words; empty if it is one
    beaten: str = ""  # how the candidate beats it in the primary metric; empty if it does not


def check_gate(
    gate: Gate, metric: Metric, found: Measurement, rivals: Sequence[Rival] = ()
) -> GateResult:
    """Checks one metric.

    Args:
        gate: The condition.
        metric: What the gate names.
        found: The candidate's value.
        rivals: The champion first, then the best version so far if that is another one.
    """
    threshold = gate.bound(found.reference)
    bound = _bound(gate, metric, found.reference)
    champion = rivals[0] if rivals else Rival("", None)
    value, limit, passed, parts = found.value, None, False, []
    if value is None:
        cause = f" ({found.missing})" if found.missing else ""
        parts.append(f"was not measured{cause} and {bound}")
    elif not math.isfinite(value):
        parts.append(f"is not a finite number and {bound}")
    else:
        passed = threshold is not None and not _worse(gate, value, threshold)
        ends = found.interval
        spread = f" (95 %: {_number(ends[0])} to {_number(ends[1])})" if ends else ""
        parts.append(f"is {_number(value)}{spread} and {bound}")
        if gate.retrain_spread is not None:
            compared = [_limit(gate, rival) for rival in rivals]
            parts += [words for _, words in compared]
            limits = [one for one, _ in compared if one is not None]
            limit = (min if gate.direction == "max" else max)(limits, default=None)
            passed = passed and (limit is None or not _worse(gate, value, limit))
    difference = None
    if value is not None and champion.value is not None:
        difference = value - champion.value
    return GateResult(
        metric=gate.metric,
        title=metric.title,
        value=value,
        interval=found.interval,
        threshold=threshold,
        direction=gate.direction,
        champion=champion.value,
        difference=difference,
        difference_interval=None if difference is None else champion.difference_interval,
        retrain_spread=gate.retrain_spread,
        relative=gate.relative,
        limit=limit,
        passed=passed,
        sentence=f"{metric.title} {'; '.join(parts)}: {'passed' if passed else 'failed'}.",
        reason=gate.reason,
        stated=_stated(gate),
    )


def failed_threshold(gate: Gate, metric: Metric, found: Measurement) -> str:
    """How another version's own value fails the gate's threshold; empty if it does not.

    A value that was left out on purpose, without a reason why it is missing, fails nothing.
    """
    value, threshold = found.value, gate.bound(found.reference)
    if value is None:
        return f"{metric.title} could not be measured: {found.missing}" if found.missing else ""
    bound = _bound(gate, metric, found.reference)
    if not math.isfinite(value):
        return f"{metric.title} is not a finite number and {bound}"
    if threshold is not None and not _worse(gate, value, threshold):
        return ""
    return f"{metric.title} is {_number(value)} and {bound}"


def improvement(gate: Gate, metric: Metric, value: float | None, rival: Rival) -> str:
    """How the candidate's ``value`` is significantly better than the rival's; empty if it is not.

    Better means a gain above what a loss may be.
    """
    own, other = _finite(value), _finite(rival.value)
    if own is None or other is None or gate.retrain_spread is None:
        return ""
    gain = other - own if gate.direction == "max" else own - other
    if gain <= _allowed(gate, other, rival.difference_interval)[0]:
        return ""
    return f"{metric.title} improves from {_number(other)} to {_number(own)}"


def _limit(gate: Gate, rival: Rival) -> tuple[float | None, str]:
    """The worst value that is not significantly worse than the rival's, and why, in words.

    None if the rival has no such value, would not be approved today, or is beaten.
    """
    value = _finite(rival.value)
    own = f"{rival.words} has {'no such value' if value is None else _number(value)}"
    if rival.unfit:
        return None, f"{own} but is not compared, as {rival.unfit}, so the value alone decides"
    if value is None:
        return None, f"{own}, so the value alone decides"
    if rival.beaten:
        return None, f"{own} but sets no limit, as {rival.beaten}"
    allowed, words = _allowed(gate, value, rival.difference_interval)
    limit = value + allowed if gate.direction == "max" else value - allowed
    return limit, f"{own} and sets the limit {_number(limit)}: {words}"


def _allowed(gate: Gate, value: float, ends: Interval | None) -> tuple[float, str]:
    """The difference from the rival's ``value`` that is not significant, and its parts in words."""
    retraining = (gate.retrain_spread or 0.0) * (abs(value) if gate.relative else 1.0)
    if ends is None:
        return retraining, (
            f"{_number(retraining)} for retraining alone, as the metric has no interval"
        )
    chance = (ends[1] - ends[0]) / 2
    return retraining + chance, (
        f"{_number(retraining)} for retraining, and {_number(chance)} for chance, half the 95 % "
        "interval of the difference"
    )


def _bound(gate: Gate, metric: Metric, reference: float | None) -> str:
    side = "at most" if gate.direction == "max" else "at least"
    threshold, stated = gate.bound(reference), _stated(gate)
    if threshold is None:
        return f"must be {side} {stated}, which was not measured"
    if not stated or reference is None:
        return f"must be {side} {_number(threshold)}"
    own = f"{_number(reference)} of {REFERENCES[metric.reference]}"
    words = f"{gate.threshold:g} {'times' if gate.times else 'plus'} the {own}"
    return f"must be {side} {_number(threshold)}, {words}"


def _stated(gate: Gate) -> str:
    """The threshold as the profile states it by a reference, ``0.9 times real_test``; or empty."""
    if not (gate.times or gate.plus):
        return ""
    key, name = ("times", gate.times) if gate.times else ("plus", gate.plus)
    return f"{gate.threshold:g} {key} {REFERENCES[name]}"


def _worse(gate: Gate, value: float, limit: float) -> bool:
    return value > limit if gate.direction == "max" else value < limit


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float) -> str:
    return f"{value:.4g}"
