"""Paper, light, dirt and files, of which ``benchmarks.photograph_kinds`` makes its pictures.

Contract: a pixel is paper and ink mixed, times the light, plus noise; the same seed gives the same
picture. The ink covers the paper in part, as the grey values of an image of MNIST say.
"""

import dataclasses
import io

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

WHITE, BLACK = np.array([0.93, 0.92, 0.9]), np.array([0.12, 0.12, 0.14])
_ORIENTATION = 0x0112  # the EXIF tag


@dataclasses.dataclass
class Scene:
    """A sheet of paper while a picture of it is made; ``ink`` is the share of ink by pixel."""

    rng: np.random.Generator
    paper: np.ndarray  # [H, W, 3] in [0, 1]
    ink: np.ndarray  # [H, W] in [0, 1]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.ink.shape

    def seen(self, colour=BLACK, light: np.ndarray | float = 1.0) -> np.ndarray:
        """[H, W, 3] in [0, 1]: ink of ``colour`` on the paper under a ``light`` [H, W]."""
        cover = self.ink[..., None]
        mixed = self.paper * (1 - cover) + np.asarray(colour) * cover
        return mixed * np.broadcast_to(light, self.shape)[..., None]


def scene(digit: np.ndarray, seed: int, turn: float = 3.0, share=(0.45, 0.8)) -> Scene:
    """White paper with the digit [28, 28] uint8 somewhere on it.

    Args:
        digit: Of MNIST.
        seed: Of the size, the place and all that follows.
        turn: Most degrees of rotation.
        share: Range of the height of MNIST's frame, relative to the shorter side of the picture.
    """
    rng = np.random.default_rng(seed)
    height, width = rng.integers(380, 620, 2)
    ink = np.zeros((height, width))
    put(ink, digit, rng, share, turn)
    return Scene(rng, np.tile(WHITE, (height, width, 1)), ink)


def put(ink: np.ndarray, digit: np.ndarray, rng, share, turn: float = 3.0, box=None) -> None:
    """Draws the digit into ``ink`` [H, W]; ``box`` is (top, left, side), or anywhere."""
    height, width = ink.shape
    side = int(min(height, width) * rng.uniform(*share)) if box is None else box[2]
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    # MNIST's grey edges are one pixel of 28 wide; a pen's edge is sharper.
    values = np.clip((np.asarray(large, "float64") / 255 - 0.25) * 2, 0, 1)
    values = ndimage.rotate(values, rng.uniform(-turn, turn), order=1, reshape=False)
    if box is None:
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    else:
        top, left = box[:2]
    window = ink[top : top + side, left : left + side]
    np.maximum(window, values[: window.shape[0], : window.shape[1]], out=window)


def as_picture(seen: np.ndarray, mode: str = "RGB") -> Image.Image:
    """[H, W, 3] in [0, 1] as an 8-bit picture."""
    return Image.fromarray(np.rint(np.clip(seen, 0, 1) * 255).astype("uint8")).convert(mode)


def through_file(picture: Image.Image, form: str = "PNG", **options) -> Image.Image:
    """The picture as it comes out of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    found = Image.open(io.BytesIO(buffer.getvalue()))
    found.load()
    return found


def noisy(s: Scene, seen: np.ndarray, sigma: float) -> np.ndarray:
    """With the noise of a sensor of standard deviation ``sigma``."""
    return seen + s.rng.normal(0, sigma, seen.shape)


def smooth(s: Scene, scale: float) -> np.ndarray:
    """Random [H, W] in [0, 1] that varies over about ``scale`` pixels."""
    values = s.rng.normal(size=[max(2, int(side / scale)) + 2 for side in s.shape])
    zoomed = ndimage.zoom(values, [side / n for side, n in zip(s.shape, values.shape, strict=True)])
    zoomed = zoomed[: s.shape[0], : s.shape[1]]
    return (zoomed - zoomed.min()) / max(np.ptp(zoomed), 1e-9)


def slope(s: Scene, low: float) -> np.ndarray:
    """Light [H, W] that falls from 1 to ``low`` across the picture, in any direction."""
    angle = s.rng.uniform(0, 2 * np.pi)
    y, x = np.indices(s.shape)
    along = np.cos(angle) * x / s.shape[1] + np.sin(angle) * y / s.shape[0]
    along = (along - along.min()) / np.ptp(along)
    return low + (1 - low) * along


def vignette(s: Scene, low: float) -> np.ndarray:
    """Light that falls to ``low`` in the corners."""
    y, x = (np.linspace(-1, 1, n) for n in s.shape)
    return 1 - (1 - low) * (y[:, None] ** 2 + x**2) / 2


def shadow(s: Scene, level: float, blur: float) -> np.ndarray:
    """Light with a shadow over a quarter of the picture or more, its edge at an angle."""
    height, width = s.shape
    angle = np.deg2rad(s.rng.uniform(-20, 20))
    y, x = np.indices(s.shape)
    y0, x0 = s.rng.uniform(0.35, 0.65, 2) * (height, width)
    u = np.cos(angle) * (x - x0) + np.sin(angle) * (y - y0)
    v = -np.sin(angle) * (x - x0) + np.cos(angle) * (y - y0)
    signs = s.rng.choice([-1, 1], 2)
    dark = (signs[0] * u > 0) & (signs[1] * v > 0)
    return 1 - (1 - level) * ndimage.gaussian_filter(dark.astype(float), blur)


def line(s: Scene, values: np.ndarray, start, end, width: float, value: float = 1.0) -> None:
    """Draws a straight line into ``values`` [H, W]."""
    layer = Image.new("L", (s.shape[1] * 2, s.shape[0] * 2))
    points = [tuple(2 * v for v in start), tuple(2 * v for v in end)]
    ImageDraw.Draw(layer).line(points, fill=255, width=max(1, round(2 * width)))
    layer = layer.resize((s.shape[1], s.shape[0]), Image.Resampling.BOX)
    np.maximum(values, np.asarray(layer) / 255 * value, out=values)


def rule(s: Scene, colour, squared: bool, step: float, margin: bool = False) -> None:
    """Prints the lines of a school book on the paper, a little askew."""
    height, width = s.shape
    lines = np.zeros(s.shape)
    tilt = s.rng.uniform(-0.04, 0.04)
    offset = s.rng.uniform(0, step)
    for y in np.arange(offset - 0.1 * height, 1.1 * height, step):
        line(s, lines, (0, y), (width, y + tilt * width), 2.0)
    if squared:
        for x in np.arange(offset - 0.1 * width, 1.1 * width, step):
            line(s, lines, (x, 0), (x - tilt * height, height), 2.0)
    s.paper = s.paper * (1 - lines[..., None]) + np.asarray(colour) * lines[..., None]
    if margin:
        lines = np.zeros(s.shape)
        x = s.rng.uniform(0.08, 0.2) * width
        line(s, lines, (x, 0), (x - tilt * height, height), 2.5)
        s.paper = s.paper * (1 - lines[..., None]) + np.array([0.8, 0.3, 0.35]) * lines[..., None]


def table(s: Scene, seen: np.ndarray, sides: int, colour=(0.35, 0.23, 0.15)) -> np.ndarray:
    """Puts the paper on a wooden table, which is seen on some sides."""
    height, width = s.shape
    grain = 0.85 + 0.3 * ndimage.gaussian_filter(s.rng.normal(size=s.shape), (1, 30)) * 6
    wood = np.asarray(colour) * np.clip(grain, 0.5, 1.5)[..., None]
    y, x = np.indices(s.shape)
    inside = np.ones(s.shape, bool)
    rows, columns = np.flatnonzero(s.ink.max(1) > 0.1), np.flatnonzero(s.ink.max(0) > 0.1)
    room = [rows[0], height - 1 - rows[-1], columns[0], width - 1 - columns[-1]]
    for side in np.argsort(room)[::-1][:sides]:
        deep = s.rng.uniform(0.3, 0.75) * room[side]
        tilt = s.rng.uniform(-0.05, 0.05)
        distance = (y, height - 1 - y, x, width - 1 - x)[side]
        inside &= distance > deep + tilt * ((x - width / 2) if side < 2 else (y - height / 2))
    mask = ndimage.gaussian_filter(inside.astype(float), 0.8)[..., None]
    return seen * mask + wood * (1 - mask)


def specks(s: Scene, seen: np.ndarray, count: int, largest: float) -> np.ndarray:
    """Dirt: dark spots away from the digit."""
    found = seen.copy()
    y, x = np.indices(s.shape)
    for _ in range(count):
        radius = s.rng.uniform(1, largest)
        cy, cx = s.rng.uniform(0, s.shape[0]), s.rng.uniform(0, s.shape[1])
        spot = np.clip(radius - np.hypot(y - cy, x - cx) + 0.5, 0, 1)[..., None]
        found = found * (1 - 0.8 * spot)
    return found


def transparent(s: Scene, colour) -> Image.Image:
    """Ink of one colour on nothing."""
    rgb = np.broadcast_to(np.asarray(colour, float), (*s.shape, 3))
    rgba = np.dstack([rgb, s.ink])
    return through_file(Image.fromarray(np.rint(rgba * 255).astype("uint8")))


def turned(s: Scene, seen: np.ndarray) -> Image.Image:
    """A picture that a phone stored turned, with the orientation to show it in."""
    orientation, turns = [(6, 1), (3, 2), (8, 3)][s.rng.integers(3)]
    stored = as_picture(np.rot90(seen, turns))
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return through_file(stored, "JPEG", quality=90, exif=exif)


def text_page(s: Scene, rows: int, digits: np.ndarray) -> None:
    """Fills the page with rows of small digits."""
    side = s.shape[0] // (rows + 1)
    for row in range(rows):
        for column in range(s.shape[1] // side):
            box = (side // 2 + row * side, column * side, side)
            put(s.ink, np.roll(digits, s.rng.integers(-2, 3), 1), s.rng, None, 10, box)
