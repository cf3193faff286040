"""Places boxes and arrows from left to right, and draws them as SVG.

Contract: pure. A box stands one column to the right of the last box that leads to it; an arrow over
several columns goes through free places between their boxes. An arrow is left out where others
lead the same way.
"""

import dataclasses
import html
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_HEIGHT, _LETTER = 62, 8.4  # of a box, and the width of a letter of its title
_ACROSS, _DOWN = 34, 22  # between boxes
_LANE = 10  # height of a place for an arrow that goes by
_SWEEPS = 8  # over the columns, to sort each by the places of its neighbours
_INSET, _MARGIN = 10, 4  # around the text of a box, and around all


@dataclasses.dataclass(frozen=True)
class Box:
    """One box: its lines of text, the title first, and where it leads, if anywhere."""

    lines: Sequence[str]
    link: str = ""
    kind: str = ""  # a class of the style sheet


class _Place(NamedTuple):
    """Of a box, or of an arrow that goes by."""

    left: float
    right: float
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def draw(
    boxes: Mapping[str, Box], arrows: Iterable[tuple[str, str]], title: str, words: str, style: str
) -> str:
    """The graph as an SVG element.

    Args:
        boxes: By name.
        arrows: From the first name to the second; there is no circle.
        title: Of the drawing, for who cannot see it.
        words: What it shows, for the same.
        style: CSS that goes into it; empty where the page has it.
    """
    before = _reduced(boxes, arrows)
    columns, routes = _columns(before)
    places = _places(columns, boxes, routes)
    width = max(place.right for place in places.values()) + 2 * _MARGIN
    height = max(place.bottom for place in places.values()) + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" '
        f'viewBox="{-_MARGIN} {-_MARGIN} {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" '
        'role="group" aria-labelledby="graph-title" aria-describedby="graph-words">',
        f'<title id="graph-title">{html.escape(title)}</title>',
        f'<desc id="graph-words">{html.escape(words)}</desc>',
        f"<style>{style}</style>" if style else "",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
        *(_arrow([places[name] for name in route]) for route in routes),
        *(_box(box, places[name]) for name, box in boxes.items()),
        "</svg>",
    ]
    return "".join(parts)


def _reduced(boxes: Iterable[str], arrows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """What leads to each box, without what another of those comes from as well."""
    before: dict[str, list[str]] = {name: [] for name in boxes}
    for first, second in dict.fromkeys(arrows):
        if first in before and second in before and first != second:
            before[second].append(first)

    def all_before(name: str) -> set[str]:
        found, waiting = set(), [*before[name]]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting.extend(before[one])
        return found

    behind = {name: all_before(name) for name in before}
    return {
        name: [one for one in found if not any(one in behind[other] for other in found)]
        for name, found in before.items()
    }


def _columns(before: Mapping[str, Sequence[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """The names in each column, with a name for every place where an arrow goes by, and the names
    along each arrow.
    """
    number: dict[str, int] = {}

    def column(name: str) -> int:
        if name not in number:
            number[name] = max((column(one) + 1 for one in before[name]), default=0)
        return number[name]

    for name in before:
        column(name)
    # A box that nothing leads to stands next to where it leads.
    for name in before:
        after = [number[other] for other, found in before.items() if name in found]
        if not before[name] and after:
            number[name] = min(after) - 1
    columns: list[list[str]] = [[] for _ in range(max(number.values()) + 1)]
    for name, place in number.items():
        columns[place].append(name)
    routes = []
    for name, found in before.items():
        for one in found:
            between = range(number[one] + 1, number[name])
            route = [one, *(f"{one} > {name} {place}" for place in between), name]
            for place, lane in zip(between, route[1:-1], strict=True):
                columns[place].append(lane)
            routes.append(route)
    return columns, routes


def _places(
    columns: Sequence[list[str]], boxes: Mapping[str, Box], routes: Sequence[Sequence[str]]
) -> dict[str, _Place]:
    """Where every box and every place of an arrow is; sorts the columns."""
    near: dict[str, list[str]] = {name: [] for column in columns for name in column}
    for route in routes:
        for first, second in itertools.pairwise(route):
            near[first].append(second)
            near[second].append(first)
    height = {name: _HEIGHT if name in boxes else _LANE for name in near}
    middle = {name: float(i) for column in columns for i, name in enumerate(column)}
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = {
                name: sum(middle[one] for one in near[name]) / max(1, len(near[name]))
                for name in column
            }
            column.sort(key=wanted.__getitem__)
            whole = sum(height[name] for name in column) + _DOWN * (len(column) - 1)
            top = sum(wanted.values()) / len(column) - whole / 2
            for name in column:
                middle[name] = top + height[name] / 2
                top += height[name] + _DOWN
    highest = min(middle[name] - height[name] / 2 for name in middle)
    places, left = {}, 0.0
    for column in columns:
        longest = max(len(line) for name in column if name in boxes for line in boxes[name].lines)
        right = left + longest * _LETTER + 2 * _INSET
        for name in column:
            top = middle[name] - height[name] / 2 - highest
            places[name] = _Place(left, right, top, top + height[name])
        left = right + _ACROSS
    return places


def _arrow(places: Sequence[_Place]) -> str:
    """A curve from the first place to the last, level across those between."""
    first, *rest = places
    x, y = first.right, first.middle
    path = f"M{x:.1f} {y:.1f}"
    for place in rest:
        half, middle = (x + place.left) / 2, place.middle
        path += f"C{half:.1f} {y:.1f} {half:.1f} {middle:.1f} {place.left:.1f} {middle:.1f}"
        x, y = place.right, middle
        if place is not rest[-1]:
            path += f"H{x:.1f}"
    return f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>'


def _box(box: Box, place: _Place) -> str:
    lines = "".join(
        f'<text x="{place.left + _INSET:.1f}" y="{place.top + 20 + 16 * i:.1f}" '
        f'class="{"small" if i else "name"}">{html.escape(line)}</text>'
        for i, line in enumerate(box.lines)
    )
    shape = (
        f'<rect x="{place.left:.1f}" y="{place.top:.1f}" width="{place.right - place.left:.1f}" '
        f'height="{_HEIGHT}" rx="8"/>'
    )
    drawn = f'<g class="box {box.kind}">{shape}{lines}</g>'
    return f'<a href="{html.escape(box.link)}">{drawn}</a>' if box.link else drawn
