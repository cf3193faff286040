"""Line and bar charts as inline SVG: sharp on any screen, a few kilobytes, no library, no script.

Contract: pure functions from numbers to an SVG string that is safe to embed. Colours are CSS
classes of the page (``c0`` to ``c5``), so light and dark themes need no second image. Every axis
says what it shows and in which unit. Values that are missing or not finite leave a gap.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 32, 44
_MAX_POINTS = 240  # per line: more are not visible at this width
_STRIP, _FAR = 160.0, 30.0  # width of a gate's strip; multiple beyond which a value is not drawn
_COLOURS = 6
_LOG_FROM = 50.0  # a range this many times its smallest value is drawn on a logarithmic axis

Number = float | int | None


def line_chart(
    series: Mapping[str, tuple[Sequence[Number], Sequence[Number]]],
    x_title: str,
    y_title: str,
    title: str,
) -> str:
    """Draws one line per entry of ``series``; an empty string if nothing can be drawn.

    Args:
        series: Name to positions (ascending) and as many values; None, NaN and infinities leave
            a gap.
        x_title: Title of the x axis, with the unit.
        y_title: Title of the y axis, with the unit.
        title: What the chart shows, for readers who cannot see it.
    """
    lines = {
        name: _thin(
            [
                (float(a), float(b)) if _is_finite(a) and _is_finite(b) else None
                for a, b in zip(x, values, strict=True)
            ]
        )
        for name, (x, values) in series.items()
    }
    points = [point for line in lines.values() for point in line if point]
    if not points:
        return ""
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    logarithmic = low > 0 and high / low > _LOG_FROM
    ticks = _log_ticks(low, high) if logarithmic else _ticks(low, high)
    low, high = min([low, *ticks]), max([high, *ticks])
    every_x = [float(a) for x, _ in series.values() for a in x if _is_finite(a)]
    to_x = _scale(min(every_x), max(every_x), _LEFT, _WIDTH - _RIGHT)
    to_y = _scale(low, high, _HEIGHT - _BOTTOM, _TOP, logarithmic)
    scale = ", logarithmic" if logarithmic else ""
    parts = [_frame(title), _text(0, 14, y_title + scale, "start")]
    parts += _y_ticks(ticks, to_y)
    parts += [_x_tick(tick, to_x(tick)) for tick in _ends(every_x)]
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_title, "middle"))
    for i, line in enumerate(lines.values()):
        parts.append(f'<path class="line c{i % _COLOURS}" d="{_path(line, to_x, to_y)}"/>')
        if len(line) == 1 and line[0]:  # a path of one point is not visible
            x, y = to_x(line[0][0]), to_y(line[0][1])
            parts.append(f'<circle class="bar c{i % _COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    return "".join(parts) + "</svg>" + _legend(list(lines))


def bar_chart(
    labels: Sequence[str],
    groups: Mapping[str, Sequence[Number]],
    x_title: str,
    y_title: str,
    title: str,
) -> str:
    """Draws one bar per label and group, from zero; an empty string if there is nothing."""
    values = [float(v) for group in groups.values() for v in group if _is_finite(v)]
    if not labels or not values:
        return ""
    ticks = [tick for tick in _ticks(0.0, max(values)) if tick >= 0]
    to_y = _scale(0.0, max([*values, *ticks]) or 1.0, _HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(title), _text(0, 14, y_title, "start")]
    parts += _y_ticks(ticks, to_y)
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_title, "middle"))
    slot = (_WIDTH - _LEFT - _RIGHT) / len(labels)
    width = slot * 0.8 / len(groups)
    for i, label in enumerate(labels):
        left = _LEFT + slot * (i + 0.1)
        for j, group in enumerate(groups.values()):
            if i < len(group) and _is_finite(group[i]):
                top = to_y(max(float(group[i]), 0.0))
                parts.append(
                    f'<rect class="bar c{j % _COLOURS}" x="{left + j * width:.1f}" y="{top:.1f}" '
                    f'width="{max(width - 1, 1):.1f}" height="{_HEIGHT - _BOTTOM - top:.1f}"/>'
                )
        parts.append(_text(left + slot * 0.4, _HEIGHT - _BOTTOM + 16, label, "middle"))
    return "".join(parts) + "</svg>" + _legend(list(groups), "bar")


def gate_strip(
    value: Number,
    interval: Sequence[Number] | None,
    threshold: float,
    direction: str,
    champion: Number = None,
    limit: Number = None,
    title: str = "",
) -> str:
    """Draws a metric on one line; the shaded range passes the gate.

    A dot is the value, a bar its interval, the tall line the threshold, the dashed line the limit
    set by the champion, the open diamond the champion. Empty if there is no value, or if the
    threshold is so far away that all else would coincide.
    """
    near = [v for v in (value, *(interval or ()), champion, limit) if _is_finite(v)]
    if not _is_finite(value) or not _is_finite(threshold):
        return ""
    low, high = min([*near, threshold]), max([*near, threshold])
    if threshold and abs(threshold - value) > _FAR * max(abs(value), max(near) - min(near)):
        return ""
    pad = 0.12 * ((high - low) or abs(high) or 1.0)
    to_x = _scale(low - pad, high + pad, 0.0, _STRIP)
    edge = to_x(threshold)
    left, right = (0.0, edge) if direction == "max" else (edge, _STRIP)
    parts = [
        f'<svg class="strip" viewBox="0 0 {_STRIP:.0f} 24" role="img" '
        f'aria-label="{escape(title, quote=True)}">',
        f'<rect class="pass" x="{left:.1f}" y="4" width="{right - left:.1f}" height="16"/>',
        f'<path class="axis" d="M0 12H{_STRIP:.0f}"/>',
        f'<path class="threshold" d="M{edge:.1f} 1V23"/>',
    ]
    if _is_finite(limit):
        parts.append(f'<path class="limit" d="M{to_x(limit):.1f} 3V21"/>')
    if interval and all(map(_is_finite, interval)):
        parts.append(
            f'<path class="spread" d="M{to_x(interval[0]):.1f} 12H{to_x(interval[1]):.1f}"/>'
        )
    if _is_finite(champion):
        x = to_x(champion)
        parts.append(f'<path class="rival" d="M{x:.1f} 6l5 6l-5 6l-5 -6z"/>')
    parts.append(f'<circle class="value" cx="{to_x(value):.1f}" cy="12" r="4"/>')
    return "".join(parts) + "</svg>"


def _is_finite(value: Number) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _scale(low: float, high: float, start: float, end: float, logarithmic: bool = False):
    """Maps low to start and high to end."""
    bend = math.log if logarithmic else float
    span = (bend(high) - bend(low)) or 1.0
    return lambda value: start + (bend(value) - bend(low)) / span * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers that cover the range."""
    if high == low:
        high, low = high + (abs(high) or 1.0) * 0.5, low - (abs(low) or 1.0) * 0.5
    raw = (high - low) / 4
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, (last - first) // 5)
    return [10.0**i for i in range(first, last + 1, stride)]


def _ends(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    if high - low < 4:
        return [low] if low == high else [low, high]
    return [low, round((low + high) / 2), high]


def _thin(line: list[tuple[float, float] | None]) -> list[tuple[float, float] | None]:
    """Means of neighbouring points if there are more than are visible."""
    stride = math.ceil(len(line) / _MAX_POINTS)
    if stride <= 1:
        return line
    blocks = [[p for p in line[i : i + stride] if p] for i in range(0, len(line), stride)]
    return [
        (sum(p[0] for p in block) / len(block), sum(p[1] for p in block) / len(block))
        if block
        else None
        for block in blocks
    ]


def _path(line: list, to_x, to_y) -> str:
    steps, pen_is_up = [], True
    for point in line:
        if point is None:
            pen_is_up = True
            continue
        steps.append(f"{'M' if pen_is_up else 'L'}{to_x(point[0]):.1f} {to_y(point[1]):.1f}")
        pen_is_up = False
    return "".join(steps)


def _frame(title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title, quote=True)}">'
    )


def _y_ticks(values: list[float], to_y) -> list[str]:
    """A line and a number each, with as many digits as tell them apart."""
    words: list[str] = []
    for digits in range(3, 9):
        words = [_short(value, digits) for value in values]
        if len(set(words)) == len(words):
            break
    return [
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        + _text(_LEFT - 6, y + 4, word, "end")
        for y, word in zip(map(to_y, values), words, strict=True)
    ]


def _x_tick(value: float, x: float) -> str:
    anchor = "start" if x <= _LEFT else "end" if x >= _WIDTH - _RIGHT else "middle"
    return _text(x, _HEIGHT - _BOTTOM + 16, _short(value), anchor)


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _short(value: float, digits: int = 3) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:.{digits + 1}g}k"
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def _legend(names: list[str], kind: str = "line") -> str:
    items = "".join(
        f'<span><span class="swatch {kind} c{i % _COLOURS}"></span>{escape(name)}</span>'
        for i, name in enumerate(names)
    )
    return f'<div class="legend">{items}</div>'
