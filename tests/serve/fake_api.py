"""The API that the page speaks to, played: answers by the photo's mean colour, at once, and faults on demand.

It says what `seeworth serve` says, in the same form, without a model; a test holds the two against each other.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image, ImageOps
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

import seeworth.serve

PAGE = Path(seeworth.serve.__file__).parent / "page"
COLOURS = {
    "RED COATS": (200, 30, 30),
    "GREEN COATS": (30, 150, 40),
    "BLUE HATS": (30, 60, 200),
    "BLACK HATS": (15, 15, 15),
    "SHIRTS": (245, 245, 245),
}
PRICES = {"RED COATS": 1290.0, "GREEN COATS": 890.5, "BLUE HATS": 240.0, "BLACK HATS": 95.0, "SHIRTS": 310.0}
PRODUCT = {
    "model": "autumn-run",
    "question": "What is shown in this image?",
    "answer": "Product: {title}, Category: {category3_code}, Full Price: {full_price}",
    "fields": [
        {"name": "title", "kind": "text", "unit": None, "choices": None},
        {"name": "category3_code", "kind": "category", "unit": None, "choices": list(COLOURS)},
        {"name": "full_price", "kind": "number", "unit": "USD", "choices": None},
    ],
    "asks_for": [],
    "coverage": 0.9,
    "abstain_below": {"category3_code": 0.8},
    "abstain_above": {},
    "limits": {"max_bytes": 400_000, "max_pixels": 4_000_000, "max_photos": 16},
    "views": {"similar": True, "occlusion": True},
}


@dataclass
class FakeApi:
    """What it says, and what it was asked.

    Attributes:
        task: of /v1/task. title: of every answer. key: when it is not empty, it is asked for.
        faults: (status, headers, code, message), each answered to one predict, in turn, in place of an answer.
        held: while it is set, predict waits. asked: paths, in turn.
        sizes, weights, kinds, told: of each photo its pixels, bytes, format, and the words that came with it.
        now, most: requests to predict under way, and the most at a time that were.
    """

    task: dict[str, Any] = field(default_factory=lambda: dict(PRODUCT))
    title: str = ""
    key: str = ""
    faults: list[tuple[int, dict[str, str], str, str]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    told: list[dict[str, str]] = field(default_factory=list)
    most: int = 0
    address: str = ""
    now: int = 0

    def app(self) -> Starlette:
        routes = [
            Route("/", lambda _: FileResponse(PAGE / "index.html", headers=HEADERS)),
            Route("/page/{name}", self.file),
            Route("/v1/task", self.says_task),
            Route("/v1/predict", self.predict, methods=["POST"]),
            Route("/v1/similar", self.similar, methods=["POST"]),
            Route("/v1/occlusion", self.occlusion, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def file(self, request: Request) -> Response:
        path = PAGE / request.path_params["name"]
        types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
        if not path.is_file():
            return refusal(404, "not_found", "there is nothing at this address")
        return FileResponse(path, media_type=types[path.suffix], headers=HEADERS)

    def _barred(self, request: Request) -> Response | None:
        self.asked.append(request.url.path)
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return refusal(401, "key_missing", "this server asks for a key")
        return None

    async def says_task(self, request: Request) -> Response:
        return self._barred(request) or JSONResponse(self.task)

    async def predict(self, request: Request) -> Response:
        if barred := self._barred(request):
            return barred
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            async with request.form() as form:
                name, data = form["photo"].filename, await form["photo"].read()
                self.told.append({key: str(value) for key, value in form.items() if key != "photo"})
            while self.held.is_set():
                await asyncio.sleep(0.01)
            if self.faults:
                status, headers, code, message = self.faults.pop(0)
                return refusal(status, code, message, headers)
            about = {"name": name, "sha256": hashlib.sha256(data).hexdigest()}
            try:
                self.kinds.append(str(Image.open(io.BytesIO(data)).format))
                photo = opened(data)
            except OSError:
                error = {"code": "not_a_photo", "message": "its bytes are no photo of a kind that is read"}
                wrong = {"error": error, "photo": about | {"width": None, "height": None}}
                return JSONResponse({"model": self.task["model"], "predictions": [wrong]}, 422)
            self.sizes.append(photo.size)
            self.weights.append(len(data))
            about |= {"width": photo.width, "height": photo.height}
            return JSONResponse({"model": self.task["model"], "predictions": [self.answer(photo) | {"photo": about}]})
        finally:
            self.now -= 1

    def answer(self, photo: Image.Image) -> dict[str, Any]:
        """By the nearest colour; grey photos are unsure, and yellow ones cannot be read in full."""
        red, green, blue = photo.resize((1, 1)).getpixel((0, 0))
        by = {name: sum((a - b) ** 2 for a, b in zip((red, green, blue), one, strict=True)) for name, one in COLOURS.items()}
        category = min(by, key=lambda name: by[name])
        unsure, unread = max(red, green, blue) - min(red, green, blue) < 12 and 60 < red < 200, red > 180 and green > 180 and blue < 90
        price, sure = PRICES[category], 0.41 if unsure else 0.987
        names = [one["name"] for one in self.task["fields"]]
        title = self.title or f"Fine {category.title()[:-1]}, Regular"
        values: dict[str, Any] = {"title": title, "category3_code": category, "full_price": price}
        if unread:
            del values["full_price"]
        rest = [name for name in COLOURS if name != category]
        others = {name: (1 - sure) / len(rest) for name in rest}
        told: dict[str, Any] = {"category3_code": {"choices": {category: sure, **others}}}
        if not unread:
            likely = {"median": price, "low": price * 0.7, "high": price * 1.5}
            told["full_price"] = likely | {"values": [[price, 0.4], [price + 50, 0.2], [price - 40, 0.1]], "covered": 0.98}
        return {
            "text": "the model's words",
            "values": {name: value for name, value in values.items() if name in names},
            "problems": ["full_price: 'about 100' is no number"] if unread else [],
            "intervals": {} if unread or "full_price" not in names else {"full_price": [round(price * 0.62, 2), round(price * 1.7, 2)]},
            "confidence": {"category3_code": sure, "full_price": 0.4} if not unread else {"category3_code": sure},
            "distribution": {name: one for name, one in told.items() if name in names},
            "abstain": unsure,
            "abstain_why": "category3_code: 0.41 confident, sure from 0.8" if unsure else None,
            "seconds": {"queue": 0.02, "answer": 0.31},
        }

    async def similar(self, request: Request) -> Response:
        if barred := self._barred(request):
            return barred
        found = []
        for place, (name, colour) in enumerate(list(COLOURS.items())[: int(request.query_params.get("k", 5))]):
            buffer = io.BytesIO()
            Image.new("RGB", (48, 64), colour).save(buffer, "JPEG")
            photo = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
            values = {"title": self.title or f"A true {name.lower()}", "category3_code": name, "full_price": PRICES[name]}
            found.append({"id": f"r{place}", "similarity": 0.97 - 0.08 * place, "values": values, "photo": photo})
        return JSONResponse({"similar": found})

    async def occlusion(self, request: Request) -> Response:
        if barred := self._barred(request):
            return barred
        price: list[list[float | None]]
        price = [[round(-0.35 * 2.7 ** -((x - 2.5) ** 2 / 3 + (y - 3) ** 2 / 4), 4) for x in range(6)] for y in range(6)]
        price[0][0], price[5][5] = 0.115, None
        category = [[round(0.5 * 2.7 ** -((x - 1) ** 2 + (y - 1) ** 2), 4) for x in range(6)] for y in range(6)]
        base = {"title": "Coat", "category3_code": "RED COATS", "full_price": 1290.0}
        return JSONResponse({"rows": 6, "columns": 6, "base": base, "changes": {"category3_code": category, "full_price": price}})


HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers=headers)


def opened(data: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The app on loopback, at the address that is given."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(64)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
