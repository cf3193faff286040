"""Takes the lines of ruled and squared paper out of a relief of ink.

Contract: lines are thin, straight, nearly level or upright, and run from edge to edge. Where one
crosses ink, the ink stays: it is darker than the line, or goes on above and below it.
"""

import numpy as np
from scipy import ndimage

# Most rise per pixel, share of the way across that is ink, and thickness relative to the width.
_TILT, _COVERED, _THICK = 0.2, 0.6, 0.015


def without_lines(relief: np.ndarray, least: float) -> np.ndarray:
    """The relief [H, W] in [0, 1] without lines; what is above ``least`` is ink or a line."""
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
            if end - start <= _THICK * max(is_ink.shape):
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
