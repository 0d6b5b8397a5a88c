"""What samples tell of choices and numbers, held against counting by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seeworth.record import Prediction
from seeworth.samples import told_by_samples
from seeworth.task import Field, Task

TASK = Task(answer="{kind} at {price}", fields=(Field("kind", "category"), Field("price", "number", "USD")))
SAYS = st.lists(st.tuples(st.sampled_from(["Hat", "Coat", "Belt"]), st.integers(-50, 50)), min_size=1, max_size=30)


@given(SAYS)
def test_shares_median_and_spread_are_those_of_the_samples(said: list[tuple[str, int]]) -> None:
    texts = tuple(f"{kind} at {price}" for kind, price in said)
    found = told_by_samples(TASK, Prediction("1", texts[0], 0.1, texts))
    kinds, prices = Counter(kind for kind, _ in said), sorted(price for _, price in said)
    assert found.distribution["kind"]["choices"] == {kind: round(count / len(said), 6) for kind, count in kinds.items()}
    told = found.distribution["price"]
    assert told["median"] == np.quantile(prices, 0.5, method="inverted_cdf")
    assert told["low"] == np.quantile(prices, 0.05, method="inverted_cdf")
    assert told["high"] == np.quantile(prices, 0.95, method="inverted_cdf")
    assert told["covered"] == 1
    shares = Counter(prices)
    assert [p for _, p in told["values"]] == [round(count / len(said), 6) for _, count in shares.most_common(20)]
    assert all(p == round(shares[price] / len(said), 6) for price, p in told["values"])
    assert found.confidence == {
        "kind": round(kinds[said[0][0]] / len(said), 6), "price": round(prices.count(said[0][1]) / len(said), 6),
    }  # fmt: skip


def test_what_cannot_be_read_is_no_sample_and_lowers_what_is_covered() -> None:
    found = told_by_samples(TASK, Prediction("1", "nothing", 0.1, ("Hat at 5", "Hat at dear", "??", "Coat at 7")))
    assert found.distribution["price"]["covered"] == 0.5
    assert found.distribution["kind"]["choices"] == {"Hat": 0.666667, "Coat": 0.333333}
    assert found.confidence == {}


def test_what_was_told_stays_and_without_samples_nothing_is() -> None:
    told = Prediction("1", "Hat at 5", 0.1, ("Coat at 7",), {"kind": 0.9}, {"kind": {"choices": {"Hat": 0.9, "Coat": 0.1}}})
    found = told_by_samples(TASK, told)
    assert found.distribution["kind"] == told.distribution["kind"]
    assert found.confidence == {"kind": 0.9, "price": 0.0}
    plain = Prediction("1", "Hat at 5", 0.1)
    assert told_by_samples(TASK, plain) is plain
    silent = Prediction("1", "Hat at 5", 0.1, ("nothing",))
    assert told_by_samples(TASK, silent) == silent
