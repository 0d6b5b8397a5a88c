"""Which records stand in which forward pass of which step: a pure function of seed, epoch and lengths.

A resumed training therefore starts anywhere without drawing what came before, and a training on several processes takes the
same records in each optimizer step as on one: only who computes them differs. Knows nothing of photos, files or models.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Micro = tuple[int, ...]  # records of one forward pass, as indices
WINDOW = 16  # forward passes whose records are sorted by length together: sorting all would make batches of one kind only


@dataclass(frozen=True)
class Order:
    """The order of one training.

    Args:
        lengths: tokens of each record.
        batch_size: records in a forward pass.
        accumulation: forward passes in an optimizer step, on each process.
        processes: how many share a step.
        max_tokens: when above 0 a forward pass holds as many records as keep `records * longest` (packed: the sum) within it,
            whatever batch_size says; a record that is longer stands alone.
        by_length: records of about the same length stand together.
        packed: records are laid end to end, so that no padding counts.
    """

    lengths: Sequence[int]
    batch_size: int
    accumulation: int = 1
    processes: int = 1
    max_tokens: int = 0
    by_length: bool = False
    packed: bool = False
    seed: int = 0

    def epoch(self, number: int) -> list[tuple[Micro, ...]]:
        """The steps of one pass over the records, each as its forward passes on all processes.

        Every record stands in exactly one of them. Forward passes of a step are a multiple of `processes`; the last
        step's are split for that, and where too few records are left some are empty.
        """
        draw = random.Random(f"{self.seed}/{number}")
        records = list(range(len(self.lengths)))
        draw.shuffle(records)
        micros = self._by_length(records, draw) if self.by_length else self._cut(records)
        size = self.accumulation * self.processes
        steps = [tuple(micros[start : start + size]) for start in range(0, len(micros), size)]
        if steps:
            steps[-1] = tuple(_even(list(steps[-1]), self.processes))
        return steps

    def total(self, epochs: float) -> int:
        """Optimizer steps of `epochs` passes, the last one perhaps in part; at least 1."""
        whole = sum(len(self.epoch(number)) for number in range(int(epochs)))
        part = epochs - int(epochs)
        return max(whole + int(len(self.epoch(int(epochs))) * part), 1) if part else max(whole, 1)

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, tuple[Micro, ...]]]:
        """(epoch, forward passes) of the steps from `start` to before `stop`, epoch after epoch."""
        number, first = 0, 0
        while first < stop:
            steps = self.epoch(number)
            yield from ((number, step) for at, step in enumerate(steps, first) if start <= at < stop)
            number, first = number + 1, first + len(steps)

    def _by_length(self, records: list[int], draw: random.Random) -> list[Micro]:
        """Sorted within windows of the shuffled records, cut, and shuffled again: the window's own order says nothing."""
        window = WINDOW * max(self.batch_size, self.max_tokens // max(min(self.lengths), 1))
        micros: list[Micro] = []
        for start in range(0, len(records), window):
            cut = self._cut(sorted(records[start : start + window], key=lambda at: self.lengths[at]))
            draw.shuffle(cut)
            micros += cut
        return micros

    def _cut(self, records: Sequence[int]) -> list[Micro]:
        if not self.max_tokens:
            return [tuple(records[start : start + self.batch_size]) for start in range(0, len(records), self.batch_size)]
        micros: list[Micro] = []
        held: list[int] = []
        for at in records:
            if held and self._cost([*held, at]) > self.max_tokens:
                micros.append(tuple(held))
                held = []
            held.append(at)
        return [*micros, tuple(held)] if held else micros

    def _cost(self, records: Sequence[int]) -> int:
        lengths = [self.lengths[at] for at in records]
        return sum(lengths) if self.packed else len(lengths) * max(lengths)


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
