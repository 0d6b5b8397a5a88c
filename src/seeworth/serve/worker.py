"""The model in exactly one thread: what waits is answered batch by batch, and chats go on pass by pass in between.

    asked    answers to the task: a whole batch at once, of all that waits, up to the limits of a batch
    chats    free answers, which may be long: a pass of each running group at a time, for as long as the last batch of the other kind took
    calls    anything else that needs the model: one at a time

What comes while a batch is answered goes into the next one. A batch that fails is answered once more one by one, so that one request
cannot take others down. Knows nothing of HTTP or of event loops: results go to the jobs' own methods.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..encode import Example
from ..predict.answer import Batch, rope_border
from ..predict.vlm import VLM
from ..record import Prediction, Record
from .metrics import Metrics

log = logging.getLogger("seeworth.serve")


class Stopped(Exception):
    """The server is being stopped: give up what nobody waits for."""


@dataclass(frozen=True)
class Work:
    """What is asked: a record and its prompt. `limit`: tokens after which a free answer is cut; None for an answer to the task."""

    record: Record
    example: Example
    limit: int | None = None


@dataclass(eq=False)
class Job:
    """One answer that somebody waits for.

    Attributes:
        deadline: seconds of `time.monotonic`; nobody waits any longer.
        finish: called once, in the model's thread, with a `Said` or with what went wrong.
        heard: called with the tokens of a free answer whenever there are more.
        entered: when it was taken, in seconds of `time.perf_counter`. gone: nobody wants the answer any more.
    """

    work: Work
    deadline: float
    finish: Callable[[Said | Exception], None]
    heard: Callable[[list[int]], None] | None = None
    entered: float = field(default_factory=time.perf_counter)
    gone: bool = False

    @property
    def over(self) -> bool:
        """Whether nobody wants the answer any more."""
        return self.gone or time.monotonic() >= self.deadline


@dataclass(frozen=True)
class Said:
    """An answer: `tokens` of one that is free, and whether it was `cut`; seconds that it waited, and that its batch took."""

    prediction: Prediction
    queue: float
    answer: float
    tokens: tuple[int, ...] = ()
    cut: bool = False


@dataclass(frozen=True)
class Limits:
    """Of a batch: rows, and tokens with padding and answers. linger: most seconds to wait for photos that are being opened."""

    rows: int
    tokens: int
    linger: float = 0.02


@dataclass
class _Group:
    """Chats that are answered together."""

    jobs: list[Job]
    batch: Batch
    passes: Iterator[None]
    started: float
    told: list[int]


class Worker:
    """The model's thread. Everything but `start` and `stop` may be called from any thread.

    Attributes:
        seconds_each: of a photo in the last batches, a running mean.
    """

    def __init__(self, model: VLM, limits: Limits, metrics: Metrics, *, num_threads: int = 0) -> None:
        self.model = model
        self.limits = limits
        self.metrics = metrics
        self.num_threads = num_threads
        self.seconds_each = 0.1
        self._border = rope_border(model.model)
        self._asked: deque[Job] = deque()
        self._chats: deque[Job] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._groups: list[_Group] = []
        self._coming = 0
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what was put, then end. Waits for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread is there to answer."""
        return self._thread.is_alive() and not self._stopping

    def coming(self) -> None:
        """A photo is about to be opened whose job will be put, or given up."""
        with self._changed:
            self._coming += 1

    def arrived(self, job: Job | None) -> None:
        """Its job; None when there is none."""
        with self._changed:
            self._coming -= 1
            if job is not None:
                (self._asked if job.work.limit is None else self._chats).append(job)
            self._changed.notify_all()

    def call(self, work: Callable[[], None]) -> None:
        """Do something with the model in its thread; `work` sees to its own errors."""
        with self._changed:
            self._calls.append(work)
            self._changed.notify_all()

    def breathe(self) -> None:
        """Answer what waits; for a long piece of work in the model's thread, between its parts. Raises Stopped."""
        if self._stopping:
            raise Stopped
        self._round()

    def _round(self) -> None:
        """A batch of the task, chats, one call."""
        self._talk(self._ask())
        if self._calls:  # nobody else takes from it
            self._calls.popleft()()

    def _run(self) -> None:
        if self.num_threads:
            torch.set_num_threads(self.num_threads)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._asked or self._chats or self._calls or self._groups or self._stopping))
                if not (self._asked or self._chats or self._calls or self._groups):
                    return
            try:
                self._round()
            except Exception:  # whoever waits for what was lost hears of it when its time is over
                log.exception("the model's thread goes on after a fault")

    def _ask(self) -> float:
        """Answer one batch of the task; the seconds it took."""
        start = time.perf_counter()
        with self._changed:
            if self._asked:
                self._changed.wait_for(lambda: not self._coming or len(self._asked) >= self.limits.rows, timeout=self.limits.linger)
            jobs = self._take(self._asked, self.limits.rows, self.limits.tokens, self.model.max_new_tokens)
        if jobs:
            self._answer(jobs)
        return time.perf_counter() - start

    def _take(self, line: deque[Job], rows: int, tokens: int, answer: int) -> list[Job]:
        """From the front of a line as many as go into a batch; what nobody wants is dropped. One whose rope factors may change while it is
        answered is answered alone, as `VLM` does."""
        taken: list[Job] = []
        longest = 0
        while line and len(taken) < rows:
            if line[0].over:
                self._drop(line.popleft())
                continue
            length = len(line[0].work.example.input_ids) + (line[0].work.limit or answer)
            longest = max(longest, length)
            alone = self._border is not None and length > self._border
            if taken and (alone or longest * (len(taken) + 1) > tokens):
                break
            taken.append(line.popleft())
            if alone:
                break
        return taken

    def _drop(self, job: Job) -> None:
        job.finish(TimeoutError())
        self.metrics.dropped.inc()

    def _answer(self, jobs: Sequence[Job]) -> None:
        start = time.perf_counter()
        try:
            found = self.model.answer_examples([job.work.record for job in jobs], [job.work.example for job in jobs])
        except Exception as problem:
            if len(jobs) > 1:
                log.warning("a batch of %d failed and is answered one by one: %s: %s", len(jobs), type(problem).__name__, problem)
                for job in jobs:
                    self._answer([job])
                return
            jobs[0].finish(problem)
            return
        seconds = time.perf_counter() - start
        self.metrics.batch(len(jobs), seconds)
        self.seconds_each += 0.2 * (seconds / len(jobs) - self.seconds_each)
        for job, one in zip(jobs, found, strict=True):
            job.finish(Said(one, start - job.entered, seconds))

    def _talk(self, seconds: float) -> None:
        """Go on with chats: at least a pass, then for so many seconds while others wait, until none does or all is said otherwise."""
        until = time.perf_counter() + seconds
        while True:
            self._admit()
            for group in list(self._groups):
                self._step(group)
            if not self._groups or ((self._asked or self._calls) and time.perf_counter() >= until):
                return

    def _admit(self) -> None:
        """A new group of the chats that wait, in the room that the running ones leave."""
        running = [job for group in self._groups for job in group.jobs]
        used = sum(len(job.work.example.input_ids) + (job.work.limit or 0) for job in running)
        rows = self.limits.rows - len(running)
        with self._changed:
            first = self._chats[0] if self._chats else None
            if first is None or (running and len(first.work.example.input_ids) + (first.work.limit or 0) > self.limits.tokens - used):
                return
            jobs = self._take(self._chats, rows, self.limits.tokens - used, 0)
        if jobs:
            self._groups.append(self._begin(jobs))

    def _begin(self, jobs: list[Job]) -> _Group:
        pad: Any = self.model.encoder.processor.tokenizer.pad_token_id
        limits = [job.work.limit or 0 for job in jobs]
        batch = Batch(self.model.model, [job.work.example for job in jobs], [None] * len(jobs), max_new_tokens=limits, pad_id=pad)
        return _Group(jobs, batch, batch.steps(), time.perf_counter(), [0] * len(jobs))

    def _step(self, group: _Group) -> None:
        """One pass of a group, and what it makes of it."""
        try:
            next(group.passes, None)
        except Exception as problem:
            self._groups.remove(group)
            for job, told in zip(group.jobs, group.told, strict=True):
                if told >= 0:
                    job.finish(problem)
            return
        for at, (job, row) in enumerate(zip(group.jobs, group.batch.rows, strict=True)):
            if group.told[at] < 0:
                continue
            if job.over:
                row.finished, group.told[at] = True, -1
                self._drop(job)
                continue
            if job.heard is not None and len(row.said) > group.told[at]:
                group.told[at] = len(row.said)
                job.heard(list(row.said))
            if row.finished:
                group.told[at] = -1
                job.finish(self._said(job, group, row.said))
        if all(told < 0 for told in group.told):
            self._groups.remove(group)
            self.metrics.batch(len(group.jobs), time.perf_counter() - group.started)

    def _said(self, job: Job, group: _Group, said: Sequence[int]) -> Said:
        text = self.model.encoder.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
        now = time.perf_counter()
        cut = len(said) >= (job.work.limit or 0)
        return Said(Prediction(job.work.record.id, text, 0.0), group.started - job.entered, now - group.started, tuple(said), cut)
