"""Work over processes: in order, with little under way, and what fails is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from seeworth.data.workers import in_order


def doubler() -> Callable[[int], tuple[int, int]]:
    return _double


def _double(number: int) -> tuple[int, int]:
    if number == 13:
        raise ValueError("thirteen")
    return 2 * number, os.getpid()


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_items(processes: int) -> None:
    results = list(in_order(doubler, range(12), processes))
    assert [number for number, _ in results] == list(range(0, 24, 2))
    assert (os.getpid() in {process for _, process in results}) == (processes == 1)


def test_only_a_window_of_the_items_is_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield 0

    results = in_order(doubler, items(), 2)
    next(results)
    assert len(taken) <= 17
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_fails_in_a_process_is_raised_here(processes: int) -> None:
    with pytest.raises(ValueError, match="thirteen"):
        list(in_order(partial(doubler), [12, 13], processes))
