"""Slices: every record in one of them, weak ones marked."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.errors import SettingsError
from seeworth.evaluate.core import Answers, evaluate
from seeworth.evaluate.slices import BANDS, MOST, NOTHING, REST, bands, column_of
from seeworth.record import Prediction, Record
from seeworth.task import Task

TASK = Task()


def _records(n: int) -> list[Record]:
    rows = [{"title": f"t{i}", "category3_code": "c", "full_price": Decimal(10 * (i + 1)), "brand": "ab"[i % 4 == 0]} for i in range(n)]
    return [Record(str(i), Path("none"), row, f"g{i}") for i, row in enumerate(rows)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_bands_hold_every_record_once_and_part_no_equals(values: list[float]) -> None:
    found = bands(values)
    assert sorted(place for one in found for place in one.places) == list(range(len(values)))
    assert len(found) <= BANDS
    ends = [(min(values[p] for p in one.places), max(values[p] for p in one.places)) for one in found]
    assert all(high < low for (_, high), (low, _) in pairwise(ends))


def test_bands_of_distinct_numbers_are_quarters() -> None:
    assert [len(one.places) for one in bands([float(n) for n in range(80)])] == [20, 20, 20, 20]
    assert [one.name for one in bands([3.0, 3.0])] == ["3"]


def test_a_column_has_a_slice_a_value_and_the_rare_ones_share_one() -> None:
    values = [str(n) for n in range(MOST) for _ in range(3)] + ["rare", "rarer", ""]
    records = [Record(str(i), None, {"brand": value}, str(i)) for i, value in enumerate(values)]
    found = {one.name: len(one.places) for one in column_of(records, "brand")}
    assert found[REST] == 3
    assert len(found) == MOST + 1
    assert column_of([Record("0", None, {"brand": ""}, "g"), Record("1", None, {"brand": "x"}, "h")], "brand")[0].name == NOTHING


def test_a_column_that_there_is_not_is_told_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="no record has a column 'colour', the columns are brand, category3_code, full_price, title"):
        column_of(_records(3), "colour")


def test_a_slice_has_the_figures_of_its_records_and_few_groups_are_weak() -> None:
    records = _records(100)
    off = {"a": 1, "b": 5}
    prices = [one.values["full_price"] + off[str(one.values["brand"])] for one in records]  # type: ignore[operator]
    said = [Prediction(one.id, TASK.write({**one.values, "full_price": price}), 0) for one, price in zip(records, prices, strict=True)]
    content = evaluate(TASK, records, Answers(said), slices=["brand"], resamples=50)
    price, brand = content["slices"]
    assert (price["column"], brand["column"]) == ("full_price", "brand")
    assert [one["n"] for one in price["slices"]] == [25, 25, 25, 25]
    assert all(one["weak"] for one in price["slices"])
    a, b = brand["slices"]
    assert (a["name"], a["n"], a["groups"], a["weak"]) == ("a", 75, 75, False)
    assert (b["name"], b["n"], b["weak"]) == ("b", 25, True)
    assert a["figures"]["full_price_mae"] == {"value": 1, "low": 1, "high": 1, "n": 75}
    assert b["figures"]["full_price_bias"]["value"] == 5
