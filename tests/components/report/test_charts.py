import math
import re
import xml.etree.ElementTree as ET

import pytest

from components.report.charts import bar_chart, gate_strip, line_chart


def svg(markup: str) -> ET.Element:
    return ET.fromstring(markup[: markup.index("</svg>") + len("</svg>")])


def path_points(markup: str) -> list[list[tuple[float, float]]]:
    paths = [p.get("d") for p in svg(markup).iter("path")]
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]
        for path in paths
    ]


def test_a_line_runs_from_the_left_to_the_right_edge_and_falls_as_the_loss_does():
    [points] = path_points(
        line_chart({"loss": ([0, 50, 100], [3.0, 2.0, 1.0])}, "step", "loss", "t")
    )
    assert [x for x, _ in points] == [58.0, 223.0, 388.0]
    assert [y for _, y in points] == sorted(y for _, y in points)  # SVG's y points down


def test_values_that_are_not_finite_break_the_line():
    chart = line_chart({"loss": ([1, 2, 3, 4], [1.0, math.nan, None, 2.0])}, "step", "loss", "t")
    [path] = svg(chart).iter("path")
    assert path.get("d").count("M") == 2 and "nan" not in chart


def test_long_curves_are_thinned_to_their_means():
    x = list(range(6000))
    chart = line_chart({"loss": (x, [1.0, 3.0] * 3000)}, "step", "loss", "t")
    [points] = path_points(chart)
    assert [t.text for t in svg(chart).iter("text")][-4:-1] == ["0", "3000", "5999"]
    assert len(points) <= 240
    assert len({y for _, y in points}) <= 2  # the mean of 1 and 3 all along


def test_a_wide_range_is_drawn_on_a_logarithmic_axis():
    chart = line_chart({"loss": ([1, 2, 3], [100.0, 1.0, 0.01])}, "step", "loss", "t")
    [points] = path_points(chart)
    (_, top), (_, middle), (_, bottom) = points
    assert middle == pytest.approx((top + bottom) / 2, abs=0.2)


def test_numbers_of_a_narrow_range_are_told_apart():
    chart = line_chart({"loss": ([20, 21], [0.25782, 0.25761])}, "step", "loss", "title")
    ticks = re.findall(r'text-anchor="end">([0-9.]+)<', chart)
    assert "0.2578" in ticks and len(set(ticks)) == len(ticks) >= 4


def test_a_constant_curve_and_a_single_point_can_be_drawn():
    assert path_points(line_chart({"a": ([1, 2], [5.0, 5.0])}, "step", "loss", "t"))
    [dot] = svg(line_chart({"a": ([1], [0.0])}, "step", "loss", "t")).iter("circle")
    assert dot.get("r") == "3"


def test_nothing_to_draw_gives_nothing():
    assert line_chart({"a": ([1, 2], [math.nan, None])}, "step", "loss", "t") == ""
    assert bar_chart([], {}, "x", "y", "t") == ""


def test_names_are_escaped():
    chart = line_chart({"<b>": ([1, 2], [1.0, 2.0])}, "<x>", "loss", 'a "quoted" title')
    assert "<b>" not in chart and "<x>" not in chart
    assert svg(chart).get("aria-label") == 'a "quoted" title'


def test_bars_stand_on_zero_with_heights_in_proportion():
    bars = list(svg(bar_chart(["0", "1"], {"train": [5.0, 10.0]}, "x", "y", "t")).iter("rect"))
    heights = [float(bar.get("height")) for bar in bars]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.01)
    bottoms = {round(float(b.get("y")) + float(b.get("height"))) for b in bars}
    assert bottoms == {206}


def words(markup: str) -> list[str]:
    return [text.text for text in svg(markup).iter("text")]


def test_both_axes_say_what_they_show():
    assert {"step", "loss (nats)"} <= set(
        words(line_chart({"a": ([1, 2], [1.0, 2.0])}, "step", "loss (nats)", "t"))
    )
    assert "loss, logarithmic" in words(line_chart({"a": ([1, 2], [1, 99])}, "step", "loss", "t"))
    assert {"label", "share (%)"} <= set(
        words(bar_chart(["0"], {"train": [5.0]}, "label", "share (%)", "t"))
    )


def places(strip: str) -> dict[str, float]:
    """Where each mark of a gate's strip stands, by its class."""
    found = {}
    for mark in svg(strip).iter():
        if mark.tag == "path":
            found[mark.get("class")] = float(re.match(r"M([\d.]+)", mark.get("d"))[1])
        if mark.tag == "circle":
            found["value"] = float(mark.get("cx"))
        if mark.tag == "rect":
            left = float(mark.get("x"))
            found["pass"] = (left, left + float(mark.get("width")))
    return found


def test_a_gates_strip_shades_the_side_that_passes_and_orders_its_marks_by_value():
    at = places(gate_strip(2.0, (1.8, 2.3), 3.0, "max", champion=2.5, limit=2.7, title="t"))
    assert at["spread"] < at["value"] < at["rival"] < at["limit"] < at["threshold"]
    assert at["pass"] == (0.0, at["threshold"])
    at = places(gate_strip(2.0, None, 3.0, "min"))
    assert at["value"] < at["threshold"] == at["pass"][0] and at["pass"][1] == 160.0
    assert "spread" not in at and "rival" not in at


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_gate_without_a_value_has_no_strip(value):
    assert gate_strip(value, None, 1.0, "max") == ""


def test_a_threshold_that_is_out_of_sight_has_no_strip():
    assert gate_strip(100.0, (90.0, 110.0), 1e6, "max") == ""
    assert gate_strip(0.0, None, 0.0, "max") != ""
