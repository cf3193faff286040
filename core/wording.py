"""Numbers, intervals and settings in words, the same on the screen and on every page.

Contract: pure functions; what is None or not finite is ``MISSING``, never a blank or a zero.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

MISSING = "missing"
REFERENCE_COLUMN = "floor or reference"  # title of a column of reference values
NOT_RUN = "not run; "  # begins the reason of a metric that the settings leave out
# Of a version that was approved by gates that do not judge quality, as in the profile smoke.
FORM_ONLY = "Its gates checked that every metric is well formed, not that the model is good."


def number(value: Any) -> str:
    """Four significant digits, with an exponent below 0.0001: ``1.5e-7``.

    ``missing`` where there is no finite number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return MISSING if value is None else str(value)
    if not math.isfinite(value):
        return MISSING
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}".replace("e-0", "e-")


def interval(ends: Sequence[float] | None) -> str:
    """The interval as "low to high"; ``missing`` where there is none."""
    if not ends or MISSING in (number(ends[0]), number(ends[1])):
        return MISSING
    return f"{number(ends[0])} to {number(ends[1])}"


def with_interval(value: float | None, ends: tuple[float, float] | None) -> str:
    """``6.52 ± 0.41``: the value and half the width of its interval, to the same decimals."""
    if value is None or ends is None:
        return number(value)
    half = (ends[1] - ends[0]) / 2
    if half == 0:
        return f"{number(value)} ± 0"
    decimals = max(0, 1 - math.floor(math.log10(half)))  # two digits of the uncertainty
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"


def reference_word(better: str | None) -> str:
    """What a metric's reference value is called: a floor where less is better."""
    return "floor" if better == "lower" else "reference"


def bound(direction: str, threshold: Any, stated: str = "") -> str:
    """The threshold of a gate in words: "at most 0.5", and how its profile states it, if given."""
    words = f"{'at most' if direction == 'max' else 'at least'} {number(threshold)}"
    return f"{words} ({stated})" if stated else words


def setting(value: Any) -> str:
    """The value of a setting as YAML takes it: ``0.004``, ``true``; ``none`` if there is none."""
    if value is None:
        return "none"
    return value if isinstance(value, str) and value else json.dumps(value)


def sentence(words: str) -> str:
    """The words with a capital at the beginning and a full stop at the end."""
    stop = "." if words and words[-1] not in ".!?" else ""
    return words[:1].upper() + words[1:] + stop
