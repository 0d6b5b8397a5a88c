"""A worker that dies takes nobody with it."""

from __future__ import annotations

import operator
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import pytest

from seeworth.data.workers import _one_by_one, _pool, in_workers

DOUBLE = partial(operator.mul, 2)
SEGFAULT = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


def test_results_come_in_order_and_none_is_lost() -> None:
    assert list(in_workers(DOUBLE, range(100), 2, lambda item: -item)) == [2 * number for number in range(100)]


def test_an_item_that_kills_its_worker_is_named_and_the_others_are_done() -> None:
    """`exec` is the work: most items compute, three crash as a decoder written in C would."""
    items = ["pass"] * 30
    items[5] = items[6] = items[29] = SEGFAULT
    fates = list(in_workers(exec, items, 2, lambda item: "lost"))
    assert [number for number, fate in enumerate(fates) if fate == "lost"] == [5, 6, 29]
    assert fates.count(None) == 27


def test_an_error_of_the_work_itself_is_not_taken_for_a_dead_worker() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_workers(partial(operator.floordiv, 1), [1, 0], 1, lambda item: -1))


def test_a_pool_that_dies_is_replaced_for_the_items_after_it() -> None:
    assert list(_one_by_one(exec, [SEGFAULT, "pass", SEGFAULT], lambda item: "lost")) == ["lost", None, "lost"]


def test_such_a_death_breaks_a_plain_pool() -> None:
    """What the others rest on: the pool tells of it and does not hang."""
    with _pool(1) as pool, pytest.raises(BrokenProcessPool):
        pool.submit(exec, SEGFAULT).result()
