"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere. Knows nothing of the work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

EVERY = 10.0  # seconds between two plain lines


class Meter:
    """How far a piece of work is: `done` of `total` things, `size` bytes so far."""

    def __init__(self, total: int, words: str) -> None:
        self.total, self.words = total, words
        self.done = self.size = 0
        self._start = self._told = time.monotonic()

    def step(self, count: int = 1, size: int = 0) -> None:
        """So many more things are done, and so many bytes with them."""
        self.done += count
        self.size += size
        if (now := time.monotonic()) - self._told >= EVERY:
            self._told = now
            print(f"{self.words}: {self.done} of {self.total}, {self.rate()}, {self._left()} left", file=sys.stderr, flush=True)

    def rate(self) -> str:
        """Things, and when there are any bytes, a second."""
        seconds = max(time.monotonic() - self._start, 1e-6)
        size = f", {self.size / 1e6:.1f} MB, {self.size / 1e6 / seconds:.1f} MB/s" if self.size else ""
        rate = self.done / seconds
        return f"{rate:.{0 if rate >= 10 else 1}f}/s{size}"

    def _left(self) -> str:
        seconds = round((self.total - self.done) * (time.monotonic() - self._start) / max(self.done, 1))
        return f"{seconds // 3600} h {seconds // 60 % 60} min" if seconds >= 3600 else f"{seconds // 60} min {seconds % 60} s"


class _Bar(Meter):
    """The same on a terminal."""

    def __init__(self, total: int, words: str, bar: Progress) -> None:
        super().__init__(total, words)
        self._bar = bar
        self._task = bar.add_task(words, total=total, rate="")

    def step(self, count: int = 1, size: int = 0) -> None:
        self.done += count
        self.size += size
        self._bar.update(self._task, completed=self.done, rate=self.rate())


@contextmanager
def metered(total: int, words: str) -> Generator[Meter, None, None]:
    """Work that calls `step` as it goes, while stderr tells how far it is: `words`, done, `total`, rate, bytes and time left."""
    console = Console(stderr=True)
    if console.is_terminal:
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            yield _Bar(total, words, bar)
        return
    meter = Meter(total, words)
    yield meter
    print(f"{words}: {meter.done} of {total} done, {meter.rate()}", file=sys.stderr, flush=True)


def watched(items: Iterable[T], total: int, words: str) -> Iterator[T]:
    """The items as they come, while stderr tells how far the work is."""
    with metered(total, words) as meter:
        for item in items:
            yield item
            meter.step()


def quarters(items: Iterable[T], total: int, verb: str, unit: str, count: Callable[[T], int] = lambda _: 1) -> Iterator[T]:
    """The items as they come, with a bar on a terminal, and elsewhere a plain line on stdout each quarter: drawing: 2 of 8 photos.

    `count` says how many units an item is. Of nothing there is nothing to tell.
    """
    if total and sys.stdout.isatty():
        with Progress() as bar:
            task = bar.add_task(verb, total=total)
            for item in items:
                yield item
                bar.advance(task, count(item))
        return
    done = 0
    for item in items:
        yield item
        before, done = done, done + count(item)
        if done * 4 // total > before * 4 // total:
            print(f"{verb}: {done} of {total} {unit}", flush=True)
