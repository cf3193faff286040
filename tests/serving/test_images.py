import tracemalloc
import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from serving.errors import ImageWarning, ServingError
from serving.images import as_images, encode_png, fit_digit, grid, read_image, to_pil


@pytest.mark.filterwarnings("ignore:An image is mostly light")
def test_every_common_form_becomes_the_same_array():
    grey = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype="uint8")
    wanted = grey[..., None] / np.float32(255)
    pictures = [Image.fromarray(image) for image in grey]
    for given in (grey, grey[..., None], wanted, wanted[..., 0].astype("float64"), pictures):
        np.testing.assert_array_equal(as_images(given), wanted)
    for given in (grey[0], pictures[0]):
        np.testing.assert_array_equal(as_images(given), wanted[:1])
    np.testing.assert_array_equal(as_images(to_pil(wanted)), wanted)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((3, 27, 28)), r"shape \[3, 27, 28\]"),
        (np.full((1, 28, 28), 1.5), "outside"),
        (np.full((1, 28, 28), np.nan), "outside"),
        (Image.new("L", (32, 32)), "32 x 32 pixels; make it 28 x 28"),
    ],
)
def test_wrong_images_are_told(given, words):
    with pytest.raises(ServingError, match=words):
        as_images(given)


def centre_of_mass(array: np.ndarray) -> np.ndarray:
    """Row and column, counted from 0."""
    return (np.indices(array.shape) * array).sum((1, 2)) / array.sum()


@pytest.mark.parametrize("mode", ["dark on light", "light on dark", "transparent"])
def test_digit_is_cut_out_scaled_and_centred(mode, tmp_path):
    picture = Image.new("L", (300, 200), 240 if mode == "dark on light" else 10)
    ink = 20 if mode == "dark on light" else 250
    if mode == "transparent":
        picture, ink = Image.new("RGBA", (300, 200), (0, 0, 0, 0)), (0, 0, 0, 255)
    ImageDraw.Draw(picture).line([(200, 20), (220, 120)], fill=ink, width=12)
    picture.save(tmp_path / "a.png")
    array = as_images(read_image(tmp_path / "a.png", fit=True))[0, ..., 0]
    rows, columns = np.flatnonzero((array > 0.3).any(1)), np.flatnonzero((array > 0.3).any(0))
    assert 18 <= rows[-1] - rows[0] + 1 <= 20 and columns[-1] - columns[0] < 10
    assert np.abs(centre_of_mass(array) - 14).max() < 0.6
    assert array[:3].max() < 0.05 and array.max() > 0.9


def test_digits_lie_where_those_of_mnist_lie():
    """Half a pixel more or less, at random, around row and column 14: the mean of MNIST."""
    rng, centres = np.random.default_rng(0), []
    for _ in range(30):
        picture = Image.new("L", (300, 300), 240)
        x, y = rng.integers(60, 240, 2)
        ImageDraw.Draw(picture).line([(100, 80), (x, y), (150, 230)], fill=20, width=14)
        centres.append(centre_of_mass(as_images(fit_digit(picture))[0, ..., 0]))
    assert np.abs(np.array(centres) - 14).max() < 0.6
    assert np.abs(np.mean(centres, 0) - 14).max() < 0.2


def test_light_ink_gets_strokes_as_wide_as_dark_ink():
    picture = Image.new("L", (300, 300), 230)
    ImageDraw.Draw(picture).line([(100, 60), (200, 60), (130, 240)], fill=25, width=24)
    picture = picture.filter(ImageFilter.GaussianBlur(5))
    dark, light = (
        as_images(fit_digit(one))[0] for one in (picture, picture.point(lambda value: 255 - value))
    )
    assert 0.95 < light.sum() / dark.sum() < 1.08
    assert np.abs(light - dark).mean() < 0.02


def test_empty_picture_and_what_is_none_are_told(tmp_path):
    with pytest.raises(ServingError, match="holds no ink"):
        fit_digit(Image.new("L", (50, 50), 255))
    with pytest.raises(ServingError, match="There is no file"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(ServingError, match="not a readable image"):
        read_image(tmp_path / "text.png")


def _clear(picture: Image.Image) -> Image.Image:
    return Image.merge("LA", [Image.new("L", picture.size, 255), picture])


@pytest.mark.parametrize("mode", ["I;16", "F", "1", "RGB", "P", "LA", "CMYK"])
def test_values_of_other_depths_are_read_as_they_are(mode, tmp_path):
    """``convert("L")`` clips 16 bits and floats: nearly all becomes white, or black."""
    ink = np.random.default_rng(0).integers(0, 110, (28, 28), dtype="uint8")
    ink[3:6] = 255
    picture = {
        "I;16": lambda: Image.fromarray(ink.astype("uint16") * 257),
        "F": lambda: Image.fromarray(ink.astype("float32") / np.float32(255)),
    }.get(mode, lambda: Image.fromarray(ink).convert(mode))()
    path = tmp_path / ("a.tiff" if mode in ("F", "CMYK") else "a.png")
    picture.save(path)
    wanted = ink / np.float32(255) if mode != "1" else np.asarray(picture)  # dithered
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = as_images(read_image(path))[0, ..., 0]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (_clear(Image.new("L", (28, 28), 99)), "transparent pixels; put it on black"),
        (Image.fromarray(np.full((28, 28), 300, "float32")), "float values from 300 to 300"),
        (Image.fromarray(np.full((28, 28), np.nan, "float32")), "float values from nan"),
        (Image.fromarray(np.full((28, 28), 70_000, "int32")), "32-bit values from 70000"),
    ],
)
def test_values_whose_white_is_not_known_are_refused(picture, words):
    with pytest.raises(ServingError, match=words):
        as_images(picture)


def test_light_and_nearly_black_pictures_are_warned_of():
    with pytest.warns(ImageWarning, match="mostly light, but MNIST's digits are light ink"):
        as_images(Image.new("L", (28, 28), 200))
    with pytest.warns(ImageWarning, match="nearly black: its lightest pixel has 0.0039"):
        as_images(Image.fromarray(np.full((28, 28), 255, "uint16")))  # 8 bits stored in 16


def test_a_file_of_several_images_and_one_that_is_spoiled(tmp_path):
    frames = [Image.new("L", (28, 28), value) for value in (150, 10)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(ImageWarning, match="a.gif holds 2 images; the first is taken"):
        assert np.asarray(read_image(tmp_path / "a.gif").convert("L"))[0, 0] == 150
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90), "uint8")).save(
        tmp_path / "a.png"
    )
    whole = (tmp_path / "a.png").read_bytes()
    for data in (b"", whole[:50], whole[:-700], whole[:60] + b"x" * 500 + whole[560:]):
        (tmp_path / "b.png").write_bytes(data)
        with pytest.raises(ServingError, match="b.png is not a readable image: [^<]*$"):
            read_image(tmp_path / "b.png")
    with pytest.raises(ServingError, match="is not a readable image: Is a directory"):
        read_image(tmp_path)


def test_a_large_photograph_is_fitted_in_little_memory():
    """81 megapixels took 1.1 GB as floats."""
    picture = Image.new("RGB", (9000, 9000), "white")
    ImageDraw.Draw(picture).line([(4000, 1500), (4500, 7500)], fill="navy", width=700)
    tracemalloc.start()
    fitted = as_images(fit_digit(picture))[0, ..., 0]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 18 <= (fitted.max(1) > 0.5).sum() <= 20 and (fitted.max(0) > 0.5).sum() < 8
    assert most < 250e6


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda d: None, "holds no ink: nothing in it stands out"),
        (lambda d: d.rectangle((60, 60, 240, 240), fill=20), "holds no ink"),
        (lambda d: d.ellipse((60, 60, 115, 115), fill=20), "holds no strokes of a pen"),
        (lambda d: [d.line((x, 50, x, 250), fill=20, width=16) for x in (80, 200)], "2 marks"),
        (lambda d: d.line((20, 140, 280, 150), fill=20, width=16), "too wide for one digit"),
        (lambda d: d.line((150, 150, 162, 158), fill=20, width=4), "specks only"),
        (
            lambda d: [
                d.ellipse((x, y, x + 50, y + 50), outline=20, width=9)
                for x in (60, 100, 140) for y in (60, 100, 140)
            ],
            "more intricate than a digit",
        ),
    ],
)  # fmt: skip
def test_what_is_no_single_digit_is_refused_with_the_reason(draw, words):
    picture = Image.new("L", (300, 300), 240)
    draw(ImageDraw.Draw(picture))
    with pytest.raises(ServingError, match=words) as caught:
        fit_digit(picture)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda d: d.line((150, 120, 150, 300), fill=20, width=16), "reaches the edge"),
        (
            lambda d: [
                d.line((150, 60, 150, 240), fill=20, width=16),
                d.line((240, 140, 240, 200), fill=20, width=16),
            ],
            "other marks besides the digit",
        ),
        (
            lambda d: [
                d.line((150, 50, 150, 200), fill=20, width=10),
                d.ellipse((115, 140, 185, 210), fill=20),
            ],
            "of uneven width",
        ),
    ],
)
def test_doubts_are_warned_of(draw, words):
    picture = Image.new("L", (300, 300), 240)
    draw(ImageDraw.Draw(picture))
    with pytest.warns(ImageWarning, match=words):
        fit_digit(picture)


def test_dark_and_light_ink_on_one_sheet_are_warned_of():
    picture = Image.new("L", (300, 300), 128)
    ImageDraw.Draw(picture).line((60, 60, 80, 240), fill=10, width=14)
    ImageDraw.Draw(picture).line((220, 60, 200, 240), fill=250, width=14)
    with pytest.warns(ImageWarning, match="dark and light ink"):
        fit_digit(picture)


def test_grid_holds_every_image():
    images = np.zeros((5, 28, 28, 1), "float32")
    images[:, 5, 5] = 1
    picture = np.asarray(grid(images))
    assert picture.shape == (62, 92) and (picture == 255).sum() == 5
    assert np.asarray(grid(images[:0])).shape == (32, 32)
    assert encode_png(images[:1])[0].startswith(b"\x89PNG")
