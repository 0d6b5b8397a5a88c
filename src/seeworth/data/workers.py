"""Work spread over processes, its results in order and only a window of it under way, so that memory stays flat however much there is.

Knows nothing of the work.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import Any, TypeVar

A = TypeVar("A")
R = TypeVar("R")

_work: Callable[[Any], Any]  # in a worker process: what it does with an item


def processors() -> int:
    """Processors this process may use; a container is often given fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(make: Callable[[], Callable[[A], R]], items: Iterable[A], processes: int) -> Iterator[R]:
    """make()(item) of each item, in their order.

    `make` is called once in each process, so that what the work needs travels once and not with every item; with one process all is
    done here. `make`, items and results must pickle.
    """
    if processes == 1:
        yield from map(make(), items)
        return
    items = iter(items)
    # spawn, not fork: the caller may hold torch's threads, which a fork would copy half-alive
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_begin, initargs=(make,)) as pool:
        waiting: deque[Future[R]] = deque(pool.submit(_do, item) for item in islice(items, 8 * processes))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(_do, item) for item in islice(items, 1))
                yield result
        finally:
            for future in waiting:  # the reader has stopped early
                future.cancel()


def _begin(make: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    _work = make()


def _do(item: Any) -> Any:
    return _work(item)
