"""A web server for tests, in a thread: photos, and all that goes wrong on the web. What a path does, its query says.

    /photo/7                      the JPEG of seed 7
    ?status=503&retry_after=1     that status instead; &times=2: for the first two requests only (also of what follows)
    ?stall=1  ?reset=1  ?cut=1    no answer; the connection closed at once; half of the body
    ?drip=0.2                     a byte each 0.2 seconds
    ?html=1  ?empty=1  ?type=x    a web page; no bytes; that Content-Type
    ?to=URL  ?hops=3  ?loop=1     a redirect; three of them, then the photo; one to itself
    ?size=N  ?claim=N             N bytes, streamed; N claimed in Content-Length
    ?gzip=N                       N zeros, packed, although nobody asked
    ?encoding=x  ?delay=0.1       that Content-Encoding; the answer comes so late

`served` counts the photos that were sent whole, `asked` all requests, both by path and query; `peak` is the most
requests at once.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from aiohttp import web
from PIL import Image


def draw(seed: int, size: tuple[int, int] = (40, 30)) -> bytes:
    """A JPEG of its own for each seed."""
    levels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


class PhotoServer:
    """`with PhotoServer() as server: server.url("/photo/7")`."""

    def __init__(self, delay: float = 0.0, photo: Callable[[int], bytes] = draw) -> None:
        self.delay, self.photo = delay, photo
        self.asked: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.now = self.peak = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> PhotoServer:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # a killed client is no news here
        app = web.Application()
        app.router.add_get("/photo/{seed}", self._count)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._done.wait()
        await runner.cleanup()

    async def _count(self, request: web.Request) -> web.StreamResponse:
        self.now += 1
        self.peak = max(self.peak, self.now)
        self.headers.append(dict(request.headers))
        self.asked[request.path_qs] += 1
        try:
            await asyncio.sleep(float(request.query.get("delay", self.delay)))
            return await self._answer(request, request.query)
        finally:
            self.now -= 1

    async def _answer(self, request: web.Request, query: Any) -> web.StreamResponse:
        if self.asked[request.path_qs] > int(query.get("times", 10**9)):
            return await self._send(request, self.photo(int(request.match_info["seed"])), {})
        if "status" in query:
            headers = {"Retry-After": query["retry_after"]} if "retry_after" in query else {}
            return web.Response(status=int(query["status"]), headers=headers)
        if "to" in query:
            return web.Response(status=302, headers={"Location": query["to"]})
        if int(query.get("hops", 0)):
            return web.Response(status=301, headers={"Location": f"?hops={int(query['hops']) - 1}"})
        if "loop" in query:
            return web.Response(status=307, headers={"Location": request.path_qs})
        if "stall" in query:
            await asyncio.sleep(3600)
        if "reset" in query and request.transport:
            request.transport.abort()
        if "html" in query:
            return web.Response(text="<!doctype html><title>Sign in</title>", content_type="image/jpeg")
        if "size" in query:
            return await self._stream(request, int(query["size"]))
        if "gzip" in query:
            return web.Response(body=gzip.compress(bytes(int(query["gzip"]))), headers={"Content-Encoding": "gzip"})
        data = b"" if "empty" in query else self.photo(int(request.match_info["seed"]))
        headers = {"Content-Type": query["type"]} if "type" in query else {}
        headers |= {"Content-Encoding": query["encoding"]} if "encoding" in query else {}
        if "claim" in query:
            headers["Content-Length"] = query["claim"]
        if "cut" in query or "drip" in query:
            return await self._part(request, data, float(query.get("drip", 0)))
        return await self._send(request, data, headers)

    async def _send(self, request: web.Request, data: bytes, headers: dict[str, str]) -> web.StreamResponse:
        answer = web.StreamResponse(headers=headers | {"Content-Length": headers.get("Content-Length", str(len(data)))})
        await answer.prepare(request)
        await answer.write(data)
        self.served[request.path_qs] += 1
        return answer

    async def _part(self, request: web.Request, data: bytes, drip: float) -> web.StreamResponse:
        """Half of the body and then nothing, or all of it a byte at a time."""
        answer = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await answer.prepare(request)
        if drip:
            for byte in data:
                await answer.write(bytes([byte]))
                await asyncio.sleep(drip)
        else:
            await answer.write(data[: len(data) // 2])
            await asyncio.sleep(0.01)
            if request.transport:
                request.transport.close()
        return answer

    async def _stream(self, request: web.Request, size: int) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        sent = 0
        while sent < size:
            await answer.write(bytes(1 << 16))
            sent += 1 << 16
        return answer
