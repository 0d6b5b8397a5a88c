"""The app: what each address answers. `House` holds what all of them share.

`guard` stands before it, `queue` and `worker` behind it, `openai` holds the chat. Knows nothing of sockets or signals.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from PIL import Image
from starlette.exceptions import HTTPException

from .. import __version__
from ..data.photo.decode import open_photo, photo_size
from ..encode import Example
from ..errors import DataError, PhotoError, TaskError
from ..intervals import Intervals
from ..phi3v import Phi3VError
from ..predict.vlm import VLM
from ..record import Record, Value
from ..settings import ServeSettings
from ..task import Field, valid_value
from . import schemas as s
from .answers import told
from .body import Form, Upload, read_form, whole
from .guard import ClientGone
from .metrics import Metrics
from .queue import Queue
from .refused import Refused
from .worker import Limits, Worker

T = TypeVar("T")
PHOTO = Path("photo")  # a record's photo that lies in no file
MOST_LETTERS = 10_000  # of a value
PAGE = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


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

    @classmethod
    def of(cls, model: VLM, intervals: Intervals | None, settings: ServeSettings) -> House:
        """All that serves a model, not yet running."""
        metrics = Metrics()
        limits = Limits(settings.batch_size, settings.max_tokens_per_batch)
        worker = Worker(model, limits, metrics, num_threads=settings.num_threads)
        bounds: dict[str, Any] = {"size": settings.queue_size, "timeout": settings.timeout, "photo_threads": settings.photo_threads}
        return cls(model, intervals, settings, metrics, Queue(worker, metrics, **bounds))

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

    def encode(self, record: Record, photos: list[Image.Image]) -> Example:
        """The prompt. Raises Refused when it has no room."""
        try:
            example = self.model.encoder.example(record, answer=False, photos=photos)
        except (DataError, TaskError, Phi3VError) as problem:
            raise Refused(422, "bad_request", str(problem)) from problem
        return example


def info_of(upload: Upload) -> dict[str, Any]:
    """What is known of a photo before it is opened."""
    return {"width": None, "height": None, "sha256": "", "name": upload.name}


def build(house: House) -> FastAPI:
    """The app of a house; its lifespan runs the model's thread."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with house.queue.running():
            yield

    app = FastAPI(title="seeworth", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    _tell_errors(app)
    _health(app, house)
    _task(app, house)
    _predict(app, house)
    _pages(app)
    return app


def _tell_errors(app: FastAPI) -> None:
    """Every refusal in the form of its path."""

    async def refused(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, Refused)
        return problem.response(request.url.path)

    async def http(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, HTTPException)
        words = {404: "there is nothing at this address", 405: "this address takes another method"}.get(problem.status_code, problem.detail)
        code = {404: "not_found", 405: "method"}.get(problem.status_code, "http")
        return Refused(problem.status_code, code, words, headers=problem.headers).response(request.url.path)

    async def invalid(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, RequestValidationError)
        first = problem.errors()[0]
        where = ".".join(str(one) for one in first["loc"][1:])
        return Refused(422, "bad_request", f"{where}: {first['msg']}", param=where).response(request.url.path)

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def _health(app: FastAPI, house: House) -> None:
    @app.get("/healthz", response_model=s.Status, tags=["health"])
    async def healthz() -> Response:
        """Whether the process answers at all."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", response_model=s.Status, responses={503: {"model": s.Status}}, tags=["health"])
    async def readyz() -> Response:
        """Whether photos are answered: not while the server is being stopped."""
        ready = house.queue.worker.alive and not house.queue.draining
        return JSONResponse({"status": "ready" if ready else "stopping"}, 200 if ready else 503)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, tags=["health"])
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(house.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _task(app: FastAPI, house: House) -> None:
    model, intervals, settings = house.model, house.intervals, house.settings
    task = model.encoder.task if model.constraint is None else model.constraint.task
    rules = {} if intervals is None else {name: one for name, one in intervals.abstain.items() if one.threshold is not None}
    told_task = {
        "model": model.name,
        "question": task.question,
        "answer": task.answer,
        "fields": [
            {"name": one.name, "kind": one.kind, "unit": one.unit, "choices": None if one.choices is None else list(one.choices)}
            for one in task.answer_fields
        ],
        "asks_for": [one.name for one in task.question_fields],
        "coverage": None if intervals is None else intervals.coverage,
        "abstain_below": {name: {"by": one.by, "threshold": one.threshold} for name, one in rules.items()} or None,
        "limits": {"max_bytes": settings.max_bytes, "max_pixels": settings.max_pixels, "max_photos": settings.max_photos},
        "views": {"similar": False, "occlusion": False},
    }

    @app.get("/v1/task", response_model=s.TaskInfo, tags=["photos"])
    async def task_info() -> Response:
        """What is asked of a photo, and what may be sent."""
        return JSONResponse(told_task)


def _predict(app: FastAPI, house: House) -> None:
    @app.post("/v1/predict", response_model=s.Predicted, tags=["photos"])
    async def predict(request: Request) -> Response:
        """Answer the task's question for each photo."""
        form = await form_of(house, request)
        found = await until_gone(request, _answer_all(house, form))
        answered = sum("text" in one for one in found)
        request.scope["state"]["notes"] |= {"photos": len(found), "answered": answered}
        return JSONResponse({"model": house.model.name, "predictions": found}, 200 if answered else 422)


async def form_of(house: House, request: Request) -> Form:
    """The photos of a request."""
    kind = request.headers.get("content-type", "")
    body = await whole(request)
    most = house.settings.max_photos
    if len(body) <= 65_536:
        return read_form(kind, body, max_photos=most)
    return await house.queue.in_thread(lambda: read_form(kind, body, max_photos=most))


async def _answer_all(house: House, form: Form) -> list[dict[str, Any]]:
    record = Record("photo", PHOTO, question_values(house, form.values), "photo")
    async with house.queue.admitted(len(form.photos)):
        return await together(_answer_one(house, upload, record) for upload in form.photos)


async def _answer_one(house: House, upload: Upload, record: Record) -> dict[str, Any]:
    info = info_of(upload)
    try:
        said = await house.queue.answer(lambda: (record, house.encode(record, [house.open(upload, info)])))
    except PhotoError as problem:
        house.metrics.photos.labels(problem.code).inc()
        return {"error": {"code": problem.code, "message": str(problem)[:500]}, "photo": info}
    house.metrics.photos.labels("answered").inc()
    return {**told(record, said, house.model.encoder.task, house.intervals), "photo": info}


def question_values(house: House, given: Mapping[str, str | int | float]) -> dict[str, Value]:
    """The values of fields that the question names, as the task keeps them. Raises Refused for one that is missing, wrong or strange."""
    fields = {one.name: one for one in house.model.encoder.task.question_fields}
    if strange := sorted(set(given) - set(fields)):
        expected = f"photo and {', '.join(fields)}" if fields else "photo alone"
        raise Refused(422, "bad_request", f"found {strange[0][:100]!r}, expected {expected}", param=strange[0][:100])
    if missing := [name for name in fields if name not in given]:
        raise Refused(422, "bad_request", f"the question names {missing[0]}: send it as a field of the form or in values", param=missing[0])
    return {name: _question_value(one, given[name]) for name, one in fields.items()}


def _question_value(one: Field, value: str | int | float) -> Value:
    if isinstance(value, str) and len(value) > MOST_LETTERS:
        raise Refused(422, "bad_request", f"{one.name} has {len(value)} letters, the most is {MOST_LETTERS}", param=one.name)
    try:
        return valid_value(one, Decimal(value) if one.kind == "number" and isinstance(value, str) else value)
    except InvalidOperation as problem:
        raise Refused(422, "bad_request", f"{one.name}: expected a number", param=one.name) from problem
    except TaskError as problem:
        raise Refused(422, "bad_request", str(problem), param=one.name) from problem


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at once; what goes wrong with one ends all and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as problems:
        raise problems.exceptions[0] from None
    return [task.result() for task in tasks]


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


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _pages(app: FastAPI) -> None:
    """The web page: its files, read once."""
    folder = files("seeworth.serve") / "page"
    there = {one.name: one.read_bytes() for one in folder.iterdir() if one.name.rpartition(".")[2] in PAGE} if folder.is_dir() else {}

    def answer(name: str) -> Response:
        if name not in there:
            raise HTTPException(404)
        return Response(there[name], media_type=PAGE[name.rpartition(".")[2]], headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return answer("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def page(name: str) -> Response:
        return answer(name)
