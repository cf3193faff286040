"""Hints at the cause: one per fault, none where the mean hardly moved."""

import pytest

from components.data_gate.hints import explain
from components.idx_example_gen import scalars

KNOWN = {
    "center_x": 14.0, "center_y": 14.0, "height": 19.6, "ink_fraction": 0.13,
    "mean_intensity": 0.13, "saturation": 0.5, "stroke_width": 2.0, "width": 14.7,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "mean", "hint"),
    [
        ("center_x", 20.0, "are the images shifted right by 6.0 pixels?"),
        ("center_x", 12.5, "are the images shifted left by 1.5 pixels?"),
        ("center_y", 16.5, "are the images shifted down by 2.5 pixels?"),
        ("center_y", 11.5, "are the images shifted up by 2.5 pixels?"),
        ("mean_intensity", 0.2, "have the pixel values been made larger?"),
        ("mean_intensity", 0.07, "have the pixel values been made smaller?"),
        ("saturation", 0.9, "have the pixel values been made larger?"),
        ("stroke_width", 3.0, "are the strokes thicker?"),
        ("stroke_width", 1.5, "are the strokes thinner?"),
        ("height", 28.0, "are the images cropped, resized, rotated or noisy?"),
        ("mean_intensity", 0.87, "are the images inverted?"),
        ("mean_intensity", 0.0, "is every image blank?"),
    ],
)
def test_one_moved_mean_has_its_hint(name, mean, hint):
    assert explain(name, {**KNOWN, name: mean}, KNOWN) == hint


def test_hardly_moved_means_have_no_hint():
    means = {name: 1.02 * value for name, value in KNOWN.items()}
    assert [explain(name, means, KNOWN) for name in scalars.NAMES] == [""] * len(scalars.NAMES)


@pytest.mark.parametrize("mean", [0.0, 0.87])
def test_a_fault_of_brightness_is_hinted_at_once(mean):
    means = {name: 5 * value for name, value in KNOWN.items()} | {"mean_intensity": mean}
    hints = {name: explain(name, means, KNOWN) for name in scalars.NAMES}
    assert [name for name, hint in hints.items() if hint] == ["mean_intensity"]


def test_transposed_and_mirrored_images_are_asked_for_by_name():
    known = {**KNOWN, "center_x": 14.6}
    turned = {**known, "height": known["width"] * 1.01, "width": known["height"]}
    for name in ("height", "width"):
        assert explain(name, turned, known) == (
            "are the images transposed, their rows and columns swapped?"
        )
    square = {**known, "height": 19.0, "width": 19.6}
    assert "transposed" not in explain("height", {**square, "height": 24.0}, square)
    mirrored = {**known, "center_x": 27 - 14.6 + 0.02}
    assert explain("center_x", mirrored, known) == (
        "are the images shifted left by 2.2 pixels, mirrored or turned by 180 degrees?"
    )
