"""Kinds of pictures that show no single digit: whatever is accepted in silence is wrong."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks.photograph_scenes import (
    WHITE,
    Scene,
    as_picture,
    noisy,
    put,
    rule,
    scene,
    shadow,
    slope,
    smooth,
    text_page,
    through_file,
    vignette,
)


def _several(digit: np.ndarray, seed: int) -> Image.Image:
    """Two or three digits side by side, the same one turned a little."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 4))
    side = int(rng.integers(180, 240))
    s = Scene(
        rng,
        np.tile(WHITE, (side + 120, count * side + 60, 1)),
        np.zeros((side + 120, count * side + 60)),
    )
    for i in range(count):
        put(s.ink, digit, rng, None, 8, (int(rng.integers(20, 90)), 20 + i * side, side))
    return as_picture(noisy(s, s.seen(light=slope(s, 0.8)), 0.01))


def _page(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed)
    s.ink[:] = 0
    text_page(s, int(s.rng.integers(5, 12)), digit)
    return as_picture(noisy(s, s.seen(light=slope(s, 0.8)), 0.01))


def _blank(digit: np.ndarray, seed: int) -> Image.Image:
    """Paper under some light, ruled every other time, with noise."""
    s = scene(digit, seed)
    s.ink[:] = 0
    if seed % 2:
        rule(s, (0.6, 0.7, 0.85), seed % 4 == 1, s.rng.uniform(38, 60))
    light = shadow(s, 0.6, 10) if seed % 3 == 0 else vignette(s, 0.5)
    return through_file(as_picture(noisy(s, s.seen(light=light), 0.02)), "JPEG", quality=80)


def _scenery(digit: np.ndarray, seed: int) -> Image.Image:
    """Clouds of colour of all sizes, as in a picture of anything else."""
    s = scene(digit, seed)
    layers = [[smooth(s, size) for size in (150, 60, 25, 10, 4)] for _ in range(3)]
    weights = np.array([1, 0.8, 0.5, 0.3, 0.2])
    seen = np.stack([sum(w * v for w, v in zip(weights, c, strict=True)) for c in layers], -1)
    return through_file(as_picture(seen / weights.sum()), "JPEG", quality=85)


def _one_above_the_other(digit: np.ndarray, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    s = Scene(rng, np.tile(WHITE, (460, 300, 1)), np.zeros((460, 300)))
    for top, left in ((10, 40), (240, 60)):
        put(s.ink, digit, rng, None, 5, (top, left, 200))
    return as_picture(s.seen())


NO_DIGIT: dict[str, Callable[[np.ndarray, int], Image.Image]] = {
    "several digits": _several,
    "one above the other": _one_above_the_other,
    "page of digits": _page,
    "blank": _blank,
    "scenery": _scenery,
}
