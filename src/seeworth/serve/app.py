"""The app: what each address answers.

`guard` stands before it; `house` holds the model, `queue` and `worker` what stands before that; `openai` has the chat. Knows nothing of
sockets or signals.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from .. import __version__
from ..errors import PhotoError
from ..intervals import Intervals
from ..record import Record
from . import openai
from . import schemas as s
from .answers import told
from .body import Form, Upload, read_form, whole
from .guard import GONE, ClientGone, failed
from .house import House, info_of, together, until_gone
from .refused import Refused
from .worker import Work

PAGE = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
MOST_SIMILAR = 50


def build(house: House) -> FastAPI:
    """The app of a house; its lifespan runs the model's thread."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with house.running():
            yield

    app = FastAPI(title="seeworth", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    _tell_errors(app)
    _health(app, house)
    _task(app, house)
    _predict(app, house)
    _views(app, house)
    openai.add(app, house)
    _pages(app)
    _describe(app, house.model.name)
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

    async def gone(request: Request, problem: Exception) -> Response:
        return Response(status_code=GONE)  # nobody reads it

    async def broken(request: Request, problem: Exception) -> Response:
        return failed(request.scope["state"]["id"]).response(request.url.path)  # the guard writes the log

    app.add_exception_handler(ClientGone, gone)
    app.add_exception_handler(Exception, broken)
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

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **s.errors()}, tags=["health"])
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(house.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _task(app: FastAPI, house: House) -> None:
    model, intervals, settings = house.model, house.intervals, house.settings
    task = model.encoder.task if model.constraint is None else model.constraint.task
    about = {
        "model": model.name,
        "question": task.question,
        "answer": task.answer,
        "fields": [
            {"name": one.name, "kind": one.kind, "unit": one.unit, "choices": None if one.choices is None else list(one.choices)}
            for one in task.answer_fields
        ],
        "asks_for": [one.name for one in task.question_fields],
        "coverage": None if intervals is None else intervals.coverage,
        "abstain_below": _thresholds(intervals, "confidence"),
        "abstain_above": _thresholds(intervals, "spread"),
        "limits": {"max_bytes": settings.max_bytes, "max_pixels": settings.max_pixels, "max_photos": settings.max_photos},
    }

    @app.get("/v1/task", response_model=s.TaskInfo, responses=s.errors(), tags=["photos"])
    async def task_info() -> Response:
        """What is asked of a photo, and what may be sent."""
        return JSONResponse({**about, "views": {"similar": house.views.has_similar, "occlusion": house.views.has_occlusion}})


def _thresholds(intervals: Intervals | None, by: str) -> dict[str, float] | None:
    """From where on a field is doubted; None where nothing says it of any field."""
    rules = {} if intervals is None else {name: one for name, one in intervals.abstain.items() if one.threshold is not None}
    return {name: one.threshold for name, one in rules.items() if one.by == by and one.threshold is not None} if rules else None


def _predict(app: FastAPI, house: House) -> None:
    @app.post(
        "/v1/predict",
        response_model=s.Predicted,
        responses={**s.errors(415), 422: {"model": s.Predicted | s.ErrorBody}},
        openapi_extra={"requestBody": s.photo_body(one=False)},
        tags=["photos"],
    )
    async def predict(request: Request) -> Response:
        """Answer the task's question for each photo. Status 422 when none can be answered."""
        form = await _form(house, request)
        record = house.record(form.values)
        found = await until_gone(request, _answer_all(house, form, record))
        answered = sum("text" in one for one in found)
        request.scope["state"]["notes"] |= {"photos": len(found), "answered": answered}
        return JSONResponse({"model": house.model.name, "predictions": found}, 200 if answered else 422)


async def _form(house: House, request: Request) -> Form:
    """The photos of a request."""
    house.queue.need_room()
    kind = request.headers.get("content-type", "")
    body = await whole(request)
    return await house.beside(len(body), lambda: read_form(kind, body, max_photos=house.settings.max_photos))


async def _answer_all(house: House, form: Form, record: Record) -> list[dict[str, Any]]:
    async with house.queue.admitted(len(form.photos)):
        return await together(_answer_one(house, upload, record) for upload in form.photos)


async def _answer_one(house: House, upload: Upload, record: Record) -> dict[str, Any]:
    info = info_of(upload)
    try:
        said = await house.queue.answer(lambda: Work(record, house.encode(record, [house.open(upload, info)])))
    except PhotoError as problem:
        house.metrics.photos.labels(problem.code).inc()
        return {"error": {"code": problem.code, "message": str(problem)[:500]}, "photo": info}
    house.metrics.photos.labels("answered").inc()
    return {**told(record, said, house.model.encoder.task, house.intervals), "photo": info}


def _views(app: FastAPI, house: House) -> None:
    responses = s.errors(404, 415, 422)
    extra = {"requestBody": s.photo_body(one=True)}

    @app.post("/v1/similar", response_model=s.SimilarFound, responses=responses, openapi_extra=extra, tags=["photos"])
    async def similar(request: Request, k: Annotated[int, Query(ge=1, le=MOST_SIMILAR)] = 5) -> Response:
        """The train photos that the model finds most like this one."""
        _need(house.views.has_similar, "similar photos are not offered here: see --similar, and the log")
        form = await _one(house, request)

        async def find() -> list[dict[str, Any]]:
            async with house.queue.admitted(1):
                return await house.views.similar(await _opened(house, form.photos[0]), k)

        return JSONResponse({"similar": await until_gone(request, find())})

    @app.post("/v1/occlusion", response_model=s.Occluded, responses=responses, openapi_extra=extra, tags=["photos"])
    async def occlusion(request: Request) -> Response:
        """Which parts of the photo the answer hangs on: it is asked again with each of them covered."""
        _need(house.views.has_occlusion, "occlusion is not offered here: see --occlusion; it needs a number or a category")
        form = await _one(house, request)
        record = house.record(form.values)

        async def cover() -> dict[str, Any]:
            async with house.queue.admitted(1):
                return await house.views.occlusion(await _opened(house, form.photos[0]), record)

        return JSONResponse(await until_gone(request, cover()))


def _need(offered: bool, words: str) -> None:
    if not offered:
        raise Refused(404, "not_offered", words)


async def _one(house: House, request: Request) -> Form:
    form = await _form(house, request)
    if len(form.photos) != 1:
        raise Refused(422, "bad_request", f"found {len(form.photos)} photos, expected one")
    return form


async def _opened(house: House, upload: Upload) -> Any:
    try:
        return await house.queue.in_thread(lambda: house.open(upload, {}))
    except PhotoError as problem:
        house.metrics.photos.labels(problem.code).inc()
        raise Refused(422, problem.code, str(problem)) from problem


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


def _describe(app: FastAPI, model: str) -> None:
    """/openapi.json, with the bodies that addresses read themselves."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, routes=app.routes, summary="Photos in, fields out.")
            found["components"]["schemas"] |= s.components(model)
            found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{}, {"key": []}]
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
