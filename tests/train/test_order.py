"""Order: which records stand in which forward pass of which step."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.train.order import WINDOW, Order


@st.composite
def orders(draw: st.DrawFn, *, processes: int | None = None) -> Order:
    return Order(
        draw(st.lists(st.integers(1, 60), min_size=1, max_size=150)),
        draw(st.integers(1, 7)),
        draw(st.integers(1, 4)),
        processes or draw(st.integers(1, 4)),
        max_tokens=draw(st.sampled_from([0, 0, 1, 50, 100, 500])),
        by_length=draw(st.booleans()),
        packed=draw(st.booleans()),
        seed=draw(st.integers(0, 3)),
    )


@given(orders(), st.integers(0, 3))
def test_every_record_stands_in_an_epoch_exactly_once(order: Order, number: int) -> None:
    seen = Counter(record for step in order.epoch(number) for micro in step for record in micro)
    assert seen == Counter(range(len(order.lengths)))


@given(orders(), st.integers(0, 3))
def test_the_same_settings_give_the_same_order_whatever_was_asked_before(order: Order, number: int) -> None:
    again = replace(order)
    again.total(2.5)
    again.epoch(7)
    assert again.epoch(number) == order.epoch(number)
    assert again.count(number) == len(order.epoch(number))


@given(orders(), st.data())
def test_a_resumed_order_is_the_tail_of_the_whole(order: Order, data: st.DataObject) -> None:
    stop = data.draw(st.integers(0, 3 * order.count(0)))
    start = data.draw(st.integers(0, stop))
    whole = list(order.steps(0, stop))
    assert len(whole) == stop
    assert list(replace(order).steps(start, stop)) == whole[start:]


@given(orders())
def test_epochs_follow_one_another_in_the_steps(order: Order) -> None:
    counts = [order.count(number) for number in range(3)]
    steps = list(order.steps(0, sum(counts)))
    assert [epoch for epoch, _ in steps] == [number for number, count in enumerate(counts) for _ in range(count)]
    assert [step for _, step in steps] == [step for number in range(3) for step in order.epoch(number)]


@given(orders(), st.integers(0, 2))
def test_each_process_has_as_many_forward_passes_in_a_step(order: Order, number: int) -> None:
    steps = order.epoch(number)
    whole = order.accumulation * order.processes
    assert all(len(step) == whole for step in steps[:-1])
    assert 0 < len(steps[-1]) <= whole
    assert len(steps[-1]) % order.processes == 0


@given(orders(processes=1), st.integers(0, 2), st.sampled_from([2, 3]))
def test_more_processes_with_less_accumulation_take_the_same_records_in_each_step(order: Order, number: int, processes: int) -> None:
    alone = replace(order, accumulation=order.accumulation * processes)
    together = replace(order, processes=processes)
    for one, other in zip(alone.epoch(number), together.epoch(number), strict=True):
        assert sorted(record for micro in one for record in micro) == sorted(record for micro in other for record in micro)
    assert alone.epoch(number)[:-1] == together.epoch(number)[:-1]


@given(orders(), st.integers(0, 2))
def test_a_forward_pass_holds_no_more_than_its_size_or_budget(order: Order, number: int) -> None:
    for micro in (micro for step in order.epoch(number) for micro in step if micro):
        lengths = [order.lengths[record] for record in micro]
        if not order.max_tokens:
            assert len(micro) <= order.batch_size
        elif len(micro) > 1:
            assert (sum(lengths) if order.packed else len(lengths) * max(lengths)) <= order.max_tokens


@given(orders(processes=1))
def test_a_budget_is_filled(order: Order) -> None:
    """The next record would not have fitted: two neighbours that were cut apart in the drawn order cost more together."""
    plain = replace(order, by_length=False, max_tokens=order.max_tokens or 40)
    micros = [micro for step in plain.epoch(0) for micro in step]
    for micro, after in pairwise(micros):
        assert plain_cost(plain, [*micro, after[0]]) > plain.max_tokens


def plain_cost(order: Order, records: list[int]) -> int:
    lengths = [order.lengths[record] for record in records]
    return sum(lengths) if order.packed else len(lengths) * max(lengths)


@given(orders(processes=1), st.integers(0, 2))
def test_records_are_sorted_within_windows_of_the_drawn_order_alone(order: Order, number: int) -> None:
    sorted_, drawn = replace(order, by_length=True), replace(order, by_length=False)
    one = [record for step in sorted_.epoch(number) for micro in step for record in micro]
    other = [record for step in drawn.epoch(number) for micro in step for record in micro]
    for start in range(0, len(one), sorted_.window()):
        window = slice(start, start + sorted_.window())
        assert sorted(one[window]) == sorted(other[window])


def test_a_window_holds_about_so_many_forward_passes_even_where_one_record_is_tiny() -> None:
    assert Order([100] * 999, 8, by_length=True).window() == 8 * WINDOW
    assert Order([1, *[100] * 999], 8, max_tokens=1000, by_length=True).window() == 10 * WINDOW


def test_by_length_pads_less() -> None:
    lengths = [1 + number * 37 % 101 for number in range(1000)]

    def padded(order: Order) -> int:
        return sum(len(micro) * max(lengths[one] for one in micro) for step in order.epoch(0) for micro in step)

    share = {by: 1 - sum(lengths) / padded(Order(lengths, 8, by_length=by)) for by in (False, True)}
    assert share[False] > 0.35  # measured: 0.436
    assert share[True] < 0.06  # measured: 0.053


@given(orders(), st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 1.1, 1.5, 2.0, 2.25, 3.0]))
def test_the_total_is_what_the_steps_of_so_many_epochs_are(order: Order, epochs: float) -> None:
    counts = [order.count(number) for number in range(4)]
    whole, part = int(epochs), round(epochs - int(epochs), 6)
    assert order.total(epochs) == max(sum(counts[:whole]) + math.ceil(round(counts[whole] * part, 5)), 1)


def test_epochs_differ_and_so_do_seeds() -> None:
    order = Order([5] * 50, 4)
    assert order.epoch(0) != order.epoch(1)
    assert order.epoch(0) != replace(order, seed=1).epoch(0)


def test_one_record_on_three_processes_is_one_step_with_two_empty_turns() -> None:
    assert Order([7], 4, 2, 3).epoch(0) == [((0,), (), ())]


def test_an_order_of_nothing_is_refused_and_does_not_run_for_ever() -> None:
    for wrong in ({"lengths": []}, {"batch_size": 0}, {"accumulation": 0}, {"processes": 0}):
        with pytest.raises(ValueError, match="no order of"):
            Order(**{"lengths": [1], "batch_size": 1, **wrong})  # type: ignore[arg-type]


def test_a_million_records_resumed_in_their_third_epoch_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    made = Order._epoch
    monkeypatch.setattr(Order, "_epoch", lambda self, number: drawn.append(number) or made(self, number))
    order = Order([100 + number % 700 for number in range(1_000_000)], 8, 2, by_length=True)
    assert order.total(3.0) == 3 * 62_500
    assert drawn == []
    loop, loader = order.steps(150_000, 187_500), order.steps(150_000, 187_500)
    assert next(loader) == next(loop)
    assert drawn == [2]
    assert len([*loop]) == 37_499


@given(orders())
def test_another_order_has_another_account(order: Order) -> None:
    account = order.account()
    assert replace(order).account() == account
    assert replace(order, processes=order.processes + 1).account() != account
    assert replace(order, lengths=[*order.lengths, 3]).account() != account
    assert replace(order, lengths=[order.lengths[0] + 1, *order.lengths[1:]]).account() != account
