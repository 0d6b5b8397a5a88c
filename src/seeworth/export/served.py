"""What the server says of records: the app that `serve` runs, asked over its own HTTP interface, in this process and without a socket.

Knows nothing of tolerances. Only what `seeworth serve` needs (extra `serve`) makes it possible; where that is away it is said.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..record import Record
from ..serve.start import NEEDED
from ..settings import ServeSettings

PATIENCE = 86_400.0  # seconds: a large model on a CPU is slow, and a late answer is as good a proof


def served_answers(run: Path, records: Sequence[Record], *, batch_size: int, max_new_tokens: int) -> tuple[list[str] | None, str]:
    """(the served words of each record, ""), or (None, why nobody could be asked).

    Photos go as `seeworth serve` gets them, file by file, as many in a request as are answered together; where the question names
    fields, one by one with these. Raises RunError when the server refuses a record.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        return None, f"{missing[0]} is not installed: pip install 'seeworth[serve]'"
    if any(record.turns is not None or len(record.all_photos) != 1 for record in records):
        return None, "the records are conversations, or not of one photo each"
    from ..serve.run import load

    settings = ServeSettings(
        run=run,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        max_tokens_per_batch=1 << 30,
        timeout=PATIENCE,
        receive_timeout=PATIENCE,
        max_photos=max(batch_size, 1),
        max_bytes=1 << 31,
        max_memory=1 << 13,
        max_pixels=1 << 31,
        distribution=False,
        similar=False,
        occlusion=False,
    )
    model = load(settings)
    words = asyncio.run(_ask(model, settings, records))
    model.model = None  # its memory is wanted
    return words, ""


async def _ask(model: Any, settings: ServeSettings, records: Sequence[Record]) -> list[str]:
    from ..serve.app import build
    from ..serve.guard import Guard, Rules
    from ..serve.house import House

    house = House.of(model, None, settings)
    rules = Rules(max_bytes=settings.max_bytes, max_total=settings.max_memory << 20, seconds=settings.receive_timeout)
    app = Guard(build(house), rules, house.metrics)
    asked = [one.name for one in model.encoder.task.question_fields]
    size = 1 if asked else settings.batch_size
    found: list[str] = []
    with house.running():
        for start in range(0, len(records), size):
            part = records[start : start + size]
            values = {name: str(part[0].values[name]) for name in asked}
            told = await _post(app, {"photos": [_address(record.all_photos[0]) for record in part], "values": values})
            found += [_words(record, one) for record, one in zip(part, told.get("predictions", [told] * len(part)), strict=True)]
    return found


async def _post(app: Any, content: dict[str, Any]) -> dict[str, Any]:
    """What POST /v1/predict answers to a JSON body, over ASGI."""
    body = json.dumps(content).encode()
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/v1/predict",
             "raw_path": b"/v1/predict", "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
             "root_path": ""}  # fmt: skip
    coming = [{"type": "http.request", "body": body, "more_body": False}]
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        if coming:
            return coming.pop()
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return dict(json.loads(b"".join(parts)))


def _address(photo: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(photo.read_bytes()).decode()}"  # the decoder looks at the bytes alone


def _words(record: Record, told: dict[str, Any]) -> str:
    if "text" not in told:
        raise RunError(f"the server does not answer record {record.id}: {told.get('error', {}).get('message', 'no reason is given')}")
    return str(told["text"])
