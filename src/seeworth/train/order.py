"""Which records stand in which forward pass of which step: a pure function of seed, epoch and lengths.

A resumed training therefore starts anywhere without drawing what came before, and a training on several processes takes the
same records in each optimizer step as on one: only who computes them differs. Knows nothing of photos, files or models.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Micro = tuple[int, ...]  # records of one forward pass, as indices
WINDOW = 16  # forward passes whose records are sorted by length together: sorting all would make batches of one kind only


@dataclass(frozen=True)
class Order:
    """The order of one training.

    Args:
        lengths: tokens of each record, of at least one.
        batch_size: records in a forward pass.
        accumulation: forward passes in an optimizer step, on each process.
        processes: how many share a step.
        max_tokens: when above 0 a forward pass holds as many records as keep `records * longest` (packed: the sum) within it,
            whatever batch_size says; a record that is longer stands alone.
        by_length: records of about the same length stand together.
        packed: records are laid end to end, so that no padding counts.

    Raises ValueError where there is no record, or less than one in a forward pass or a step.
    """

    lengths: Sequence[int]
    batch_size: int
    accumulation: int = 1
    processes: int = 1
    max_tokens: int = 0
    by_length: bool = False
    packed: bool = False
    seed: int = 0
    _counts: dict[int, int] = field(default_factory=dict, init=False, repr=False, compare=False)  # steps of epochs that were made
    _latest: dict[int, list[tuple[Micro, ...]]] = field(default_factory=dict, init=False, repr=False, compare=False)  # one epoch

    def __post_init__(self) -> None:
        if not self.lengths or min(self.batch_size, self.accumulation, self.processes) < 1:
            raise ValueError(f"no order of {len(self.lengths)} records, {self.batch_size} x {self.accumulation} x {self.processes}")

    def epoch(self, number: int) -> list[tuple[Micro, ...]]:
        """The steps of one pass over the records, each as its forward passes on all processes.

        Every record stands in exactly one of them. Forward passes of a step are a multiple of `processes`; the last
        step's are split for that, and where too few records are left some are empty.
        """
        if number not in self._latest:  # asked for twice in a row: by the loop, and by the loader a little ahead of it
            steps = self._epoch(number)
            self._latest.clear()
            self._latest[number] = steps
        return self._latest[number]

    def count(self, number: int) -> int:
        """Optimizer steps of an epoch. Only under a token budget does it have to be drawn, once."""
        if not self.max_tokens:
            return math.ceil(math.ceil(len(self.lengths) / self.batch_size) / (self.accumulation * self.processes))
        if number not in self._counts:
            self._counts[number] = len(self.epoch(number))
        return self._counts[number]

    def total(self, epochs: float) -> int:
        """Optimizer steps of `epochs` passes, at least 1; a part of a pass counts the steps that it begins, as in HF's Trainer."""
        whole, part = int(epochs), epochs - int(epochs)
        steps = sum(self.count(number) for number in range(whole)) if self.max_tokens else whole * self.count(0)
        if part > 1e-9:  # 1.1 - 1 is a little more than 0.1
            steps += math.ceil(self.count(whole) * part - 1e-6)
        return max(steps, 1)

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, tuple[Micro, ...]]]:
        """(epoch, forward passes) of the steps from `start` to before `stop`, epoch after epoch, made when they are asked for."""
        number, first = 0, 0
        while first < stop:
            count = self.count(number)
            if first + count > start:
                steps = self.epoch(number)
                for at in range(max(start - first, 0), min(stop - first, count)):
                    yield number, steps[at]
            number, first = number + 1, first + count

    def account(self) -> dict[str, Any]:
        """All that decides the order, JSON-able: a training goes on only in the order that it began with."""
        lengths = hashlib.blake2b(",".join(map(str, self.lengths)).encode(), digest_size=8).hexdigest()
        names = ("batch_size", "max_tokens", "by_length", "packed", "seed")
        passes = self.accumulation * self.processes
        return {"records": len(self.lengths), "lengths": lengths, "passes": passes, **{name: getattr(self, name) for name in names}}

    def _epoch(self, number: int) -> list[tuple[Micro, ...]]:
        draw = random.Random(f"{self.seed}/{number}")
        records = list(range(len(self.lengths)))
        draw.shuffle(records)
        micros = self._by_length(records, draw) if self.by_length else self._cut(records)
        size = self.accumulation * self.processes
        steps = [tuple(micros[start : start + size]) for start in range(0, len(micros), size)]
        steps[-1] = tuple(_even(list(steps[-1]), self.processes))
        return steps

    def _by_length(self, records: list[int], draw: random.Random) -> list[Micro]:
        """Sorted within windows of the shuffled records, cut, and shuffled again: the window's own order says nothing."""
        window = self.window()
        micros: list[Micro] = []
        for start in range(0, len(records), window):
            cut = self._cut(sorted(records[start : start + window], key=self.lengths.__getitem__))
            draw.shuffle(cut)
            micros += cut
        return micros

    def window(self) -> int:
        """How many shuffled records are sorted by length together: those of about `WINDOW` forward passes."""
        size = self.max_tokens * len(self.lengths) // max(sum(self.lengths), 1) if self.max_tokens else self.batch_size
        return WINDOW * max(size, 1)

    def _cut(self, records: Sequence[int]) -> list[Micro]:
        if not self.max_tokens:
            return [tuple(records[start : start + self.batch_size]) for start in range(0, len(records), self.batch_size)]
        micros: list[Micro] = []
        held: list[int] = []
        longest = total = 0
        for at in records:
            length = self.lengths[at]
            cost = total + length if self.packed else (len(held) + 1) * max(longest, length)
            if held and cost > self.max_tokens:
                micros.append(tuple(held))
                held, longest, total = [], 0, 0
            held.append(at)
            longest, total = max(longest, length), total + length
        return [*micros, tuple(held)]


def _even(micros: list[Micro], processes: int) -> list[Micro]:
    """As many as a multiple of `processes`, by halving the largest; then by empty ones."""
    while len(micros) % processes:
        largest = max(range(len(micros)), key=lambda at: len(micros[at]))
        records = micros[largest]
        if len(records) < 2:
            micros.append(())
        else:
            middle = len(records) // 2
            micros[largest : largest + 1] = [records[:middle], records[middle:]]
    return micros
