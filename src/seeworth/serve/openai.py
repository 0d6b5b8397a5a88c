"""The chat of OpenAI's API, as far as it makes sense here: words and photos in, one greedy answer out, whole or streamed.

A single turn of one photo and the task's own question, or no words at all, is the task: asked with the prompt of the training and held to
the task's answers, so that it says what `predict` says. All else is a conversation in the model's chat template, answered freely. What
would change the answer and is not done here is refused; what changes nothing is named in `seeworth.ignored`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ..errors import DataError, PhotoError
from ..record import Record, Turn
from . import schemas as s
from .body import Upload, from_address, parsed, whole
from .house import PHOTO, House, info_of, until_gone
from .refused import Refused
from .worker import Said, Work

CREATED = int(time.time())
PLACEHOLDER = "?"  # what a record's last turn says; the model's answer takes its place
MOST_NAMES = 32  # of ignored settings that are told


@dataclass
class Talk:
    """A chat that is to be answered.

    Attributes:
        record: with turns for a conversation, without for the task. limit: tokens of the answer. prompt: tokens, when it is made.
    """

    record: Record
    uploads: list[Upload]
    limit: int
    stream: bool
    usage: bool
    ignored: list[str]
    given: int | None
    prompt: int = 0
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def is_task(self) -> bool:
        """Whether the task itself is asked."""
        return self.record.turns is None


@dataclass(frozen=True)
class Answer:
    """Words, tokens, and whether the limit cut them."""

    text: str
    tokens: int
    cut: bool


def add(app: FastAPI, house: House) -> None:
    """The addresses of the API."""
    model = {"id": house.model.name, "object": "model", "created": CREATED, "owned_by": "seeworth"}

    @app.get("/v1/models", response_model=s.Models, tags=["openai"])
    async def models() -> Response:
        """The one model there is."""
        return JSONResponse({"object": "list", "data": [model]})

    @app.get("/v1/models/{name}", response_model=s.Model, responses=s.errors(404, kind=s.ChatErrorBody), tags=["openai"])
    async def one_model(name: str) -> Response:
        """The one model there is, if it has this name."""
        _check_name(house, name)
        return JSONResponse(model)

    @app.post(
        "/v1/chat/completions",
        response_model=s.Chat,
        responses={200: {"content": {"text/event-stream": {}}}, **s.errors(400, 404, kind=s.ChatErrorBody)},
        openapi_extra={"requestBody": s.json_body(s.ChatBody)},
        tags=["openai"],
    )
    async def chat(request: Request) -> Response:
        """An answer to a conversation about photos."""
        house.queue.need_room()
        raw = await whole(request)
        talk = await house.beside(len(raw), lambda: read(house, parsed(s.ChatBody, raw, status=400)))
        notes = request.scope["state"]["notes"]
        notes |= {"photos": len(talk.uploads), "task": int(talk.is_task), "stream": int(talk.stream)}
        if talk.stream:
            return await _streamed(house, request, talk)
        answer = await until_gone(request, _answer(house, talk, None))
        notes |= {"tokens": f"{talk.prompt}+{answer.tokens}"}
        return JSONResponse(_completion(house, talk, answer))


def read(house: House, body: s.ChatBody) -> Talk:
    """What is asked. Raises Refused for what is not done here."""
    _check_name(house, body.model)
    _check_wishes(body)
    turns, uploads = _turns(body)
    if len(uploads) > house.settings.max_photos:
        raise Refused(400, "too_many_photos", f"found {len(uploads)} photos, the most is {house.settings.max_photos}", param="messages")
    most = house.settings.max_chat_tokens
    given = body.max_completion_tokens or body.max_tokens
    usage = body.stream_options is not None and body.stream_options.include_usage
    record = _record(house, turns, len(uploads))
    return Talk(record, uploads, min(given or most, most), bool(body.stream), usage, _ignored(body), given)


def _check_name(house: House, name: str) -> None:
    if name != house.model.name:
        raise Refused(404, "model_not_found", f"there is no model {name[:80]!r} here: this is {house.model.name!r}", param="model")


def _check_wishes(body: s.ChatBody) -> None:
    """Settings that would change the answer."""
    form = (body.response_format or {}).get("type", "text")
    wrong = {
        "temperature": bool(body.temperature) and "answers are the likeliest words: send temperature 0, or leave it out",
        "n": body.n not in (None, 1) and "there is one answer: send n 1, or leave it out",
        "stop": bool(body.stop) and "stop words are not supported: leave it out",
        "response_format": form != "text" and "no other form than text: ask /v1/predict for fields",
        "tools": bool(body.tools) and "tools are not supported",
        "functions": bool(body.functions) and "functions are not supported",
        "logprobs": bool(body.logprobs) and "not told here: ask /v1/predict for confidence and distribution",
        "audio": bool(body.audio) and "there is no audio",
    }
    for name, why in wrong.items():
        if why:
            raise Refused(400, "unsupported", f"{name}: {why}", param=name)


def _ignored(body: s.ChatBody) -> list[str]:
    """Names of what was sent and has no effect here."""
    found = _extra(body, "")
    for message in body.messages:
        found += _extra(message, "messages.")
        for part in message.content if isinstance(message.content, list) else ():
            found += _extra(part, "content.")
            if isinstance(part, s.ImagePart):
                found += _extra(part.image_url, "image_url.")
    return list(dict.fromkeys(found))[:MOST_NAMES]


def _extra(model: s.Patient, where: str) -> list[str]:
    return [where + name[:64] for name, value in (model.model_extra or {}).items() if value not in (None, [], {})]


def _turns(body: s.ChatBody) -> tuple[list[Turn], list[Upload]]:
    turns: list[Turn] = []
    uploads: list[Upload] = []
    words = 0
    for message in body.messages:
        parts: list[str | int] = []
        for part in [message.content] if isinstance(message.content, str) else message.content:
            if isinstance(part, s.ImagePart):
                parts.append(len(uploads))
                uploads.append(Upload(from_address(part.image_url.url)))
            else:
                parts.append(part if isinstance(part, str) else part.text)
                words += len(str(parts[-1]))
        role: Any = "system" if message.role == "developer" else message.role
        turns.append(Turn(role, tuple(parts)))
    if words > s.MOST_WORDS:
        raise Refused(400, "context_length_exceeded", f"found {words} letters, the most is {s.MOST_WORDS}", param="messages")
    if turns[-1].role != "user":
        raise Refused(400, "bad_request", f"the last message is the {turns[-1].role}'s, expected the user's", param="messages")
    return turns, uploads


def _record(house: House, turns: list[Turn], photos: int) -> Record:
    paths = [PHOTO] * photos
    if _asks_the_task(house, turns):
        return Record("chat", PHOTO, {}, "chat")
    try:
        spoken = (*turns, Turn("assistant", (PLACEHOLDER,)))
        return Record("chat", paths[0] if paths else None, {}, "chat", photos=tuple(paths[1:]), turns=spoken)
    except DataError as problem:
        raise Refused(400, "bad_request", str(problem).removeprefix("record chat: "), param="messages") from problem


def _asks_the_task(house: House, turns: list[Turn]) -> bool:
    task = house.model.encoder.task
    if len(turns) != 1 or task.question_fields or sum(isinstance(part, int) for part in turns[0].parts) != 1:
        return False
    words = "".join(part for part in turns[0].parts if isinstance(part, str)).strip()
    return words in ("", task.prompt().strip())


async def _answer(house: House, talk: Talk, heard: Any) -> Answer:
    """Answer it, `heard` told of tokens as they come."""

    def make() -> Work:
        photos = []
        for upload in talk.uploads:
            try:
                photos.append(house.open(upload, info_of(upload)))
            except PhotoError as problem:
                house.metrics.photos.labels(problem.code).inc()
                raise Refused(400, problem.code, f"photo {len(photos) + 1}: {problem}", param="messages") from problem
        example = house.encode(talk.record, photos, status=400)
        talk.prompt = len(example.input_ids)
        if talk.is_task:
            return Work(talk.record, example, None)
        room = min(house.settings.max_tokens_per_batch, house.model.encoder.max_length) - talk.prompt
        if room < 1:
            raise Refused(
                400, "context_length_exceeded", f"the chat has {talk.prompt} tokens, there is no room for an answer", param="messages"
            )
        return Work(talk.record, example, min(talk.limit, room))

    async with house.queue.admitted(max(len(talk.uploads), 1)):
        said = await house.queue.answer(make, chat=not talk.is_task, heard=heard)
    house.metrics.photos.labels("answered").inc(len(talk.uploads))
    answer = _finished(house, talk, said)
    house.metrics.tokens.labels("prompt").inc(talk.prompt)
    house.metrics.tokens.labels("completion").inc(answer.tokens)
    return answer


def _finished(house: House, talk: Talk, said: Said) -> Answer:
    """An answer to the task is said whole; only where fewer tokens were asked for it is cut."""
    if not talk.is_task:
        return Answer(said.prediction.text, len(said.tokens), said.cut)
    processor = house.model.encoder.processor
    tokens = processor.plain_ids(said.prediction.text)
    if talk.given is None or len(tokens) <= talk.given:
        return Answer(said.prediction.text, len(tokens), False)
    return Answer(processor.tokenizer.decode(tokens[: talk.given]).strip(), talk.given, True)


def _usage(talk: Talk, answer: Answer) -> dict[str, int]:
    return {"prompt_tokens": talk.prompt, "completion_tokens": answer.tokens, "total_tokens": talk.prompt + answer.tokens}


def _completion(house: House, talk: Talk, answer: Answer) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text}
    return {
        "id": talk.id,
        "object": "chat.completion",
        "created": talk.created,
        "model": house.model.name,
        "choices": [{"index": 0, "message": message, "finish_reason": "length" if answer.cut else "stop", "logprobs": None}],
        "usage": _usage(talk, answer),
        "seeworth": {"ignored": talk.ignored},
    }


async def _streamed(house: House, request: Request, talk: Talk) -> Response:
    """Server-sent events. What goes wrong before the first word is an answer with its own status."""
    heard: asyncio.Queue[list[int] | None] = asyncio.Queue()
    doing = asyncio.ensure_future(_answer(house, talk, heard.put_nowait))
    doing.add_done_callback(lambda _: heard.put_nowait(None))
    try:
        first = await until_gone(request, heard.get())
        if first is None:
            doing.result()
    except BaseException:
        doing.cancel()
        del doing  # see `queue`
        raise
    return StreamingResponse(_events(house, talk, doing, heard, first), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(
    house: House, talk: Talk, doing: asyncio.Future[Answer], heard: asyncio.Queue[list[int] | None], first: list[int] | None
) -> AsyncIterator[str]:
    decode = house.model.encoder.processor.tokenizer.decode
    said, tokens = "", first
    try:
        yield _event(house, talk, {"role": "assistant", "content": ""}, seeworth={"ignored": talk.ignored})
        while tokens is not None:
            text = _sure(decode(tokens, skip_special_tokens=True))
            if text.startswith(said) and text != said:
                yield _event(house, talk, {"content": text[len(said) :]})
                said = text
            tokens = await heard.get()
        try:
            answer = doing.result()
        except Exception as problem:
            yield _broken(problem)
            if isinstance(problem, Refused):
                return
            raise
        if rest := answer.text.removeprefix(said):
            yield _event(house, talk, {"content": rest})
        yield _event(house, talk, {}, finish="length" if answer.cut else "stop")
        if talk.usage:
            yield _event(house, talk, None, usage=_usage(talk, answer))
        yield "data: [DONE]\n\n"
    finally:
        doing.cancel()
        del doing  # see `queue`


def _broken(problem: Exception) -> str:
    """Why a stream ends before its answer does."""
    refused = problem if isinstance(problem, Refused) else Refused(500, "internal", "the answer broke off here")
    return f"data: {json.dumps(refused.body('/v1/chat/'))}\n\n"


def _sure(text: str) -> str:
    """Without what more tokens may change: white space at the ends, and a character that is not whole yet."""
    return text.strip().rstrip("\ufffd").rstrip()


def _event(house: House, talk: Talk, delta: dict[str, str] | None, *, finish: str | None = None, **more: Any) -> str:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
    head = {"id": talk.id, "object": "chat.completion.chunk", "created": talk.created, "model": house.model.name}
    return f"data: {json.dumps({**head, 'choices': choices, **more}, ensure_ascii=False)}\n\n"
