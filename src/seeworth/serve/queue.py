"""The counter before the model: how many are let in, how long they may wait, and who is told that there is no room.

Photos are opened and cut in threads beside the model's (`worker`), never in the event loop's. What is full says so at once: nothing waits
without a bound. Knows nothing of HTTP but its refusals.

An exception holds the frames that it came through, a future holds its exception. A frame of these that holds the future closes a ring, and
all that the frames hold, the body and a photo half decoded, stays until Python's collector comes by: so such a frame lets go of the future.
"""

from __future__ import annotations

import asyncio
import math
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TypeVar

from .metrics import Metrics
from .refused import Refused, too_many
from .worker import Job, Said, Work, Worker

T = TypeVar("T")
AHEAD = 3  # batches whose photos are open: one that is answered, two that wait; all else waits as it came
MOST_CALLS = 4  # similar photos and occlusions that wait


class Queue:
    """Lets photos in and answers out.

    Args:
        size: most photos taken and not answered yet. timeout: seconds that a request may take. photo_threads: that open photos.
    """

    def __init__(self, worker: Worker, metrics: Metrics, *, size: int, timeout: float, photo_threads: int) -> None:
        self.worker = worker
        self.metrics = metrics
        self.size = size
        self.timeout = timeout
        self.waiting = 0
        self.calls = 0
        self.draining = False
        rows = AHEAD * worker.limits.rows
        self._ahead = {chat: asyncio.Semaphore(rows) for chat in (False, True)}
        self._pool = ThreadPoolExecutor(photo_threads, thread_name_prefix="photo")

    @contextmanager
    def running(self) -> Iterator[None]:
        """The model's thread and those of photos are there inside. Opening a photo sets warning filters, which threads share: they are put
        back when all are done."""
        with warnings.catch_warnings(action="ignore"):
            self.worker.start()
            try:
                yield
            finally:
                self.draining = True
                self.worker.stop()
                self._pool.shutdown(cancel_futures=True)

    @asynccontextmanager
    async def admitted(self, photos: int) -> AsyncIterator[None]:
        """Room for so many photos (or chats), within the deadline. Raises Refused when there is none, or the time is over."""
        self.need_room(photos)
        self._count(photos)
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except TimeoutError as problem:
            raise Refused(504, "timeout", f"no answer within {self.timeout:g} seconds: the server has too much to do") from problem
        finally:
            self._count(-photos)

    def need_room(self, photos: int = 1) -> None:
        """Raises Refused when so many photos are not let in now; cheap, so that it is asked before a body is read."""
        if self.draining or not self.worker.alive:
            raise Refused(503, "stopping", "the server is being stopped: ask another one", headers={"Retry-After": "5"})
        if self.waiting + photos > self.size:
            raise too_many(self.patience(), f"{self.waiting} photos wait already, the most is {self.size}: come back later")

    def _count(self, photos: int) -> None:
        self.waiting += photos
        self.metrics.waiting.set(self.waiting)

    def patience(self) -> int:
        """Whole seconds until about half of what waits is answered, 1 to 60."""
        return min(max(math.ceil(self.waiting * self.worker.seconds_each / 2), 1), 60)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do something beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def answer(self, make: Callable[[], Work], *, chat: bool = False, heard: Callable[[list[int]], None] | None = None) -> Said:
        """The answer to what `make`, called in a photo thread, makes; `heard` is told of a chat's tokens. Raises what `make` raises."""
        entered, deadline = time.perf_counter(), time.monotonic() + self.timeout
        async with self._ahead[chat]:
            order = _Order(make, heard, entered, deadline)
            self.worker.coming()
            try:
                await self._prepared(partial(order.prepare, self.worker))
                return await order.said
            finally:
                order.cancel()
                del order  # see above

    async def _prepared(self, prepare: Callable[[], None]) -> None:
        """Run in a photo thread, whatever becomes of the one who waits for it: it must tell the worker that it is done."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, prepare)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to hear of it
        try:
            await asyncio.shield(future)
        finally:
            del future  # see above

    async def call(self, work: Callable[[], T]) -> T:
        """Do something with the model in its thread; bounded as answers are."""
        if self.calls >= MOST_CALLS:
            raise too_many(self.patience(), f"{self.calls} such questions wait already: come back later")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.calls += 1
        try:
            self.worker.call(partial(_called, future, work))
            return await future
        finally:
            self.calls -= 1
            del future  # see above


class _Order:
    """Work that is asked for, and may be called off before or after its job is made: the two happen in different threads.

    Attributes:
        said: what comes of it.
    """

    def __init__(self, make: Callable[[], Work], heard: Callable[[list[int]], None] | None, entered: float, deadline: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.said: asyncio.Future[Said] = self._loop.create_future()
        self._make = make
        self._heard = heard
        self._entered = entered
        self._deadline = deadline
        self._job: Job | None = None
        self._gone = False

    def prepare(self, worker: Worker) -> None:
        """Make its job now, in a photo thread, and hand it over; none when nobody wants it any more."""
        job = None
        try:
            if not self._gone:
                heard = None if self._heard is None else partial(_hear, self._loop, self._heard)
                job = self._job = Job(self._make(), self._deadline, partial(_tell, self.said), heard, self._entered)
                job.gone = self._gone
        finally:
            worker.arrived(job)

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._gone = True
        if self._job is not None:
            self._job.gone = True


def _called(future: asyncio.Future[T], work: Callable[[], T]) -> None:
    if future.cancelled():
        return
    try:
        _tell(future, work())
    except Exception as problem:
        _tell(future, problem)


def _hear(loop: asyncio.AbstractEventLoop, heard: Callable[[list[int]], None], said: list[int]) -> None:
    """From another thread."""
    loop.call_soon_threadsafe(heard, said)


def _tell(future: asyncio.Future[T], result: T | Exception) -> None:
    """From another thread."""
    future.get_loop().call_soon_threadsafe(_settle, future, result)


def _settle(future: asyncio.Future[T], result: T | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
