"""Probable causes of a moved distribution, as questions.

Contract: ``explain`` returns "" or a clause such as "are the images inverted?". Hints are guesses
from the means alone and never decide whether a check passes.
"""

from collections.abc import Mapping

_PIXELS = 0.5  # a smaller shift of the mean gets no hint
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
    if name in ("center_x", "center_y") and abs(change) >= _PIXELS:
        forward, back = ("right", "left") if name == "center_x" else ("down", "up")
        return (
            f"are the images shifted {forward if change > 0 else back} by {abs(change):.1f} pixels?"
        )
    larger = means[name] > _RATIO * known[name]
    smaller = _RATIO * means[name] < known[name]
    if name in ("mean_intensity", "ink_fraction", "saturation") and (larger or smaller):
        return f"have the pixel values been made {'larger' if larger else 'smaller'}?"
    if name == "stroke_width" and (larger or smaller):
        return f"are the strokes {'thicker' if larger else 'thinner'}?"
    if name in ("height", "width") and (larger or smaller):
        return "are the images cropped, resized, rotated or noisy?"
    return ""
