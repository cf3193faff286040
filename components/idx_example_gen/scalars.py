"""Scalars per image for the data gate: brightness, ink, position, stroke and size.

TFDV does not read pixels, but drift in these scalars shows inverted, blank, shifted, thickened or
rescaled images; only ``saturation`` shows clipped values, which hardly move the mean of an image
that is mostly black or white. Vectorised NumPy: 1,000 images take about 7 ms.
"""

import dataclasses

import numpy as np

NAMES = (
    "center_x",
    "center_y",
    "height",
    "ink_fraction",
    "mean_intensity",
    "saturation",
    "stroke_width",
    "width",
)
_INK = 128  # a pixel at least this bright, of 255, counts as ink
_FULL = 250  # and at least this bright as full ink; MNIST's own strokes peak at 253 to 255
_BRIGHTEST = 255
_NEAR_END = 64  # a range that ends so near to 0 or 255 is taken to end there
_SAMPLE = 10_000  # images by which the brightness of a file is measured


@dataclasses.dataclass(frozen=True)
class Brightness:
    """The values of paper and of full ink; MNIST's, where it is bright on black."""

    paper: int = 0
    ink: int = _BRIGHTEST

    def inked(self, images: np.ndarray) -> np.ndarray:
        """The images as if paper were 0 and full ink 255, uint8; MNIST's as they are."""
        share = (np.arange(_BRIGHTEST + 1) - self.paper) / (self.ink - self.paper)
        return np.rint(np.clip(share, 0, 1) * _BRIGHTEST).astype(np.uint8)[images]


def measure_brightness(images: np.ndarray) -> Brightness:
    """Finds paper and ink of the images of a file, uint8 [N, H, W].

    The border of most images is paper. Images that nearly use the whole range, and those without
    any, are taken to use it.
    """
    some = images[:: max(1, len(images) // _SAMPLE)]
    if not len(some):
        return Brightness()
    low, high = (int(np.median(f(some, axis=(1, 2)))) for f in (np.min, np.max))
    low = 0 if low < _NEAR_END and high >= _NEAR_END else low
    high = _BRIGHTEST if high > _BRIGHTEST - _NEAR_END else high
    if low == high:
        return Brightness()
    border = np.concatenate([some[:, 0], some[:, -1], some[:, :, 0], some[:, :, -1]])
    is_white = np.median(border) > (low + high) / 2
    return Brightness(high, low) if is_white else Brightness(low, high)


def compute_scalars(
    images: np.ndarray, brightness: Brightness | None = None
) -> dict[str, np.ndarray]:
    """Describes each image of a block.

    Args:
        images: uint8 [N, H, W].
        brightness: That of the whole file, by which ink is told from paper; MNIST's by default.

    Returns:
        float32 [N] for each of ``NAMES``: ``mean_intensity``, of the pixels as they are, and
        ``ink_fraction`` in [0, 1]; ``saturation``, the share of the ink that is full, in [0, 1], 0
        without ink; ``center_x`` and ``center_y``, the ink's centre of mass in pixels, the middle
        for a blank image;
        ``height`` and ``width`` of the ink's bounding box in pixels, 0 without ink;
        ``stroke_width`` in pixels, 0 without ink.
    """
    _, rows, columns = images.shape
    brightness = brightness or Brightness()
    inked = images if brightness == Brightness() else brightness.inked(images)
    row_mass = inked.sum(axis=2, dtype=np.int64)  # [N, H]
    column_mass = inked.sum(axis=1, dtype=np.int64)  # [N, W]
    mass = row_mass.sum(axis=1)
    ink = inked >= _INK
    area = np.count_nonzero(ink, axis=(1, 2))

    # A stroke of width w and length l has the area w*l and the perimeter 2*(w + l), so twice the
    # area over the perimeter is close to w for long strokes. The perimeter counts pixel edges
    # between ink and paper; the zero frame closes strokes that touch the border.
    framed = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    perimeter = np.count_nonzero(framed[:, 1:] != framed[:, :-1], axis=(1, 2))
    perimeter += np.count_nonzero(framed[:, :, 1:] != framed[:, :, :-1], axis=(1, 2))

    values = {
        "center_x": _centre(column_mass, mass),
        "center_y": _centre(row_mass, mass),
        "height": _extent(ink.any(axis=2)),
        "ink_fraction": area / (rows * columns),
        "mean_intensity": images.sum(axis=(1, 2), dtype=np.int64) / (255.0 * rows * columns),
        "saturation": np.count_nonzero(inked >= _FULL, axis=(1, 2)) / np.maximum(area, 1),
        "stroke_width": 2.0 * area / np.maximum(perimeter, 1),
        "width": _extent(ink.any(axis=1)),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def _centre(profile: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Centre of mass of each row of ``profile`` [N, L]; the middle where ``mass`` [N] is zero."""
    length = profile.shape[1]
    moment = profile @ np.arange(length)
    return np.where(mass > 0, moment / np.maximum(mass, 1), (length - 1) / 2)


def _extent(occupied: np.ndarray) -> np.ndarray:
    """Distance from the first to the last True of each row of [N, L], both included; else 0."""
    length = occupied.shape[1]
    first = occupied.argmax(axis=1)
    last = length - 1 - occupied[:, ::-1].argmax(axis=1)
    return np.where(occupied.any(axis=1), last - first + 1, 0)
