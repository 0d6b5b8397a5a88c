"""Work spread over processes.

    in_order    the results in the order of the items, a window of them under way: memory stays flat however many there are
    Workers     results as futures; what kills its process, as a photo made to crash a decoder may, costs itself alone

A worker ends when its parent does, even when that was killed. Knows nothing of the work.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any, TypeVar

from ..memory import keep_freed_memory

A = TypeVar("A")
R = TypeVar("R")

_work: Callable[[Any], Any]  # in a worker process of `in_order`: what it does with an item


def processors() -> int:
    """Processors this process may use; a container is often given fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Processes that do some items at a time; with one process, a thread of this one.

    When a worker dies, the items that its pool had in hand are done again, one after the other in a process of their own:
    who dies again is the culprit. Items, results and the work must pickle, and doing an item twice must do no harm.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.most = 3 * processes + 1  # calls under way: each worker has one in hand, one waiting and one being noted
        self._threads = ThreadPoolExecutor(1 if processes == 1 else self.most)  # each waits for one call
        self._lock = threading.Lock()
        self._alone = threading.Lock()
        self._pool = None if processes == 1 else _pool(processes)
        if self._pool:
            self._pool.submit(int)  # so that they start now, while the first items are looked for

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, work: Callable[[A], R], items: Sequence[A], lost: Callable[[A], R]) -> Future[list[R]]:
        """work(item) of each item, by one worker; lost(item), called here, for one that killed two of them."""
        return self._threads.submit(self._do, work, items, lost)

    def hand_out(self, work: Callable[[A], R], items: Sequence[A], lost: Callable[[A], R]) -> Future[list[R]]:
        """The same for a caller that may be kept waiting: with one process all is done at once, for two threads only disturb each other."""
        if self._pool:
            return self.submit(work, items, lost)
        done: Future[list[R]] = Future()
        done.set_result(_each(work, items))
        return done

    def _do(self, work: Callable[[A], R], items: Sequence[A], lost: Callable[[A], R]) -> list[R]:
        pool = self._pool
        if pool is None:
            return _each(work, items)
        try:
            return pool.submit(_each, work, items).result()
        except BrokenProcessPool:
            with self._lock:
                if self._pool is pool:
                    self._pool = _pool(self.processes)
        with self._alone:
            return [_once_more(work, item, lost) for item in items]


def in_order(make: Callable[[], Callable[[A], R]], items: Iterable[A], processes: int) -> Iterator[R]:
    """make()(item) of each item, in their order.

    `make` is called once in each process, so that what the work needs travels once and not with every item; with one process all is
    done here. `make`, items and results must pickle.
    """
    if processes == 1:
        yield from map(make(), items)
        return
    items = iter(items)
    with _pool(processes, make) as pool:
        waiting: deque[Future[R]] = deque(pool.submit(_made, item) for item in islice(items, 8 * processes))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(_made, item) for item in islice(items, 1))
                yield result
        finally:
            for future in waiting:  # the reader has stopped early
                future.cancel()


def _pool(processes: int, make: Callable[[], Callable[[Any], Any]] | None = None) -> ProcessPoolExecutor:
    # spawn, not fork: a process that already runs threads (a tracker, Arrow, torch) cannot be forked safely
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(make,))


def _begin(make: Callable[[], Callable[[Any], Any]] | None) -> None:
    """In a worker: leave the keyboard to the parent, and end with it; a pool's worker would wait for work for ever."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory(megabytes=256)
    parent = parent_process()
    if parent:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    if make:
        _work = make()


def _made(item: Any) -> Any:
    return _work(item)


def _each(work: Callable[[A], R], items: Sequence[A]) -> list[R]:
    return [work(item) for item in items]


def _once_more(work: Callable[[A], R], item: A, lost: Callable[[A], R]) -> R:
    with _pool(1) as pool:
        try:
            return pool.submit(work, item).result()
        except BrokenProcessPool:
            return lost(item)
