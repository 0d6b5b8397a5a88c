"""Work spread over processes, in order, that outlives a worker: one item that kills its process costs itself alone.

A decoder written in C may crash on a file made for that, and the system may kill whoever takes too much memory. Knows
nothing of what the work is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

WINDOW = 2048  # items given to the pool at a time


def in_workers(work: Callable[[T], R], items: Iterable[T], processes: int, lost: Callable[[T], R]) -> Generator[R, None, None]:
    """work(item) of every item in their order; lost(item), called here, of one whose worker died twice on it.

    When a worker dies, what the pool still had to do is done again by one process, item by item, so that the one at fault
    is known. `work` and what it takes and gives must be picklable, and doing an item again must do no harm.
    """
    items = iter(items)
    pool = _pool(processes)
    try:
        while window := list(islice(items, WINDOW)):
            done = 0
            try:
                for result in pool.map(work, window, chunksize=8):
                    done += 1
                    yield result
            except BrokenProcessPool:
                pool.shutdown(wait=False)
                yield from _one_by_one(work, window[done:], lost)
                pool = _pool(processes)
    finally:
        pool.shutdown(cancel_futures=True)


def _one_by_one(work: Callable[[T], R], items: Iterable[T], lost: Callable[[T], R]) -> Generator[R, None, None]:
    pool = _pool(1)
    try:
        for item in items:
            try:
                result = pool.submit(work, item).result()
            except BrokenProcessPool:
                pool.shutdown(wait=False)
                pool = _pool(1)
                result = lost(item)
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(processes: int) -> ProcessPoolExecutor:
    # spawn, not fork: a process that already runs threads (a tracker, Arrow) cannot be forked safely
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
