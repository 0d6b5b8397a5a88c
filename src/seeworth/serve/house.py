"""A run that is served: the model, what stands before it, and how a photo becomes a prompt. What all addresses share.

Knows nothing of sockets or of forms.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request
from PIL import Image

from ..data.photo.decode import open_photo, photo_size
from ..encode import Example
from ..errors import DataError, PhotoError, TaskError
from ..intervals import Intervals
from ..phi3v import Phi3VError
from ..predict.vlm import VLM
from ..record import Record, Value
from ..settings import ServeSettings
from ..task import Field, valid_value
from .body import Upload
from .guard import ClientGone
from .metrics import Metrics
from .queue import Queue
from .refused import Refused
from .views import Views
from .worker import Limits, Worker

T = TypeVar("T")
PHOTO = Path("photo")  # a record's photo that lies in no file
MOST_LETTERS = 10_000  # of a value
SHORT = 65_536  # bytes of a body that the event loop reads itself


@dataclass(eq=False)
class House:
    """A run that is served.

    Attributes:
        intervals: around its numbers, where it has such.
    """

    model: VLM
    intervals: Intervals | None
    settings: ServeSettings
    metrics: Metrics
    queue: Queue
    views: Views

    @classmethod
    def of(cls, model: VLM, intervals: Intervals | None, settings: ServeSettings, train: Sequence[Record] = ()) -> House:
        """All that serves a model, not yet running. train: records whose photos are offered as similar ones."""
        metrics = Metrics()
        limits = Limits(settings.batch_size, settings.max_tokens_per_batch)
        worker = Worker(model, limits, metrics, num_threads=settings.num_threads)
        queue = Queue(worker, metrics, size=settings.queue_size, timeout=settings.timeout, photo_threads=settings.photo_threads)
        views = Views(model, queue, train if settings.similar else (), occlusion=settings.occlusion)
        return cls(model, intervals, settings, metrics, queue, views)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The model's thread and those of photos are there inside."""
        with self.queue.running():
            self.views.start()
            yield

    def open(self, upload: Upload, info: dict[str, Any]) -> Image.Image:
        """The photo, RGB; `info` learns what it is. Raises PhotoError."""
        data = upload.data()
        info["sha256"] = hashlib.sha256(data).hexdigest()
        width, height = photo_size(data)
        if width * height > self.settings.max_pixels:
            raise PhotoError("too_large", f"{width} x {height} pixels, the most is {self.settings.max_pixels}: send it smaller")
        image = open_photo(data)
        info["width"], info["height"] = image.size
        return image

    def encode(self, record: Record, photos: list[Image.Image], *, status: int = 422) -> Example:
        """The prompt. Raises Refused when it has no room."""
        try:
            example = self.model.encoder.example(record, answer=False, photos=photos)
        except (DataError, TaskError, Phi3VError) as problem:
            raise Refused(status, "context_length_exceeded", str(problem)) from problem
        most = self.settings.max_tokens_per_batch
        if len(example.input_ids) > most:
            words = f"the prompt has {len(example.input_ids)} tokens, the most is {most}: send fewer photos, or fewer words"
            raise Refused(status, "context_length_exceeded", words)
        return example

    async def beside(self, size: int, work: Callable[[], T]) -> T:
        """Read a body of so many bytes: a large one beside the event loop."""
        return work() if size <= SHORT else await self.queue.in_thread(work)

    def record(self, given: Mapping[str, str | int | float]) -> Record:
        """A record of the task, of one photo in no file, with the values of fields that the question names. Raises Refused for one that
        is missing, wrong or strange."""
        fields = {one.name: one for one in self.model.encoder.task.question_fields}
        if strange := sorted(set(given) - set(fields)):
            expected = f"photo and {', '.join(fields)}" if fields else "photo alone"
            raise Refused(422, "bad_request", f"found {strange[0][:100]!r}, expected {expected}")
        if missing := [name for name in fields if name not in given]:
            raise Refused(422, "bad_request", f"the question names {missing[0]}: send it as a field of the form or in values")
        return Record("photo", PHOTO, {name: _value(one, given[name]) for name, one in fields.items()}, "photo")


def info_of(upload: Upload) -> dict[str, Any]:
    """What is known of a photo before it is opened."""
    return {"width": None, "height": None, "sha256": None, "name": upload.name}


def _value(one: Field, value: str | int | float) -> Value:
    if isinstance(value, str) and len(value) > MOST_LETTERS:
        raise Refused(422, "bad_request", f"{one.name} has {len(value)} letters, the most is {MOST_LETTERS}")
    try:
        return valid_value(one, Decimal(value) if one.kind == "number" and isinstance(value, str) else value)
    except InvalidOperation as problem:
        raise Refused(422, "bad_request", f"{one.name}: expected a number") from problem
    except (TaskError, OverflowError) as problem:
        raise Refused(422, "bad_request", str(problem)) from problem


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at once; what goes wrong with one ends all and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
        return [task.result() for task in tasks]
    except BaseExceptionGroup as problems:
        problem = problems.exceptions[0]
        problems.__traceback__ = None  # the frame of Python 3.11's TaskGroup that raises the group holds it
    try:
        raise problem  # not in the handler above: it would hold the group, and the group holds it
    finally:
        del problem, tasks, group  # see `queue`


async def until_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do it, and give it up when the client goes away. The body has been read. Raises ClientGone."""
    doing, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((doing, gone), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise ClientGone
    finally:
        for one in (doing, gone):
            one.cancel()
        await asyncio.wait((doing, gone))
        del doing, gone, one  # see `queue`


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
