"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere. Knows nothing of the work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

EVERY = 10.0  # seconds between two plain lines


def watched(items: Iterable[T], total: int, words: str) -> Iterator[T]:
    """The items as they come, while stderr tells how far the work is: `words`, done, `total`, rate and time left."""
    console = Console(stderr=True)
    if console.is_terminal:
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(words, total=total, rate="")
            start = time.monotonic()
            for done, item in enumerate(items, 1):
                yield item
                bar.update(task, completed=done, rate=f"{_rate(done, start):.0f}/s")
        return
    start = told = time.monotonic()
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        if (now := time.monotonic()) - told >= EVERY:
            told = now
            print(f"{words}: {done} of {total}, {_rate(done, start):.0f}/s", file=sys.stderr, flush=True)
    print(f"{words}: {done} of {total} done, {_rate(done, start):.0f}/s", file=sys.stderr, flush=True)


def quarters(items: Iterable[T], total: int, verb: str, unit: str, count: Callable[[T], int] = lambda _: 1) -> Iterator[T]:
    """The items as they come, with a bar on a terminal, and elsewhere a plain line on stdout each quarter: drawing: 2 of 8 photos.

    `count` says how many units an item is.
    """
    if sys.stdout.isatty():
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


def _rate(done: int, start: float) -> float:
    return done / max(time.monotonic() - start, 1e-6)
