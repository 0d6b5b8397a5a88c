"""What a person sees while it trains: a bar on a terminal; elsewhere a line on stdout whenever log.jsonl gets one, so that the lines grow
with the log and not with the hours. Knows nothing of the loop.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..say import many

NARROW = 70  # columns of a terminal in which there is room for the first of these alone
SHOWN = {  # figure: how it is called
    "train/loss": "loss {:.4g}",
    "eval/loss": "validation loss {:.4g}",
    "train/photos_per_second": "{:.3g} photos/s",
}


class Telling:
    """How far a training is.

    Args:
        start, total: optimizer steps done at the start, and at the end. bar: to draw on; None prints lines. silent: neither.
    """

    def __init__(self, start: int, total: int, *, bar: Progress | None = None, silent: bool = False) -> None:
        self.start, self.total, self.bar, self.silent = start, total, bar, silent
        self.most = 1 if bar is not None and bar.console.width < NARROW else len(SHOWN)
        self.began = time.monotonic()
        self.figures: dict[str, float] = {}
        self.task = None if bar is None else bar.add_task("training", total=total, completed=start, figures="")

    def step(self, step: int) -> None:
        """So many optimizer steps are done."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=step, figures=words(self.figures, self.most))

    def hear(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures at a step, of which a person is told a few."""
        self.figures |= {name: value for name, value in figures.items() if name in SHOWN}
        said = words(figures)
        if self.bar is None and said and not self.silent:
            left = "" if step >= self.total else f", {self._left(step)} left"
            print(f"step {step} of {self.total}: {said}{left}", flush=True)

    def _left(self, step: int) -> str:
        done = max(step - self.start, 1)
        return duration((self.total - step) * (time.monotonic() - self.began) / done)


@contextmanager
def telling(start: int, total: int, *, silent: bool) -> Generator[Telling, None, None]:
    """Around the training of the steps from `start` to `total`."""
    console = Console(stderr=True)
    if silent or not console.is_terminal:
        yield Telling(start, total, silent=silent)
        return
    figures = TextColumn("{task.fields[figures]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), figures, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        yield Telling(start, total, bar=bar)


def words(figures: Mapping[str, float], most: int = len(SHOWN)) -> str:
    """The figures that a person is told: "loss 1.31, 80 photos/s"; where all records are words alone there are no photos."""
    return ", ".join([form.format(figures[name]) for name, form in SHOWN.items() if figures.get(name)][:most])


def duration(seconds: float) -> str:
    """In words: 0.2 is "less than a second", 1 "1 second", 59 "59 seconds", 720 "12 minutes", 12240 "3.4 hours"."""
    if seconds < 120:
        return many(round(seconds), "second") if seconds >= 0.5 else "less than a second"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
