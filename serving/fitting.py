"""Turns a photograph, scan or drawing of one digit into an image as MNIST's.

    image = fit_digit(Image.open("photo.jpg"))

Contract: the result is white ink on black, 28 x 28, the digit scaled to 20 x 20 and placed with its
centre of mass in the middle. A picture without a digit, with several, or with nothing that stands
out clearly is refused with the reason; a doubt is an ``ImageWarning``.

The light is taken out first: ink is what a closing by a square removes, that is, what is darker
than its surroundings and narrower than the square (for light ink, an opening). Neither a slope of
light, a shadow's edge nor a table beside the paper is narrow. Straight lines from edge to edge are
taken out next, then what is left is parted into marks. All lengths are relative to the picture.
"""

import dataclasses
import itertools
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy import ndimage

from core.images import HEIGHT, WIDTH
from serving.errors import ImageWarning, ServingError
from serving.pictures import brightness, colours

_BOX = 20  # MNIST's digits fill a box of 20 x 20, centred by mass
_SIDE = 320  # pixels of the longer side of the picture that is looked at
_SQUARE = 0.25  # of the longer side: the widest stroke that is found
_SMALLEST = 0.07  # of the longer side: a digit
_EIGHT = np.ones((3, 3))  # diagonal neighbours touch
_EDGE = 9  # pixels across which an edge shows
_ALL_AROUND = 0.93  # share of a mark's rim that is an edge: what a square cut off has none
_WIDEST = 0.45  # of the longer side: the widest stroke of a digit
_CLUTTERED = 0.25  # of the surroundings: more edges than on ruled paper
_UNEVEN = 3.2  # widest part to the usual width of a stroke: 2.9 at most in 400 digits of MNIST
_FINEST = 2.0  # pixels of MNIST: the width of a fine stroke there
_GREY_FIRST = 1.5  # how much clearer a colour must be
_FAINT = 0.35  # of the strength of the first mark: what is fainter is left out
_GAP = 0.1  # of the longer side of a digit: between parts of it
_TINY = 15  # pixels: a smaller mark is a speck
# Lines of ruled paper: most rise per pixel, share of the way across that is ink, and thickness.
_TILT, _COVERED, _THICK = 0.2, 0.6, 0.015


@dataclasses.dataclass(frozen=True)
class _Relief:
    """A picture without its light."""

    height: np.ndarray  # [H, W] in [0, 1]: how much darker (or lighter) than the paper around
    noise: float  # standard deviation of the paper's height
    edges: np.ndarray  # [H, W] in [0, 1]: contrast of the picture across some pixels


@dataclasses.dataclass(frozen=True)
class _Mark:
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
class _Ink:
    """All that is darker than the paper, or all that is lighter."""

    relief: np.ndarray  # [H, W] in [0, 1]
    edges: np.ndarray  # [H, W] in [0, 1], as of the relief
    groups: np.ndarray  # [H, W] int: the number of the mark, 0 for paper
    marks: list[_Mark]  # the most noticed first

    def among_equals(self, of_side: float) -> list[_Mark]:
        """The marks that are larger than a share of the first."""
        return [mark for mark in self.marks if mark.side > of_side * self.marks[0].side]

    def holds(self, other: "_Ink") -> bool:
        """Whether the other's first mark lies within the marks of this one."""
        boxes = [mark.box for mark in self.among_equals(0.4)]
        inner = other.marks[0].box
        inside, area = 1.0, 1.0
        for axis in (0, 1):
            low, high = min(b[axis].start for b in boxes), max(b[axis].stop for b in boxes)
            inside *= max(0, min(high, inner[axis].stop) - max(low, inner[axis].start))
            area *= inner[axis].stop - inner[axis].start
        return inside > 0.8 * area


def fit_digit(image: Image.Image) -> Image.Image:
    """The digit of a picture in MNIST's form.

    Warns:
        ImageWarning: The digit was found, but may not be the one that is meant.

    Raises:
        ServingError: There is no digit, or more than one mark that could be it.
    """
    channels = _channels(_resized(colours(image)))
    found = [_ink(channels, is_dark) for is_dark in (True, False)]
    inks = [ink for ink in found if ink.marks]
    if not inks and any(ink.groups.any() for ink in found):
        raise ServingError(
            "The picture holds no strokes of a pen: what stands out has other forms."
        )
    if not inks:
        raise ServingError("The picture holds no ink: nothing in it stands out from the paper.")
    best = max(inks, key=lambda ink: ink.marks[0].weight)
    if len(inks) == 2:
        dark, light = inks
        if dark.holds(light) != light.holds(dark):
            best = dark if dark.holds(light) else light
        elif min(ink.marks[0].weight for ink in inks) > 0.4 * best.marks[0].weight:
            _warn("The picture holds dark and light ink; the clearer one is taken for the digit.")
    return _placed(_digit(best))


def _warn(words: str) -> None:
    warnings.warn(words, ImageWarning, stacklevel=4)


def _resized(picture: np.ndarray) -> np.ndarray:
    """The picture with the longer side ``_SIDE`` pixels long."""
    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if min(size) < _SIDE // 20:
        raise ServingError(f"The picture is {width} x {height} pixels: too narrow for a digit.")
    way = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC
    made = [Image.fromarray(plane).resize(size, way) for plane in np.moveaxis(picture, -1, 0)]
    return np.stack([np.clip(np.asarray(plane), 0, 1) for plane in made], -1)


def _ink(channels: list[np.ndarray], is_dark: bool) -> _Ink:
    """What is darker than the paper, or lighter."""
    found = _clearest(channels, is_dark, round(_SQUARE * _SIDE))
    least = max(4 * found.noise, 0.04)
    relief = _without_lines(found.height, least)
    labels, _ = ndimage.label(relief > least, _EIGHT)
    # The darkest part of a mark gives its threshold: stains and lines around it are fainter.
    level = np.array([np.percentile(v, 95) if len(v) else 0 for v in _by_label(relief, labels)])
    is_ink = _without_edges_and_specks(relief > np.maximum(least, 0.45 * level[labels]))
    if not is_ink.any():
        return _Ink(relief, found.edges, np.zeros_like(labels), [])
    labels, _ = ndimage.label(is_ink, _EIGHT)
    level = np.array([np.percentile(v, 75) if len(v) else 0 for v in _by_label(relief, labels)])
    sides = np.array([0, *(_side(box) for box in ndimage.find_objects(labels))])
    first = np.argmax(sides * level)
    is_ink = (level > _FAINT * level[first])[labels]
    gap = ndimage.distance_transform_edt(~is_ink) <= _GAP * sides[first] / 2
    groups = ndimage.label(gap, _EIGHT)[0] * is_ink
    values = list(_by_label(relief, groups))
    marks = []
    for i, box in enumerate(ndimage.find_objects(groups), 1):
        if box:
            mark = _Mark(i, box, float(np.percentile(values[i], 75)))
            if _is_drawn(groups[box] == i, found.edges[box] > 0.35 * mark.strength):
                marks.append(mark)
    return _Ink(relief, found.edges, groups, sorted(marks, key=lambda mark: -mark.weight))


def _is_drawn(own: np.ndarray, is_edge: np.ndarray) -> bool:
    """Whether a mark is made of strokes, with an edge all around.

    Neither a stain is, nor the paper between a digit and something else as dark, which a square
    cuts off where nothing is to be seen.
    """
    width = 2 * ndimage.distance_transform_edt(np.pad(own, 1)).max()
    rim = own & ~ndimage.binary_erosion(own)
    return width <= _WIDEST * max(own.shape) and is_edge[rim].mean() > _ALL_AROUND


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
        f(smooth, _EDGE) + dark for f in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    return _Relief(np.clip(relief - middle, 0, 1), max(float(noise), 0.01), 1 - lowest / highest)


def _without_lines(relief: np.ndarray, least: float) -> np.ndarray:
    """Takes out the lines of ruled paper: thin, straight, from edge to edge."""
    for axis in (0, 1):
        turned = relief if axis == 0 else relief.T
        turned = _without_rows(turned, least)
        relief = turned if axis == 0 else turned.T
    return relief


def _without_rows(relief: np.ndarray, least: float) -> np.ndarray:
    on_line = _on_rows(relief > least)
    if not on_line.any():
        return relief
    above, below = (_nearest(relief, on_line, way) for way in (1, -1))
    level = min(float(np.median(relief[on_line])), 0.9)
    divided = np.clip(1 - (1 - relief) / (1 - level), 0, 1)
    return np.where(on_line, np.maximum(np.minimum(above, below), divided), relief)


def _on_rows(is_ink: np.ndarray) -> np.ndarray:
    """Where nearly level lines run from edge to edge; sought at half the resolution."""
    height, width = (side // 2 for side in is_ink.shape)
    small = is_ink[: 2 * height, : 2 * width].reshape(height, 2, width, 2).any((1, 3))
    reach = int(_TILT * width / 2) + 2
    padded = np.pad(small, ((reach, reach), (0, 0)))
    rows, x = np.arange(len(padded) - 2 * reach)[:, None] + reach, np.arange(width)
    found = np.zeros_like(padded)
    for tilt in np.linspace(-_TILT, _TILT, max(3, round(_TILT * width))):
        on_line = rows + np.rint((x - width / 2) * tilt).astype(int)
        covered = padded[on_line, x].mean(1) > _COVERED
        for start, end in zip(*_runs(covered), strict=True):
            if end - start <= _THICK * _SIDE:
                found[on_line[start:end], x] = True
    large = found[reach:-reach].repeat(2, 0).repeat(2, 1)
    large = np.pad(large, [(0, a - b) for a, b in zip(is_ink.shape, large.shape, strict=True)])
    return ndimage.binary_dilation(large, np.ones((3, 1)))


def _runs(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = np.diff(np.concatenate([[0], flags.astype(int), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _nearest(values: np.ndarray, hidden: np.ndarray, way: int) -> np.ndarray:
    """Each hidden pixel as the next one that is not, up (1) or down (-1) its column."""
    rows = np.arange(len(values))[:, None]
    if way == 1:
        index = np.maximum.accumulate(np.where(hidden, -1, rows), axis=0)
        index = np.where(index < 0, rows, index)
    else:
        index = np.minimum.accumulate(np.where(hidden, len(values), rows)[::-1], axis=0)[::-1]
        index = np.where(index == len(values), rows, index)
    return np.take_along_axis(values, index, axis=0)


def _digit(ink: _Ink) -> np.ndarray:
    """[h, w] in [0, 1]: the one mark that could be a digit, cut out."""
    mark = ink.marks[0]
    if mark.side < _SMALLEST * _SIDE:
        raise ServingError("The picture holds specks only: nothing in it has a digit's size.")
    if (count := len(ink.among_equals(0.5))) > 1:
        raise ServingError(
            f"The picture holds {count} marks of a digit's size; cut out the one that is meant."
        )
    own = ink.groups == mark.number
    _check_shape(own[mark.box])
    if len(ink.among_equals(0.25)) > 1:
        _warn("The picture holds other marks besides the digit; they are left out.")
    if any(s.start < 2 or s.stop > n - 2 for s, n in zip(mark.box, own.shape, strict=True)):
        _warn("The digit reaches the edge of the picture; it may be cut off.")
    if _clutter(ink, mark) > _CLUTTERED:
        _warn("The surroundings of the digit are not plain; perhaps something else was taken.")
    depth = ndimage.distance_transform_edt(np.pad(own[mark.box], 1))
    if depth.max() > _UNEVEN * np.median(_ridge(depth)):
        _warn("The mark is of uneven width, as no digit is that a pen writes.")
    grown = _grown(mark.box, 2)
    whole = ndimage.binary_dilation(own, iterations=2)
    return _thick_enough((np.clip((ink.relief / mark.strength - 0.2) / 0.6, 0, 1) * whole)[grown])


def _grown(box: tuple[slice, ...], by: int) -> tuple[slice, ...]:
    return tuple(slice(max(0, s.start - by), s.stop + by) for s in box)


def _clutter(ink: _Ink, mark: _Mark) -> float:
    """Share of the surroundings of the mark that is edges of something else."""
    around = _grown(mark.box, round(0.3 * mark.side))
    others = ~ndimage.binary_dilation(ink.groups[around] == mark.number, iterations=_EDGE)
    return float((ink.edges[around][others] > 0.35 * mark.strength).mean()) if others.any() else 0.0


def _ridge(depth: np.ndarray) -> np.ndarray:
    """Half the width of a mark along the middle of its strokes; ``depth`` is to the paper."""
    ridge = depth[(depth > 1) & (depth == ndimage.maximum_filter(depth, 3))]
    return ridge if len(ridge) else depth[depth == depth.max()]


def _thick_enough(ink: np.ndarray) -> np.ndarray:
    """A fine pen's strokes as wide as the finest of MNIST, which else fade in its 20 pixels."""
    depth = ndimage.distance_transform_edt(ink > 0.5)
    missing = _FINEST / _BOX * max(ink.shape) - (2 * np.median(_ridge(depth)) - 1)
    if missing < 1:
        return ink
    reach = int(np.ceil(missing / 2))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(y, x) <= missing / 2 + 0.25
    return ndimage.grey_dilation(np.pad(ink, reach), footprint=disc)


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


def _check_shape(own: np.ndarray) -> None:
    height, across = own.shape
    if across > 1.7 * height:
        raise ServingError("The mark in the picture is too wide for one digit.")
    holes, _ = ndimage.label(~np.pad(own, 1))
    if (np.bincount(holes.ravel())[2:] > 0.004 * own.size).sum() > 3:  # 0 is ink, 1 the outside
        raise ServingError("The mark in the picture is more intricate than a digit.")


def _placed(ink: np.ndarray) -> Image.Image:
    """The ink [h, w] in [0, 1] in MNIST's frame."""
    rows, columns = np.flatnonzero((ink > 0.3).any(1)), np.flatnonzero((ink > 0.3).any(0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _BOX / max(cut.shape)
    size = [max(1, round(side * scale)) for side in cut.shape]
    small = Image.fromarray(np.rint(cut * 255).astype("uint8")).resize(
        (size[1], size[0]), Image.Resampling.BOX if scale < 0.5 else Image.Resampling.LANCZOS
    )
    mass = np.asarray(small, "float32")
    centre_y, centre_x = ndimage.center_of_mass(mass)
    top = int(np.clip(round((HEIGHT - 1) / 2 - centre_y), 0, HEIGHT - size[0]))
    left = int(np.clip(round((WIDTH - 1) / 2 - centre_x), 0, WIDTH - size[1]))
    canvas = Image.new("L", (WIDTH, HEIGHT))
    canvas.paste(small, (left, top))
    return canvas
