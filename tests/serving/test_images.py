import numpy as np
import pytest
from PIL import Image, ImageDraw

from serving.errors import ServingError
from serving.images import as_images, encode_png, fit_digit, grid, read_image, to_pil


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
    y, x = np.indices(array.shape)
    assert abs((array * y).sum() / array.sum() - 13.5) < 1
    assert abs((array * x).sum() / array.sum() - 13.5) < 1
    assert array[:3].max() < 0.05 and array.max() > 0.9


def test_empty_picture_and_what_is_none_are_told(tmp_path):
    with pytest.raises(ServingError, match="holds no ink"):
        fit_digit(Image.new("L", (50, 50), 255))
    with pytest.raises(ServingError, match="There is no file"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(ServingError, match="not a readable image"):
        read_image(tmp_path / "text.png")


def test_grid_holds_every_image():
    images = np.zeros((5, 28, 28, 1), "float32")
    images[:, 5, 5] = 1
    picture = np.asarray(grid(images))
    assert picture.shape == (62, 92) and (picture == 255).sum() == 5
    assert np.asarray(grid(images[:0])).shape == (32, 32)
    assert encode_png(images[:1])[0].startswith(b"\x89PNG")
