"""Estimates: right values, intervals that cover as often as they say, groups drawn whole."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.evaluate.estimate import LEVEL, Estimate, Statistic, _draws, difference, estimate, mean, median, ratio, share
from seeworth.evaluate.measures import codes, macro_f1, root_mean_square

FLOATS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def _own(n: int) -> list[str]:
    return [str(i) for i in range(n)]


@given(FLOATS)
def test_the_values_are_those_of_numpy(values: list[float]) -> None:
    array = np.array(values)
    groups = _own(len(values))
    assert estimate(array, groups, mean, resamples=0).value == pytest.approx(array.mean(), rel=1e-9, abs=1e-6)
    assert estimate(array, groups, median, resamples=0).value == pytest.approx(np.median(array), rel=1e-9, abs=1e-6)


@given(FLOATS, st.data())
def test_weights_mean_repetition(values: list[float], data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)).filter(any))
    repeated = np.repeat(values, counts)
    array, weights = np.array(values), np.array([counts], dtype=float)
    assert median(array, weights)[0] == np.median(repeated)
    assert mean(array, weights)[0] == pytest.approx(repeated.mean(), rel=1e-9, abs=1e-6)
    pairs = np.stack([array, np.ones(len(array))], axis=1)
    assert ratio(pairs, weights)[0] == pytest.approx(repeated.sum() / len(repeated), rel=1e-9, abs=1e-6)


def _slowly(values: np.ndarray, groups: list[str], statistic: Statistic, resamples: int, seed: int) -> tuple[float, float]:
    """The interval from the weight of every record in every resample, as numbers with a point."""
    own = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    weights = _draws(int(own.max()) + 1, resamples, seed)[:, own].astype(np.float64)
    low, high = np.nanquantile(statistic(values, weights), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=40), st.integers(0, 5))
def test_sums_of_groups_give_what_weights_of_records_give(rows: list[tuple[float, int, int]], seed: int) -> None:
    groups = [str(group) for _, group, _ in rows]
    if len(set(groups)) < 2:
        return
    values = np.array([value for value, _, _ in rows])
    pairs = np.stack([values, np.abs(values) + 1], axis=1)
    said = codes([(str(kind), str(group % 3)) for _, group, kind in rows])
    for statistic, array in ((mean, values), (median, values), (root_mean_square, values), (ratio, pairs), (macro_f1, said)):
        found = estimate(array, groups, statistic, resamples=60, seed=seed)
        expected = _slowly(array, groups, statistic, 60, seed)
        size = float(np.abs(array).max())
        assert (found.low, found.high) == pytest.approx(expected, rel=1e-9, abs=1e-9 * size)
        if statistic in (median, macro_f1):  # no sum of numbers with a point: not a bit differs
            assert (found.low, found.high) == expected


def test_a_mean_of_normals_is_covered_by_about_95_of_100_intervals() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        found = estimate(rng.normal(3, 1, 60), _own(60), resamples=400, seed=seed)
        hits += found.low <= 3 <= found.high
    assert 0.90 <= hits / 300 <= 0.98  # measured 0.94; an interval half as wide would cover 0.67


def test_records_of_a_group_are_drawn_together() -> None:
    values = np.random.default_rng(0).normal(size=40)
    alone = estimate(values, _own(40))
    five_each = estimate(np.repeat(values, 5), [str(i) for i in np.repeat(np.arange(40), 5)])
    assert (five_each.low, five_each.high) == pytest.approx((alone.low, alone.high))
    naive = estimate(np.repeat(values, 5), _own(200))
    assert naive.high - naive.low < 0.55 * (five_each.high - five_each.low)  # sqrt(5) too narrow


def test_the_interval_of_a_ratio_is_that_of_its_resampled_sums() -> None:
    rng = np.random.default_rng(2)
    pairs = rng.uniform(1, 2, (30, 2))
    draws = np.random.default_rng(5)
    naive = [pairs[draws.integers(30, size=30)].sum(axis=0) for _ in range(4000)]
    low, high = np.quantile([a / b for a, b in naive], [0.025, 0.975])
    found = estimate(pairs, _own(30), ratio, resamples=4000)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)


def test_same_seed_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert estimate(values, _own(50), seed=3) == estimate(values, _own(50), seed=3) != estimate(values, _own(50), seed=4)


def test_pairing_takes_away_what_both_share() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 10, 100)
    one, two = shared + rng.normal(1, 0.1, 100), shared
    paired = difference(one, two, _own(100))
    assert paired.low > 0.9
    assert estimate(one, _own(100)).low < estimate(two, _own(100)).high


def test_no_record_has_no_value_and_one_group_has_no_interval() -> None:
    empty = estimate([], [])
    assert empty.n == 0
    assert math.isnan(empty.value)
    assert empty.to_dict() == {"value": None, "low": None, "high": None, "n": 0}
    single = estimate([1.0, 2.0], ["a", "a"])
    assert (single.value, single.n) == (1.5, 2)
    assert math.isnan(single.low)
    assert math.isnan(Estimate.from_dict(json.loads(json.dumps(empty.to_dict()))).value)


def test_all_right_is_no_certainty() -> None:
    found = share([1.0] * 20, _own(20))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.8316, abs=1e-4)  # Clopper and Pearson for 20 of 20
    none = share([0.0] * 20, _own(20))
    assert (none.low, none.value) == (0, 0)
    assert none.high == pytest.approx(0.1684, abs=1e-4)
    assert share([1.0] * 20, [str(i // 2) for i in range(20)]).low == pytest.approx(0.6915, abs=1e-4)  # 10 groups


def test_a_mixed_share_has_the_plain_interval() -> None:
    hits = [1.0, 0.0] * 20
    assert share(hits, _own(40)) == estimate(hits, _own(40))


def test_values_and_groups_must_match() -> None:
    with pytest.raises(ValueError, match="2 values for 1 groups"):
        estimate([1, 2], ["a"])
