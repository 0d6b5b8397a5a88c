"""Charts: marks stand where the numbers say, and words are escaped."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.page.charts import Bar, Line, Scale, bars, heatmap, histogram, intervals, lines, scatter

EVIL = '<script>alert("1")</script>'
NAN = math.nan


def _tree(markup: str) -> ET.Element:
    return ET.fromstring(markup)


@given(st.floats(0.01, 1e6), st.floats(1.5, 1e4), st.booleans(), st.floats(0, 1))
def test_a_scale_is_linear_or_logarithmic_between_its_ends(low: float, factor: float, log: bool, share: float) -> None:
    high = low * factor
    scale = Scale(low, high, 10, 110, log)
    value = low * factor**share if log else low + (high - low) * share
    assert scale(value) == pytest.approx(10 + 100 * share, abs=1e-4)
    ticks = scale.ticks()
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)
    assert ticks == sorted(ticks)
    assert len(ticks) <= 12


def test_a_scale_without_extent_does_not_divide_by_zero() -> None:
    assert Scale(3, 3, 10, 20)(3) == 10
    assert Scale(3, 3, 10, 20).ticks() == [3]


def test_an_interval_stands_at_its_ends() -> None:
    chart = intervals([Bar("model", 50, 40, 60, "50 %"), Bar("other", 10, NAN, NAN, "10 %", "other")], title="t", axis="a", top=100)
    scale = Scale(0, 100, 12, 368)
    tree = _tree(chart)
    dots = [float(dot.attrib["cx"]) for dot in tree.iter("circle")]
    assert dots == pytest.approx([scale(50), scale(10)], abs=0.06)
    whiskers = [one.attrib["d"] for one in tree.iter("path")]
    assert len(whiskers) == 1
    a, b = re.findall(r"M([\d.]+) [\d.]+H([\d.]+)", whiskers[0])[0]
    assert (float(a), float(b)) == pytest.approx((scale(40), scale(60)), abs=0.06)


def test_bars_are_as_long_as_their_shares() -> None:
    tree = _tree(bars([Bar("own", 100, 90, 100, "x", "own"), Bar("blank", 25, 20, 30, "y", "blank")], title="t", axis="a"))
    full, quarter = (float(one.attrib["width"]) for one in tree.iter("rect"))
    assert quarter == pytest.approx(full / 4, abs=0.1)


def test_equal_readings_stand_on_the_diagonal() -> None:
    tree = _tree(scatter([(10, 10, "a"), (1000, 1000, "b"), (100, 200, "c")], title="t", x_axis="x", y_axis="y"))
    line = next(one for one in tree.iter("line") if one.attrib["class"] == "diagonal")
    x1, y1, x2, y2 = (float(line.attrib[key]) for key in ("x1", "y1", "x2", "y2"))
    heights = []
    for dot in tree.iter("circle"):
        x, y = float(dot.attrib["cx"]), float(dot.attrib["cy"])
        heights.append(y1 + (y2 - y1) * (x - x1) / (x2 - x1) - y)
    assert [heights[0], heights[2]] == pytest.approx([0, 0], abs=0.15)  # they stand from left to right
    assert heights[1] > 10  # read too high: above the line


def test_numbers_at_or_below_zero_take_a_linear_axis() -> None:
    tree = _tree(scatter([(0, -5, "a"), (100, 90, "b")], title="t", x_axis="x", y_axis="y"))
    assert len(list(tree.iter("circle"))) == 2


def test_lines_go_through_their_points_and_are_named() -> None:
    tree = _tree(lines([Line("one", [(0, 1), (10, 3)]), Line("two", [(5, 2)]), Line("none", [])], title="t", x_axis="x", y_axis="y"))
    assert len(list(tree.iter("polyline"))) == 2
    assert {"one", "two"} <= {one.text for one in tree.iter("text")}
    assert "none" not in {one.text for one in tree.iter("text")}


def test_a_heat_map_shows_every_count_that_is_not_zero() -> None:
    tree = _tree(heatmap(["a", "b"], ["a", "b", "(unread)"], [[3, 0, 1], [0, 5, 0]], title="t"))
    counts = [one.text for one in tree.iter("text") if "count" in one.attrib["class"]]
    assert counts == ["3", "1", "5"]
    classes = [one.attrib["class"] for one in tree.iter("rect")]
    assert (classes.count("cell right"), classes.count("cell wrong")) == (2, 1)
    assert "\u2068a\u2069 answered \u2068(unread)\u2069: 1 of 4" in {one.text for one in tree.iter("title")}


def test_nothing_to_draw_draws_nothing() -> None:
    assert intervals([Bar("a", NAN, NAN, NAN, "none")], title="t", axis="a") == ""
    assert lines([Line("a", [])], title="t", x_axis="x", y_axis="y") == ""
    assert scatter([], title="t", x_axis="x", y_axis="y") == ""


@pytest.mark.parametrize(
    "chart",
    [
        intervals([Bar(EVIL, 1, 0, 2, EVIL)], title=EVIL, axis=EVIL),
        bars([Bar(EVIL, 1, 0, 2, EVIL)], title=EVIL, axis=EVIL),
        lines([Line(EVIL, [(0, 1), (1, 2)])], title=EVIL, x_axis=EVIL, y_axis=EVIL),
        scatter([(1, 2, EVIL)], title=EVIL, x_axis=EVIL, y_axis=EVIL),
        heatmap([EVIL], [EVIL], [[1]], title=EVIL),
    ],
)
def test_words_in_a_chart_are_only_words(chart: str) -> None:
    tree = _tree(chart)
    assert not list(tree.iter("script"))
    assert tree.attrib["aria-label"] == EVIL
    assert any(EVIL in (one.text or "") or (one.text or "").startswith("<script>") for one in tree.iter())


def test_a_histogram_counts_every_value_once_and_takes_logarithmic_steps_for_wide_prices() -> None:
    prices = [10.0] * 5 + [100.0] * 2 + [10_000.0]
    chart = histogram(prices, title="t", axis=EVIL, unit="USD")
    words = [one.text or "" for one in _tree(chart).iter("title")]
    counts = [int(one.rsplit(": ", 1)[1]) for one in words]
    assert sum(counts) == len(prices)
    assert (counts[0], counts[-1], counts[8]) == (5, 1, 2), "24 steps over three decades: 100 begins the ninth"
    assert words[8].startswith("100 to ")
    assert "logarithmic" in chart
    assert EVIL not in chart


@pytest.mark.parametrize("values", [[7.0], [0.0, 0.0], [-3.0, 0.0, 5.0]])
def test_a_histogram_of_few_or_negative_values_is_linear(values: list[float]) -> None:
    chart = histogram(values, title="t", axis="a")
    assert "logarithmic" not in chart
    assert sum(int((one.text or "").rsplit(": ", 1)[1]) for one in _tree(chart).iter("title")) == len(values)
    assert histogram([], title="t", axis="a") == ""
