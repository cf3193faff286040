"""Kinds of photographs, scans and drawings of a digit, made from an image of MNIST.

Contract: ``photograph(kind, digit, seed)`` returns the picture as Pillow opens it from a file; the
same arguments give the same picture.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from benchmarks.photograph_nothing import NO_DIGIT
from benchmarks.photograph_scenes import (
    BLACK,
    Scene,
    as_picture,
    noisy,
    rule,
    scene,
    shadow,
    slope,
    smooth,
    specks,
    table,
    text_page,
    through_file,
    transparent,
    turned,
    vignette,
)


def _plain(digit: np.ndarray, seed: int) -> Image.Image:
    return as_picture(scene(digit, seed).seen())


def _ink(*colour: float, sigma: float = 0.0) -> Callable[[np.ndarray, int], Image.Image]:
    def make(digit: np.ndarray, seed: int) -> Image.Image:
        s = scene(digit, seed)
        return as_picture(noisy(s, s.seen(colour), sigma))

    return make


def _lit(light: Callable[[Scene], np.ndarray]) -> Callable[[np.ndarray, int], Image.Image]:
    def make(digit: np.ndarray, seed: int) -> Image.Image:
        s = scene(digit, seed)
        return through_file(as_picture(noisy(s, s.seen(light=light(s)), 0.01)), "JPEG", quality=85)

    return make


def _pencil(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed)
    s.ink *= np.clip(0.65 + 0.25 * ndimage.gaussian_filter(s.rng.normal(size=s.shape), 1) * 3, 0, 1)
    return as_picture(noisy(s, s.seen((0.35, 0.35, 0.37)), 0.01))


def _paper(
    colour, ink, sigma: float = 0.01, mottled: float = 0.0
) -> Callable[[np.ndarray, int], Image.Image]:
    def make(digit: np.ndarray, seed: int) -> Image.Image:
        s = scene(digit, seed)
        s.paper = np.asarray(colour) * (1 + mottled * (smooth(s, 40) - 0.5))[..., None]
        return as_picture(noisy(s, s.seen(ink), sigma))

    return make


def _blackboard(digit: np.ndarray, seed: int) -> Image.Image:
    """Chalk breaks where the board is rough; wiped chalk leaves clouds."""
    s = scene(digit, seed)
    s.paper = np.array([0.13, 0.22, 0.18]) + 0.08 * smooth(s, 90)[..., None]
    s.ink *= np.clip(0.8 + 0.8 * ndimage.gaussian_filter(s.rng.normal(size=s.shape), 1), 0.2, 1)
    seen = s.seen((0.88, 0.88, 0.85), slope(s, 0.75))
    return through_file(as_picture(noisy(s, seen, 0.02)), "JPEG", quality=85)


def _ruled(
    colour, squared: bool, ink=BLACK, margin: bool = False, steps=(38, 60)
) -> Callable[[np.ndarray, int], Image.Image]:
    def make(digit: np.ndarray, seed: int) -> Image.Image:
        s = scene(digit, seed)
        rule(s, colour, squared, s.rng.uniform(steps[0], steps[1]), margin)
        return as_picture(noisy(s, s.seen(ink, slope(s, 0.85)), 0.01))

    return make


def _sixteen_bit(digit: np.ndarray, seed: int) -> Image.Image:
    grey = scene(digit, seed).seen().mean(-1)
    return through_file(Image.fromarray(np.rint(grey * 65535).astype("uint16")))


def _float(digit: np.ndarray, seed: int) -> Image.Image:
    grey = scene(digit, seed).seen().mean(-1)
    return through_file(Image.fromarray(grey.astype("float32")), "TIFF")


def _palette(digit: np.ndarray, seed: int) -> Image.Image:
    return through_file(as_picture(scene(digit, seed).seen()).quantize(8), "GIF")


def _bilevel(digit: np.ndarray, seed: int) -> Image.Image:
    return through_file(as_picture(scene(digit, seed).seen(), "1"))


def _frame(digit: np.ndarray, seed: int) -> Image.Image:
    """A scanner's dark frame around the sheet, of another width on each side."""
    s = scene(digit, seed)
    edges = s.rng.integers(4, 28, 4)
    seen = np.pad(
        s.seen(), ((edges[0], edges[1]), (edges[2], edges[3]), (0, 0)), constant_values=0.05
    )
    return as_picture(seen)


def _table(sides: int, light: float = 0.85) -> Callable[[np.ndarray, int], Image.Image]:
    def make(digit: np.ndarray, seed: int) -> Image.Image:
        s = scene(digit, seed, share=(0.4, 0.65))
        seen = table(s, s.seen(), sides) * slope(s, light)[..., None]
        return through_file(as_picture(noisy(s, seen, 0.01)), "JPEG", quality=85)

    return make


def _noise(sigma: float) -> Callable[[np.ndarray, int], Image.Image]:
    return _ink(*BLACK, sigma=sigma)


def _specks(count: int, largest: float) -> Callable[[np.ndarray, int], Image.Image]:
    def make(digit: np.ndarray, seed: int) -> Image.Image:
        s = scene(digit, seed)
        return as_picture(specks(s, s.seen(), count, largest))

    return make


def _jpeg(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed)
    return through_file(as_picture(noisy(s, s.seen((0.15, 0.2, 0.5)), 0.02)), "JPEG", quality=8)


def _blur(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed)
    picture = as_picture(s.seen(light=slope(s, 0.8)))
    return picture.filter(ImageFilter.GaussianBlur(0.02 * min(s.shape)))


def _turned(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed, turn=12)
    return as_picture(s.seen(light=slope(s, 0.8)))


def _exif(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed)
    return turned(s, s.seen(light=slope(s, 0.8)))


def _small(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed, share=(0.12, 0.2))
    return through_file(as_picture(noisy(s, s.seen(), 0.01)), "JPEG", quality=85)


def _thumbnail(digit: np.ndarray, seed: int) -> Image.Image:
    """MNIST's own frame, dark on light, of a few pixels."""
    side = int(np.random.default_rng(seed).integers(28, 64))
    return Image.fromarray(255 - digit).resize((side, side), Image.Resampling.BICUBIC)


def _cut_close(digit: np.ndarray, seed: int) -> Image.Image:
    """The picture ends a pixel or two from the ink."""
    s = scene(digit, seed)
    rows, columns = np.flatnonzero(s.ink.max(1) > 0.1), np.flatnonzero(s.ink.max(0) > 0.1)
    seen = s.seen((0.1, 0.15, 0.4))
    cut = slice(max(0, rows[0] - 2), rows[-1] + 3), slice(max(0, columns[0] - 2), columns[-1] + 3)
    return as_picture(seen[cut])


def _phone(digit: np.ndarray, seed: int) -> Image.Image:
    """All at once: ruled paper on a table, a soft shadow, blue ink, noise, JPEG."""
    s = scene(digit, seed, turn=6, share=(0.4, 0.6))
    rule(s, (0.62, 0.72, 0.85), False, s.rng.uniform(38, 60))
    light = slope(s, 0.7) * vignette(s, 0.75) * shadow(s, 0.65, 12)
    seen = table(s, s.seen((0.12, 0.18, 0.5)), 1) * light[..., None]
    return through_file(as_picture(noisy(s, seen, 0.02)), "JPEG", quality=70)


def _screen(digit: np.ndarray, seed: int) -> Image.Image:
    """A screen's stripes, and the slow waves where they meet the pixels of the camera."""
    s = scene(digit, seed)
    y, x = np.indices(s.shape)
    light = 1 - 0.12 * (np.sin(0.9 * x + 0.2 * y) > 0) - 0.1 * np.sin(y / 23) ** 2
    return as_picture(noisy(s, s.seen(light=light), 0.01))


def _folded(digit: np.ndarray, seed: int) -> Image.Image:
    """Each part of a folded sheet has its own light; the crease is dark."""
    s = scene(digit, seed)
    y, x = np.indices(s.shape)
    crease_y, crease_x = s.rng.uniform(0.4, 0.6, 2) * s.shape
    light = np.where(x < crease_x, 1, 0.88) * np.where(y < crease_y, 1, 0.92)
    light *= 1 - 0.12 * np.exp(-(((x - crease_x) / 3) ** 2))
    return as_picture(noisy(s, s.seen(light=light), 0.01))


def _stained(digit: np.ndarray, seed: int) -> Image.Image:
    """The ring of a cup on the paper."""
    s = scene(digit, seed)
    y, x = np.indices(s.shape)
    distance = np.hypot(*(v - s.rng.uniform(0, n) for v, n in zip((y, x), s.shape, strict=True)))
    ring = 0.35 * np.clip(4 - np.abs(distance - 0.25 * min(s.shape)), 0, 1)
    s.paper = s.paper * (1 - ring[..., None] * np.array([0.5, 0.8, 1]))
    return as_picture(noisy(s, s.seen(), 0.01))


def _showing_through(digit: np.ndarray, seed: int) -> Image.Image:
    """A page of writing on the other side of the sheet."""
    s = scene(digit, seed)
    back = Scene(s.rng, s.paper, np.zeros(s.shape))
    text_page(back, 8, digit)
    s.paper = s.paper * (1 - 0.12 * ndimage.gaussian_filter(back.ink, 2)[:, ::-1, None])
    return as_picture(noisy(s, s.seen(), 0.01))


def _glare(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed)
    y, x = np.indices(s.shape)
    distance = np.hypot(*(v - s.rng.uniform(0, n) for v, n in zip((y, x), s.shape, strict=True)))
    return as_picture(0.75 * s.seen() + 0.5 * np.exp(-((distance / 70) ** 2))[..., None])


def _moved(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed)
    return as_picture(ndimage.uniform_filter1d(s.seen(), 25, axis=int(s.rng.integers(2))))


def _salt_and_pepper(digit: np.ndarray, seed: int) -> Image.Image:
    s = scene(digit, seed)
    seen, dice = s.seen(), s.rng.random(s.shape)
    seen[dice < 0.02], seen[dice > 0.98] = 0, 1
    return as_picture(seen)


def _from_the_side(digit: np.ndarray, seed: int) -> Image.Image:
    """A camera that does not look straight down: a quadrangle becomes the picture."""
    s = scene(digit, seed)
    height, width = s.shape
    a = s.rng.uniform(0, 0.12, 8) * np.tile([width, height], 4)
    corners = (a[0], a[1], a[2], height - a[3], width - a[4], height - a[5], width - a[6], a[7])
    picture = as_picture(s.seen(light=slope(s, 0.7)))
    return picture.transform(
        (width, height), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC
    )


def _light_border(digit: np.ndarray, seed: int) -> Image.Image:
    """Light ink on dark, in a white border."""
    s = scene(digit, seed)
    s.paper = np.broadcast_to([0.1, 0.12, 0.15], s.paper.shape)
    seen = s.seen((0.9, 0.9, 0.9))
    return as_picture(np.pad(seen, ((20, 25), (30, 12), (0, 0)), constant_values=0.97))


def _thumb(digit: np.ndarray, seed: int) -> Image.Image:
    """The photographer's thumb at the lower edge, where it does not hide the digit."""
    s = scene(digit, seed)
    y, x = np.indices(s.shape)
    at = s.rng.uniform(0.2, 0.8) * s.shape[1]
    thumb = (((x - at) / 60) ** 2 + ((y - s.shape[0]) / 90) ** 2 < 1) & (s.ink < 0.05)
    return as_picture(noisy(s, np.where(thumb[..., None], [0.8, 0.6, 0.5], s.seen()), 0.01))


def _clear_palette(digit: np.ndarray, seed: int) -> Image.Image:
    """A PNG with a palette in which the paper's colour is transparent."""
    picture = as_picture(scene(digit, seed).seen()).quantize(4)
    return through_file(picture, transparency=picture.getpixel((0, 0)))


KINDS: dict[str, Callable[[np.ndarray, int], Image.Image]] = {
    "clean": _plain,
    "pencil": _pencil,
    "blue ink": _ink(0.1, 0.15, 0.6),
    "red ink": _ink(0.75, 0.1, 0.15),
    "green ink": _ink(0.2, 0.6, 0.25),
    "yellow ink": _ink(0.95, 0.85, 0.3, sigma=0.01),
    "faint ink": _ink(0.76, 0.76, 0.77, sigma=0.01),
    "grey paper": _paper((0.52, 0.52, 0.5), (0.3, 0.3, 0.3)),
    "coloured paper": _paper((0.9, 0.55, 0.5), (0.2, 0.25, 0.6)),
    "mottled paper": _paper((0.78, 0.72, 0.6), (0.3, 0.22, 0.18), mottled=0.25),
    "blackboard": _blackboard,
    "white on blue": _paper((0.15, 0.25, 0.5), (0.85, 0.85, 0.9)),
    "transparent, black ink": lambda d, seed: transparent(scene(d, seed), (0, 0, 0)),
    "transparent, white ink": lambda d, seed: transparent(scene(d, seed), (1, 1, 1)),
    "16 bit": _sixteen_bit,
    "float": _float,
    "palette": _palette,
    "bilevel": _bilevel,
    "weak slope of light": _lit(lambda s: slope(s, 0.75)),
    "strong slope of light": _lit(lambda s: slope(s, 0.3)),
    "vignette": _lit(lambda s: vignette(s, 0.3)),
    "soft shadow": _lit(lambda s: shadow(s, 0.5, 15)),
    "sharp shadow": _lit(lambda s: shadow(s, 0.5, 1)),
    "ruled paper": _ruled((0.6, 0.7, 0.85), squared=False),
    "ruled paper with margin": _ruled((0.55, 0.65, 0.8), False, (0.1, 0.15, 0.5), margin=True),
    "squared paper": _ruled((0.6, 0.7, 0.8), squared=True, steps=(24, 40)),
    "dark ruled paper": _ruled((0.35, 0.35, 0.4), squared=False),
    "frame": _frame,
    "edge of a table": _table(1),
    "paper on a table": _table(3),
    "noise 0.05": _noise(0.05),
    "noise 0.15": _noise(0.15),
    "one speck": _specks(1, 4),
    "many specks": _specks(25, 4),
    "JPEG of low quality": _jpeg,
    "blur": _blur,
    "turned by 12 degrees": _turned,
    "EXIF orientation": _exif,
    "small digit": _small,
    "thumbnail": _thumbnail,
    "cut close": _cut_close,
    "phone": _phone,
    "screen": _screen,
    "folded": _folded,
    "ring of a cup": _stained,
    "showing through": _showing_through,
    "glare": _glare,
    "moved": _moved,
    "salt and pepper": _salt_and_pepper,
    "from the side": _from_the_side,
    "red on green": _paper((0.2, 0.62, 0.3), (0.85, 0.3, 0.3)),
    "light border": _light_border,
    "thumb": _thumb,
    "transparent palette": _clear_palette,
} | NO_DIGIT


def photograph(kind: str, digit: np.ndarray, seed: int) -> Image.Image:
    """A picture of the digit [28, 28] uint8; ``kind`` is a key of ``KINDS``."""
    return KINDS[kind](digit, seed)
