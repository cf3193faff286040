"""Probable causes of a moved distribution, as questions.

Contract: ``explain`` returns "" or a clause such as "are the images inverted?". Hints are guesses
from the means alone and never decide whether a check passes.
"""

from collections.abc import Mapping

from core.images import WIDTH

_PIXELS = 0.5  # a smaller shift of the mean gets no hint
_LIKE = 0.06  # two means are the same if they differ by no more than this share
_LAST = WIDTH - 1  # column or row
_RATIO = 1.1  # neither does a change by less than a tenth


def explain(name: str, means: Mapping[str, float], known: Mapping[str, float]) -> str:
    """Guesses why the feature ``name`` moved.

    Args:
        name: One of ``scalars.NAMES``.
        means: Mean of each scalar now.
        known: Mean of each scalar in the data compared with.
    """
    intensity, was = means["mean_intensity"], known["mean_intensity"]
    # A fault of brightness moves every other scalar too; only the brightness gets the hint.
    if intensity == 0:
        return "is every image blank?" if name == "mean_intensity" else ""
    if abs(intensity - (1 - was)) < abs(intensity - was):
        return "are the images inverted?" if name == "mean_intensity" else ""
    change = means[name] - known[name]
    if name in ("height", "width") and _is_transposed(means, known):
        return "are the images transposed, their rows and columns swapped?"
    if name in ("center_x", "center_y") and abs(change) >= _PIXELS:
        forward, back = ("right", "left") if name == "center_x" else ("down", "up")
        moved = f"shifted {forward if change > 0 else back} by {abs(change):.1f} pixels"
        is_mirror = abs(means[name] - (_LAST - known[name])) < _PIXELS / 5
        return f"are the images {moved}{', mirrored or turned by 180 degrees' * is_mirror}?"
    larger = means[name] > _RATIO * known[name]
    smaller = _RATIO * means[name] < known[name]
    if name in ("mean_intensity", "ink_fraction", "saturation") and (larger or smaller):
        return f"have the pixel values been made {'larger' if larger else 'smaller'}?"
    if name == "stroke_width" and (larger or smaller):
        return f"are the strokes {'thicker' if larger else 'thinner'}?"
    if name in ("height", "width") and (larger or smaller):
        return "are the images cropped, resized, rotated or noisy?"
    return ""


def _is_transposed(means: Mapping[str, float], known: Mapping[str, float]) -> bool:
    """Whether height and width, which differed, have changed places."""
    high, wide = known["height"], known["width"]
    return (
        abs(high - wide) > 2 * _LIKE * high
        and abs(means["height"] - wide) <= _LIKE * wide
        and abs(means["width"] - high) <= _LIKE * high
    )
