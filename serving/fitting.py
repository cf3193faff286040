"""Turns a photograph, scan or drawing of one digit into an image as MNIST's.

    image = fit_digit(Image.open("photo.jpg"))

Contract: the result is white ink on black, 28 x 28, the digit scaled to 20 x 20 and placed with its
centre of mass in the middle. A picture without a digit, with several, or with nothing that stands
out clearly is refused with the reason; a doubt is an ``ImageWarning``.
"""

import warnings

import numpy as np
from PIL import Image
from scipy import ndimage

from core.images import HEIGHT, WIDTH
from serving.errors import ImageWarning, ServingError
from serving.ink import EDGE, SIDE, Ink, Mark, depths, find_inks
from serving.pictures import colours

_BOX = 20  # MNIST's digits fill a box of 20 x 20, centred by mass
_SMALLEST = 0.07  # of the longer side of the picture: a digit
_SLIGHT = 0.4  # of the weight of what is no digit: what is noticed less is none either
_CLUTTERED = 0.25  # of the surroundings: more edges than on ruled paper
_UNEVEN = 3.2  # widest part to the usual width of a stroke: 2.9 at most in 400 digits of MNIST
_FINEST = 2.0  # pixels of MNIST: the width of a fine stroke there


def fit_digit(image: Image.Image) -> Image.Image:
    """The digit of a picture in MNIST's form.

    Warns:
        ImageWarning: The digit was found, but may not be the one that is meant.

    Raises:
        ServingError: There is no digit, or more than one mark that could be it.
    """
    found = find_inks(colours(image))
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
    if best.marks[0].weight < _SLIGHT * max(ink.left_out for ink in found):
        raise ServingError(
            "The picture holds no clear strokes of a pen: what stands out most has other forms."
        )
    return _placed(_digit(best))


def _warn(words: str) -> None:
    warnings.warn(words, ImageWarning, stacklevel=4)


def _digit(ink: Ink) -> np.ndarray:
    """[h, w] in [0, 1]: the one mark that could be a digit, cut out."""
    mark = ink.marks[0]
    if mark.side < _SMALLEST * SIDE:
        raise ServingError("The picture holds specks only: nothing in it has a digit's size.")
    if (count := len(ink.among_equals(0.5))) > 1:
        raise ServingError(
            f"The picture holds {count} marks of a digit's size; cut out the one that is meant."
        )
    own = ink.groups == mark.number
    _check_shape(own[mark.box])
    if ink.left_out > mark.weight or len(ink.among_equals(0.25)) > 1:
        _warn("The picture holds other marks besides the digit; they are left out.")
    if any(s.start < 2 or s.stop > n - 2 for s, n in zip(mark.box, own.shape, strict=True)):
        _warn("The digit reaches the edge of the picture; it may be cut off.")
    if _clutter(ink, mark) > _CLUTTERED:
        _warn("The surroundings of the digit are not plain; perhaps something else was taken.")
    depth = depths(np.pad(own[mark.box], 1))
    if depth.max() > _UNEVEN * np.median(_ridge(depth)):
        _warn("The mark is of uneven width, as no digit is that a pen writes.")
    grown = _grown(mark.box, 2)
    whole = ndimage.binary_dilation(own, iterations=2)
    return _thick_enough((np.clip((ink.cover(mark) - 0.2) / 0.6, 0, 1) * whole)[grown])


def _grown(box: tuple[slice, ...], by: int) -> tuple[slice, ...]:
    return tuple(slice(max(0, s.start - by), s.stop + by) for s in box)


def _clutter(ink: Ink, mark: Mark) -> float:
    """Share of the surroundings of the mark that is edges of something else."""
    around = _grown(mark.box, round(0.3 * mark.side))
    others = ~ndimage.binary_dilation(ink.groups[around] == mark.number, iterations=EDGE)
    return float((ink.edges[around][others] > 0.35 * mark.strength).mean()) if others.any() else 0.0


def _ridge(depth: np.ndarray) -> np.ndarray:
    """Half the width of a mark along the middle of its strokes; ``depth`` is to the paper."""
    ridge = depth[(depth > 1) & (depth == ndimage.maximum_filter(depth, 3))]
    return ridge if len(ridge) else depth[depth == depth.max()]


def _thick_enough(ink: np.ndarray) -> np.ndarray:
    """A fine pen's strokes as wide as the finest of MNIST, which else fade in its 20 pixels."""
    depth = depths(ink > 0.5)
    missing = _FINEST / _BOX * max(ink.shape) - (2 * np.median(_ridge(depth)) - 1)
    if missing < 1:
        return ink
    reach = int(np.ceil(missing / 2))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(y, x) <= missing / 2 + 0.25
    return ndimage.grey_dilation(np.pad(ink, reach), footprint=disc)


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
    centre_y, centre_x = (
        float((mass.sum(1 - axis) * np.arange(size[axis])).sum() / mass.sum()) for axis in (0, 1)
    )
    # In MNIST, the centre of mass lies within half a pixel of row and column 14, counted from 0.
    top = int(np.clip(round(HEIGHT / 2 - centre_y), 0, HEIGHT - size[0]))
    left = int(np.clip(round(WIDTH / 2 - centre_x), 0, WIDTH - size[1]))
    canvas = Image.new("L", (WIDTH, HEIGHT))
    canvas.paste(small, (left, top))
    return canvas
