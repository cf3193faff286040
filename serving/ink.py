"""Finds ink in a picture: takes the light out, then printed lines, then parts ink into marks.

Contract: ink is what a closing by a square removes, that is, what is darker than its surroundings
and narrower than the square (for light ink, an opening). Neither a slope of light, a shadow's edge
nor a table beside the paper is narrow. A mark has strokes, and an edge all around. All lengths are
relative to the picture, whose longer side becomes ``SIDE`` pixels.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy import ndimage

from serving.errors import ServingError
from serving.pictures import brightness
from serving.ruled import without_lines

SIDE = 320  # pixels of the longer side of the picture that is looked at
EDGE = 9  # pixels across which an edge shows
_SQUARE = 0.25  # of the longer side: the widest stroke that is found
_CLOSE, _LEAST = 2.2, 21  # a square that fits: of the widest stroke, and pixels at least
_EIGHT = np.ones((3, 3))  # diagonal neighbours touch
_ALL_AROUND = 0.93  # share of a mark's rim that is an edge: what a square cut off has none
_WIDEST = 0.45  # of the longer side of a mark: its widest stroke
_GREY_FIRST = 1.5  # how much clearer a colour must be
_FAINT = 0.35  # of the strength of the first mark: what is fainter is left out
_GAP = 0.1  # of the longer side of a digit: between parts of it
_BAR, _BAR_GAP = 0.25, 0.2  # of it: a detached bar at least, and how far away at most
_TINY = 15  # pixels: a smaller mark is a speck


@dataclasses.dataclass(frozen=True)
class _Relief:
    """A picture without its light."""

    height: np.ndarray  # [H, W] in [0, 1]: how much darker (or lighter) than the paper around
    noise: float  # standard deviation of the paper's height
    edges: np.ndarray  # [H, W] in [0, 1]: contrast of the picture across some pixels


@dataclasses.dataclass(frozen=True)
class Mark:
    """Connected ink, or strokes close to each other."""

    number: int  # in the ink's groups
    box: tuple[slice, slice]
    strength: float  # how much darker (or lighter) than the paper it is, in [0, 1]

    @property
    def side(self) -> int:
        """The longer side of its box, in pixels."""
        return _side(self.box)

    @property
    def weight(self) -> float:
        """How much it is noticed."""
        return self.side * self.strength


@dataclasses.dataclass(frozen=True)
class Ink:
    """All that is darker than the paper, or all that is lighter."""

    is_dark: bool
    relief: np.ndarray  # [H, W] in [0, 1]
    edges: np.ndarray  # [H, W] in [0, 1], as of the relief
    groups: np.ndarray  # [H, W] int: the number of the mark, 0 for paper
    marks: list[Mark]  # the most noticed first
    left_out: float  # the weight of the most noticed that is not drawn with a pen
    width: float  # of the widest stroke of the most noticed, in pixels

    def cover(self, mark: Mark) -> np.ndarray:
        """[H, W], about 1 in the mark and 0 on the paper: the share of ink in each pixel."""
        if self.is_dark:
            return self.relief / mark.strength
        # The relief of light ink is relative to the ink, not to the paper.
        return self.relief / (1 - self.relief) * ((1 - mark.strength) / mark.strength)

    def among_equals(self, of_side: float) -> list[Mark]:
        """The marks that are larger than a share of the first."""
        return [mark for mark in self.marks if mark.side > of_side * self.marks[0].side]

    def holds(self, other: "Ink") -> bool:
        """Whether the other's first mark lies within the marks of this one."""
        boxes = [mark.box for mark in self.among_equals(0.4)]
        inner = other.marks[0].box
        inside, area = 1.0, 1.0
        for axis in (0, 1):
            low, high = min(b[axis].start for b in boxes), max(b[axis].stop for b in boxes)
            inside *= max(0, min(high, inner[axis].stop) - max(low, inner[axis].start))
            area *= inner[axis].stop - inner[axis].start
        return inside > 0.8 * area


def find_inks(picture: np.ndarray) -> list[Ink]:
    """The dark ink and the light ink of a picture [H, W, C] in [0, 1].

    Raises:
        ServingError: The picture is a strip.
    """
    channels = _channels(_resized(picture))
    inks = []
    for is_dark in (True, False):
        ink = _ink(channels, is_dark, square := round(_SQUARE * SIDE))
        # The closer the square fits the strokes, the less remains at the corners of a shadow.
        closer = max(round(_CLOSE * ink.width), _LEAST)
        inks.append(_ink(channels, is_dark, closer) if ink.width and closer < square else ink)
    return inks


def _ink(channels: list[np.ndarray], is_dark: bool, square: int) -> Ink:
    found = _clearest(channels, is_dark, square)
    least = max(4 * found.noise, 0.04)
    relief = without_lines(found.height, least)
    labels, _ = ndimage.label(relief > least, _EIGHT)
    # The darkest part of a mark gives its threshold: stains and lines around it are fainter.
    level = np.array([np.percentile(v, 95) if len(v) else 0 for v in _by_label(relief, labels)])
    is_ink = _without_edges_and_specks(relief > np.maximum(least, 0.45 * level[labels]))
    if not is_ink.any():
        return Ink(is_dark, relief, found.edges, np.zeros_like(labels), [], 0.0, 0.0)
    labels, _ = ndimage.label(is_ink, _EIGHT)
    level = np.array([np.percentile(v, 75) if len(v) else 0 for v in _by_label(relief, labels)])
    sides = np.array([0, *(_side(box) for box in ndimage.find_objects(labels))])
    first = int(np.argmax(sides * level))
    is_ink = (level > _FAINT * level[first])[labels]
    gap = depths(~is_ink) <= _GAP * sides[first] / 2
    groups = ndimage.label(gap, _EIGHT)[0] * is_ink
    _join_bars(groups, labels, first)
    values = list(_by_label(relief, groups))
    marks, left_out = [], 0.0
    for i, box in enumerate(ndimage.find_objects(groups), 1):
        if box:
            mark = Mark(i, box, float(np.percentile(values[i], 75)))
            if _is_drawn(groups[box] == i, found.edges[box] > 0.35 * mark.strength):
                marks.append(mark)
            else:
                left_out = max(left_out, mark.weight)
    marks.sort(key=lambda mark: -mark.weight)
    width = 2 * float(depths(labels == first).max())
    return Ink(is_dark, relief, found.edges, groups, marks, left_out, width)


def _join_bars(groups: np.ndarray, labels: np.ndarray, first: int) -> None:
    """Gives the first mark its detached parts: flat ones close to it, as the bar of a 5.

    A digit beside it would be as high.
    """
    boxes = ndimage.find_objects(labels)
    height, side = boxes[first - 1][0].stop - boxes[first - 1][0].start, _side(boxes[first - 1])
    number = groups[labels == first][0]
    close = np.unique(labels[(depths(labels != first) <= _BAR_GAP * side) & (groups > 0)])
    for i in close[close > 0]:
        box = boxes[i - 1]
        if _side(box) > _BAR * side and box[0].stop - box[0].start < 0.5 * height:
            groups[labels == i] = number


def _is_drawn(own: np.ndarray, is_edge: np.ndarray) -> bool:
    """Whether a mark is made of strokes, with an edge all around.

    Neither a stain is, nor the paper between a digit and something else as dark, which a square
    cuts off where nothing is to be seen.
    """
    width = 2 * depths(np.pad(own, 1)).max()
    rim = own & ~ndimage.binary_erosion(own)
    return width <= _WIDEST * max(own.shape) and is_edge[rim].mean() > _ALL_AROUND


def _resized(picture: np.ndarray) -> np.ndarray:
    """The picture with the longer side ``SIDE`` pixels long."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if min(size) < SIDE // 20:
        raise ServingError(f"The picture is {width} x {height} pixels: too narrow for a digit.")
    way = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC
    made = [Image.fromarray(plane).resize(size, way) for plane in np.moveaxis(picture, -1, 0)]
    return np.stack([np.clip(np.asarray(plane), 0, 1) for plane in made], -1)


def _channels(picture: np.ndarray) -> list[np.ndarray]:
    """The brightness, then the colours if there are any: [H, W] in [0, 1], without specks."""
    found = [brightness(picture)]
    if picture.shape[-1] == 3:
        found += list(np.moveaxis(picture, -1, 0))
    return [ndimage.gaussian_filter(ndimage.median_filter(plane, 3), 1.0) for plane in found]


def _clearest(channels: list[np.ndarray], is_dark: bool, square: int) -> _Relief:
    """The relief of the brightness, or of the colour in which the ink is much clearer."""
    found = []
    for i, channel in enumerate(channels):
        relief = _relief(channel, is_dark, square)
        clear = np.percentile(relief.height, 99) / relief.noise
        found.append((clear * (1 if i else _GREY_FIRST), -i, relief))
    return max(found, key=lambda item: item[:2])[2]


def _relief(smooth: np.ndarray, is_dark: bool, square: int) -> _Relief:
    """How much darker (or lighter) each pixel is than the paper around."""
    if is_dark:
        paper = ndimage.grey_closing(smooth, (square, square))
        relief = 1 - (smooth + 0.02) / (paper + 0.02)
    else:
        paper = ndimage.grey_opening(smooth, (square, square))
        relief = 1 - (paper + 0.1) / (smooth + 0.1)
    low, middle = np.percentile(relief, (10, 50))
    noise = 1.48 * np.median(np.abs(relief - middle))
    if np.percentile(relief, 30) - low < noise / 6:  # a bold digit covers half of the picture
        low, middle = np.percentile(relief, (5, 20))
        noise = 2 * (middle - low)
    dark = 0.02 if is_dark else 0.1
    lowest, highest = (
        f(smooth, EDGE) + dark for f in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    return _Relief(np.clip(relief - middle, 0, 1), max(float(noise), 0.01), 1 - lowest / highest)


def depths(inside: np.ndarray) -> np.ndarray:
    """How far each pixel is from the next that is not ``inside``."""
    return np.asarray(ndimage.distance_transform_edt(inside))


def _side(box: tuple[slice, ...]) -> int:
    return max(s.stop - s.start for s in box)


def _by_label(values: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    """The values of each label, from 0 on; of 0, which is no mark, none."""
    order = np.argsort(labels, axis=None, kind="stable")
    bounds = np.cumsum(np.bincount(labels.ravel()))
    flat = values.ravel()[order]
    yield flat[:0]
    for start, end in itertools.pairwise(bounds):
        yield flat[start:end]


def _without_edges_and_specks(is_ink: np.ndarray) -> np.ndarray:
    """Without tiny marks, and without frames and wedges along the edges of the picture."""
    labels, count = ndimage.label(is_ink, _EIGHT)
    height, width = is_ink.shape
    y, x = np.indices(is_ink.shape)
    depth = np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x))
    keep = np.zeros(count + 1, bool)
    numbers = np.arange(1, count + 1)
    area = ndimage.sum_labels(is_ink, labels, numbers)
    nearest = ndimage.minimum(depth, labels, numbers)
    deepest = ndimage.maximum(depth, labels, numbers)
    keep[1:] = (area >= _TINY) & ((nearest > 1) | (deepest > 0.17 * min(height, width)))
    return keep[labels]
