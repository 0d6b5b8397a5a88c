"""The engine of this machine: Inputs in, lines out, photos decoded in threads ahead of the model, batches of like lengths.

    cut        inputs -> blocks of a fixed number: what is put in order of length together, wherever the run began
    measured   a block -> the length of each, from the photos' headers       threads, one block ahead
    prepared   a batch -> what the model takes                              threads, one batch ahead
    answered   a batch -> its lines                                         here, in the order in which batches are ready

What is held is two blocks of inputs and two batches of prepared photos, however many inputs there are. `Model` is what it asks of
whatever answers: `Tuned` is the vision-language model, `Plain` any Predictor. Knows nothing of tables, of files that are written or of
how a model is loaded.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, TypeVar

from ..data.photo.decode import open_photo, photo_size
from ..data.workers import processors
from ..encode import Example
from ..errors import DataError, PhotoError, SeeworthError, TaskError
from ..intervals import Intervals
from ..record import Prediction, Record
from ..task import Task
from .inputs import Input
from .lines import answered, refused
from .predictor import Predictor
from .vlm import AHEAD, VLM

T = TypeVar("T")

BLOCK_BYTES = 2**28  # of photos that stand in rows: a block ends when it holds so many
MOST_THREADS = 8


class Model(Protocol):
    """Answers in two steps, so that what needs no model is done in threads ahead of it.

    Attributes:
        task: reads its answers. block: inputs that are put in order of length together; a multiple of its batch size.
    """

    task: Task
    block: int

    def length(self, record: Record) -> int:
        """How long a record's prompt is; `record.sizes` are known. Called in threads. Raises DataError or TaskError: it is refused."""

    def batches(self, lengths: Sequence[int]) -> Iterable[list[int]]:
        """Places of a block that are answered together, each once."""

    def prepare(self, record: Record, photos: Sequence[bytes]) -> Any:
        """What `answer` takes of a record, from its photo files. Called in threads. Raises PhotoError, DataError or TaskError."""

    def answer(self, records: Sequence[Record], prepared: Sequence[Any]) -> list[Prediction]:
        """One batch's answers."""


class Tuned:
    """The vision-language model. Features of photos that its training kept are taken from there; such photos are not decoded."""

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm
        self.task = vlm.encoder.task
        self.block = vlm.batch_size * AHEAD

    def length(self, record: Record) -> int:
        return self.vlm.length(record)

    def batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        return self.vlm.batches(lengths)

    def prepare(self, record: Record, photos: Sequence[bytes]) -> Example:
        encoder, kept = self.vlm.encoder, self.vlm.features
        if kept is not None and photos:
            found = [kept.get(hashlib.sha256(data).digest()) for data in photos]
            if all(one is not None for one in found):
                return encoder.example(record, answer=False, tile_features=[one for one in found if one is not None])
        return encoder.example(record, answer=False, photos=[open_photo(data) for data in photos])

    def answer(self, records: Sequence[Record], prepared: Sequence[Example]) -> list[Prediction]:
        start = time.perf_counter()
        found = self.vlm.answer_examples(records, prepared)
        seconds = round((time.perf_counter() - start) / len(records), 4)
        return [replace(one, seconds=seconds) for one in found]


class Plain:
    """Any Predictor, such as a baseline or the fake one of tests: it is asked about records whose photos could all be decoded.

    A photo that stands in a row lies in no file: a predictor that opens `record.photo` itself cannot be asked about such.
    """

    def __init__(self, predictor: Predictor, task: Task, batch_size: int = 16) -> None:
        self.predictor = predictor
        self.task = task
        self.batch_size = batch_size
        self.block = batch_size * AHEAD

    def length(self, record: Record) -> int:
        self.task.prompt(record.values)
        return 0

    def batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        places = range(len(lengths))
        return (list(places[start : start + self.batch_size]) for start in places[:: self.batch_size])

    def prepare(self, record: Record, photos: Sequence[bytes]) -> None:
        for data in photos:
            open_photo(data)

    def answer(self, records: Sequence[Record], prepared: Sequence[None]) -> list[Prediction]:
        return list(self.predictor(records))


@dataclass(frozen=True)
class Batch:
    """Inputs that are answered together: `prepared` of each what comes of `_prepare`; and lines of those that never came so far."""

    items: Sequence[Input]
    prepared: Sequence[Future[tuple[Record, Any]]]
    lines: Sequence[dict[str, Any]] = ()


class Local:
    """An Engine, see `inputs.Engine`.

    Args:
        intervals: of the run, where it has such.
        threads: that read and decode photos; 0 takes one for each processor, at most MOST_THREADS.
    """

    def __init__(self, model: Model, intervals: Intervals | None = None, threads: int = 0) -> None:
        self.model = model
        self.intervals = intervals
        self.threads = threads or min(processors(), MOST_THREADS)

    def __call__(self, inputs: Iterator[Input]) -> Iterator[dict[str, Any]]:
        pool = ThreadPoolExecutor(self.threads, "decode")
        try:
            for batch in _one_ahead(self._batches(inputs, pool)):
                yield from batch.lines
                yield from self._answered(batch)
        finally:
            pool.shutdown(cancel_futures=True)

    def _batches(self, inputs: Iterator[Input], pool: ThreadPoolExecutor) -> Iterator[Batch]:
        """Batches whose photos are being prepared."""
        blocks = (block for block in cut(inputs, self.model.block) if not all(item.done for item in block))
        measuring = ((block, [pool.submit(self._measure, item) for item in block]) for block in blocks)
        for block, futures in _one_ahead(measuring):
            lines, items, records, lengths = [], [], [], []
            for item, future in zip(block, futures, strict=True):
                try:
                    record, length = future.result()
                except SeeworthError as problem:
                    lines += self._refused(item, problem)
                    continue
                items.append(item)
                records.append(record)
                lengths.append(length)
            if lines:
                yield Batch((), (), lines)
            for places in self.model.batches(lengths):
                if not all(items[place].done for place in places):
                    prepared = [pool.submit(self._prepare, items[place], records[place]) for place in places]
                    yield Batch([items[place] for place in places], prepared)

    def _measure(self, item: Input) -> tuple[Record, int]:
        """The record with its photos' sizes, and its length."""
        if item.refused is not None:
            raise PhotoError(*item.refused)
        record = item.record
        if record.all_photos and not record.sizes:
            record = replace(record, sizes=tuple(photo_size(data) for data in item.photo_bytes()))
        return record, self.model.length(record)

    def _prepare(self, item: Input, record: Record) -> tuple[Record, Any]:
        return record, self.model.prepare(record, item.photo_bytes())

    def _answered(self, batch: Batch) -> Iterator[dict[str, Any]]:
        """Lines of a batch. One that a kill cut in two is answered whole, and what is done of it is not told again."""
        items, records, prepared = [], [], []
        for item, future in zip(batch.items, batch.prepared, strict=True):
            try:
                record, one = future.result()
            except SeeworthError as problem:
                yield from self._refused(item, problem)
                continue
            items.append(item)
            records.append(record)
            prepared.append(one)
        if all(item.done for item in items):
            return
        for item, prediction in zip(items, self.model.answer(records, prepared), strict=True):
            if not item.done:
                yield answered(item, prediction, self.model.task, self.intervals)

    @staticmethod
    def _refused(item: Input, problem: SeeworthError) -> list[dict[str, Any]]:
        if isinstance(problem, PhotoError):
            code = problem.code
        elif isinstance(problem, DataError | TaskError):
            code = "unfit"
        else:
            raise problem
        return [] if item.done else [refused(item, code, str(problem))]


def cut(inputs: Iterator[Input], many: int) -> Iterator[list[Input]]:
    """Blocks of `many` inputs; fewer where the photos in their rows weigh more than BLOCK_BYTES. The same inputs are always cut alike."""
    block: list[Input] = []
    weight = 0
    for item in inputs:
        block.append(item)
        weight += sum(len(data) for data in item.data if data is not None)
        if len(block) == many or weight >= BLOCK_BYTES:
            yield block
            block, weight = [], 0
    if block:
        yield block


def _one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, each given when the next one has been begun."""
    stream = iter(items)
    held = deque(islice(stream, 1))
    for item in stream:
        held.append(item)
        yield held.popleft()
    yield from held
