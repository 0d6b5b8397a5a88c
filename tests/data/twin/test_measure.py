"""Fidelity and privacy: a faithful twin passes, a false one does not, and one that remembers rows is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.data.dataset import Row
from seeworth.data.twin.features import ks_of, wasserstein
from seeworth.data.twin.learn import Structure, learn_rows
from seeworth.data.twin.measure import Figures, measure
from seeworth.data.twin.page import lines
from seeworth.data.twin.rows import Drawer
from seeworth.task import Task

ROWS = 400


@pytest.fixture(scope="module")
def real(real_rows: Callable[..., list[Row]], shop_cells: Callable[[int], list[dict[str, Any]]]) -> list[Row]:
    rng = Random(0)
    rows = [replace(row, phash=f"{rng.getrandbits(64):016x}") for row in real_rows(shop_cells(ROWS))]
    return rows


@pytest.fixture(scope="module")
def structure(real: list[Row], task: Task) -> Structure:
    return learn_rows(task, real, None, "")


@pytest.fixture(scope="module")
def twin(structure: Structure) -> list[Row]:
    drawer = Drawer(structure, ROWS, 0)
    drafts = [draft for number in range(drawer.chunks) for draft in drawer.chunk(number)]
    return [Row(one.id, "", one.group, one.split, 0, 0, "", "", one.values) for one in drafts]


@pytest.fixture(scope="module")
def figures(real: list[Row], twin: list[Row], structure: Structure) -> Figures:
    return measure(real, twin, structure, 0)


def by_name(figures: Figures) -> dict[tuple[str, str], bool]:
    return {(one.what, one.how): one.near for one in figures.distances}


def test_the_twin_is_nearly_everywhere_as_near_as_two_halves(figures: Figures) -> None:
    far = [name for name, near in by_name(figures).items() if not near]
    assert len(figures.distances) >= 12
    assert len(far) <= 3, far


def test_price_given_category_is_measured(figures: Figures) -> None:
    assert ("full_price, given category3_code", "KS, mean over categories") in by_name(figures)


def test_a_real_set_is_as_near_to_itself_as_its_halves_are(real: list[Row], structure: Structure) -> None:
    assert all(by_name(measure(real, real, structure, 0)).values())


def test_dear_prices_are_told(real: list[Row], twin: list[Row], structure: Structure) -> None:
    dear = [replace(row, values={**row.values, "full_price": Decimal(str(row.values["full_price"])) * 2}) for row in twin]
    told = by_name(measure(real, dear, structure, 0))
    assert not told["full_price", "KS"]
    assert not told["full_price", "Wasserstein of logarithms"]


def test_prices_dealt_to_wrong_categories_are_told(real: list[Row], twin: list[Row], structure: Structure) -> None:
    prices = [row.values["full_price"] for row in twin]
    Random(0).shuffle(prices)
    dealt = [replace(row, values={**row.values, "full_price": price}) for row, price in zip(twin, prices, strict=True)]
    told = by_name(measure(real, dealt, structure, 0))
    assert told["full_price", "KS"]
    assert not told["full_price, given category3_code", "KS, mean over categories"]


def test_a_missing_category_is_told(real: list[Row], twin: list[Row], structure: Structure) -> None:
    fewer = [row for row in twin if row.values["category3_code"] != "HATS"]
    assert not by_name(measure(real, fewer, structure, 0))["category1_code > category3_code", "categories"]


def test_a_twin_that_remembers_titles_comes_nearer(real: list[Row], twin: list[Row], structure: Structure, figures: Figures) -> None:
    thief = [replace(mine, values={**mine.values, "title": f"{row.values['title']} x", "category3_code": row.values["category3_code"],
                                   "full_price": row.values["full_price"]}) for mine, row in zip(twin, real, strict=True)]  # fmt: skip
    near = measure(real, thief, structure, 0).nearest[0]
    assert near.closer.value > figures.nearest[0].closer.value + 0.2
    assert near.median_twin.high < figures.nearest[0].median_twin.low


def test_every_figure_has_its_n_and_interval(figures: Figures) -> None:
    assert (figures.rows, figures.twin_rows, figures.groups, figures.part) == (ROWS, ROWS, ROWS // 2, ROWS // 2)
    for near in figures.nearest:
        assert len(near.twin) == len(near.real) == ROWS
        assert near.median_twin.low <= near.median_twin.value <= near.median_twin.high
    assert all(one.low <= one.halves <= one.high for one in figures.distances)


def test_too_small_a_set_has_no_yardstick(real: list[Row], twin: list[Row], task: Task) -> None:
    assert measure(real[:4], twin[:9], learn_rows(task, real[:4], None, ""), 0).distances == ()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_the_ks_distance_is_the_largest_gap_of_the_cumulative_shares(one: list[float], two: list[float]) -> None:
    steps = sorted({*one, *two})
    gap = max(abs(sum(a <= step for a in one) / len(one) - sum(b <= step for b in two) / len(two)) for step in steps)
    assert ks_of(np.array(one), np.array(two)) == pytest.approx(gap)


def test_the_wasserstein_distance_of_a_shift_is_the_shift() -> None:
    numbers = np.concatenate([np.arange(50.0), np.arange(50.0) + 3])
    assert wasserstein(numbers)(np.arange(50), np.arange(50, 100)) == pytest.approx(3)


def test_a_twin_that_comes_too_near_is_told_in_words(real: list[Row], twin: list[Row], structure: Structure, figures: Figures) -> None:
    thief = [replace(mine, values={**mine.values, "title": f"{row.values['title']} x", "category3_code": row.values["category3_code"],
                                   "full_price": row.values["full_price"]}) for mine, row in zip(twin, real, strict=True)]  # fmt: skip
    assert not any("come nearer to a real one" in line for line in lines(figures))
    assert any("come nearer to a real one" in line for line in lines(measure(real, thief, structure, 0)))
