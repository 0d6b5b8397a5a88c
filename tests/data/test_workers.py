"""Work over processes: in order, with little under way, what fails is told, and what kills its process costs itself alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from seeworth.data.workers import Workers, in_order


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


def _half(number: int) -> int:
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def test_what_kills_its_worker_costs_itself_alone() -> None:
    with Workers(2) as workers:
        futures = [workers.submit(_half, items, lambda number: -number) for items in ([0, 2], [4, 13, 6], [8], [10, 12])]
        assert [future.result() for future in futures] == [[0, 1], [2, -13, 3], [4], [5, 6]]
        assert workers.submit(_half, [14], abs).result() == [7], "there is a new pool"


@pytest.mark.parametrize("processes", [1, 2])
def test_what_fails_in_a_worker_is_raised_by_its_future(processes: int) -> None:
    with Workers(processes) as workers:
        failed, good = workers.submit(_half, [2, 3], abs), workers.submit(_half, [2], abs)
        assert good.result() == [1]
        with pytest.raises(ValueError, match="3 is odd"):
            failed.result()
