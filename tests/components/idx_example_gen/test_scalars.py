"""Scalars of pictures whose figures are known in closed form."""

import numpy as np
import pytest

from components.idx_example_gen import data, scalars


def picture(*rectangles: tuple[int, int, int, int, int]) -> np.ndarray:
    """[1, 28, 28] with rectangles (top, left, height, width, value)."""
    image = np.zeros((1, 28, 28), np.uint8)
    for top, left, height, width, value in rectangles:
        image[0, top : top + height, left : left + width] = value
    return image


def only(image: np.ndarray) -> dict[str, float]:
    return {name: float(value[0]) for name, value in scalars.compute_scalars(image).items()}


def test_blank_image_lies_in_the_middle_and_has_no_extent():
    assert only(picture()) == {
        "center_x": 13.5, "center_y": 13.5, "height": 0, "ink_fraction": 0, "mean_intensity": 0,
        "saturation": 0, "stroke_width": 0, "width": 0,
    }  # fmt: skip


def test_full_rectangle_has_its_own_place_size_and_brightness():
    values = only(picture((4, 10, 6, 3, 255)))
    assert values["center_x"] == 11 and values["center_y"] == 6.5
    assert values["height"] == 6 and values["width"] == 3
    assert values["ink_fraction"] == pytest.approx(18 / 784)
    assert values["mean_intensity"] == pytest.approx(18 / 784)
    assert values["saturation"] == 1
    assert values["stroke_width"] == pytest.approx(2 * 18 / 18)  # area 18, perimeter 18


def test_ink_starts_at_half_and_is_full_at_250():
    values = only(picture((0, 0, 1, 4, 127), (1, 0, 1, 4, 128), (2, 0, 1, 4, 250)))
    assert values["ink_fraction"] == pytest.approx(8 / 784)
    assert values["height"] == 2
    assert values["saturation"] == pytest.approx(0.5)
    assert values["mean_intensity"] == pytest.approx(4 * (127 + 128 + 250) / 255 / 784)


def test_centre_weighs_brightness():
    values = only(picture((0, 0, 1, 1, 50), (0, 20, 1, 1, 150)))
    assert values["center_x"] == pytest.approx(15)
    assert values["center_y"] == 0


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_stroke_width_of_a_long_line_is_near_its_width(width: int):
    measured = only(picture((0, 0, 28, width, 255)))["stroke_width"]
    assert measured == pytest.approx(28 * width / (28 + width))
    assert 0.8 * width < measured <= width


def test_images_of_a_block_do_not_touch_each_other():
    block = np.concatenate([picture((i, 2 * i, 3, 4, 100 + 30 * i)) for i in range(5)])
    together = scalars.compute_scalars(block)
    for row in range(5):
        alone = only(block[row : row + 1])
        assert {name: float(value[row]) for name, value in together.items()} == alone


def test_an_empty_block_is_no_error():
    values = scalars.compute_scalars(np.zeros((0, 28, 28), np.uint8))
    assert set(values) == set(scalars.NAMES)
    assert all(value.shape == (0,) and value.dtype == np.float32 for value in values.values())


def test_brightness_is_measured_and_mnist_stays_as_it_is(mnist_dir):
    images = data.read_data(str(mnist_dir)).splits["test"].images[:500]
    for change, expected in (
        (lambda x: x, (0, 255)),
        (lambda x: 255 - x, (255, 0)),
        (lambda x: x // 3, (0, 85)),
        (lambda x: 128 + x // 2, (128, 255)),
        (lambda x: (x > 127) * 1, (0, 1)),
        (lambda x: x * 0, (0, 255)),
    ):
        changed = change(images.astype(int)).astype(np.uint8)
        assert scalars.measure_brightness(changed) == scalars.Brightness(*expected)
    assert scalars.measure_brightness(images[:0]) == scalars.Brightness()


def test_white_paper_has_the_shape_of_black(mnist_dir):
    images = data.read_data(str(mnist_dir)).splits["test"].images[:200]
    plain = scalars.compute_scalars(images)
    turned = scalars.compute_scalars(255 - images, scalars.Brightness(255, 0))
    for name in scalars.NAMES:
        if name == "mean_intensity":
            np.testing.assert_allclose(turned[name], 1 - plain[name], rtol=1e-6)
        else:
            np.testing.assert_array_equal(turned[name], plain[name])
