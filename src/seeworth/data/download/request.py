"""One photo from the web into memory, or why not: a single try, with its timeouts, its limits and its reasons.

Asks for identity encoding as `seeworth/VERSION`, keeps no cookies, sends no credentials, takes no proxy from the
environment, follows no redirect itself: it returns where it leads, and the caller decides. Every address is checked by
`guard`. What comes back is bytes of anything; only decoding tells whether it is a photo. Knows nothing of queues,
retries or tables: `fetch` decides when and how often.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

import aiohttp
from yarl import URL

from ...errors import DataError, PhotoError
from ..photo.decode import MAX_BYTES
from ..rows.cells import shown
from .guard import AddressRefused, Guard
from .url import web_url

IN_MEMORY = 1 << 20  # bytes; a larger body waits for its decoder in a file, so that many at once do not fill the memory

Kind: TypeAlias = Literal["final", "again", "busy", "silent"]

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_WAIT = 120.0  # seconds; what a server may ask for with Retry-After, and gets


class Failure(Exception):
    """A try that gave no body.

    Attributes:
        kind: final: it would fail again; again: this photo may come another time; busy: the server asks for patience
            (429, 503); silent: nothing came from the host at all. The last two are the whole host's.
        code: short and stable, for rejected.jsonl. words: for it too. wait: seconds that the server asked for, 0: none.
    """

    def __init__(self, kind: Kind, code: str, words: str, wait: float = 0.0) -> None:
        super().__init__(words)
        self.kind: Kind = kind
        self.code, self.words, self.wait = code, words, wait


@dataclass(frozen=True)
class Body:
    """What a server sent: its bytes, or the file that holds them, which the caller deletes."""

    data: bytes | Path
    size: int


class Downloader:
    """One session. An asynchronous context manager."""

    def __init__(self, folder: Path, *, connections: int, timeout: float, allow_private: bool) -> None:
        """`folder` takes the bodies over IN_MEMORY bytes. `timeout`: seconds without a byte; four times of it for a whole body."""
        self.folder = folder
        self.timeout = timeout
        self.guard = Guard(allow_private)
        connect = min(max(timeout / 3, 0.5), 10.0)
        self._timeouts = aiohttp.ClientTimeout(total=4 * timeout, connect=connect, sock_read=timeout)
        self._connections = connections

    async def __aenter__(self) -> Downloader:
        connector = aiohttp.TCPConnector(
            limit=self._connections, resolver=self.guard, socket_factory=self.guard.open_socket, ttl_dns_cache=60, keepalive_timeout=5
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeouts,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"seeworth/{version('seeworth')}", "Accept": "image/*", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self.guard.close()

    async def get(self, url: URL, *, last: bool = False) -> Body | URL:
        """One try: the body, or the URL that it redirects to.

        Args:
            last: nothing more will be asked of this host for now, so that its connection need not stay open.

        Raises Failure; DataError when this machine, not the server, is at its end.
        """
        try:
            self.guard.need_host(url.raw_host or "")
            async with self._session.get(url, allow_redirects=False, headers={"Connection": "close"} if last else None) as answer:
                return await self._read(url, answer)
        except (aiohttp.ClientError, AddressRefused, TimeoutError, OSError, ValueError) as problem:
            raise _failure(problem, self.timeout) from problem

    async def _read(self, url: URL, answer: aiohttp.ClientResponse) -> Body | URL:
        if answer.status in _REDIRECTS and "Location" in answer.headers:
            return _redirect(url, answer.headers["Location"])
        if answer.status != 200:
            raise _status(answer)
        if (answer.content_length or 0) > MAX_BYTES:
            raise _too_heavy()
        unpack = _unpacker(answer.headers.get("Content-Encoding", ""))
        spool = _Spool(self.folder)
        try:
            async for chunk in answer.content.iter_any():
                spool.write(unpack(chunk, MAX_BYTES + 1 - spool.size))
            return spool.body()
        except BaseException:
            spool.discard()
            raise


class _Spool:
    """A body as it comes: in memory first, in a file once it is over IN_MEMORY bytes."""

    def __init__(self, folder: Path) -> None:
        self.size = 0
        self._parts: list[bytes] = []
        self._path = folder / f".body.{os.getpid()}.{secrets.token_hex(4)}"  # a draft, see files.DRAFT: swept when this process is killed
        self._in_file = False

    def write(self, part: bytes) -> None:
        self.size += len(part)
        self._parts.append(part)
        if self.size > MAX_BYTES:
            raise _too_heavy()
        if self.size > IN_MEMORY:
            self._empty()

    def body(self) -> Body:
        if self._in_file:
            self._empty()
            return Body(self._path, self.size)
        return Body(b"".join(self._parts), self.size)

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)

    def _empty(self) -> None:
        try:
            with self._path.open("ab") as file:
                file.writelines(self._parts)
        except OSError as problem:  # the disk's trouble, not the server's
            raise DataError(f"{self._path}: {problem.strerror}: make room and give the same command again; it continues") from problem
        self._in_file = True
        self._parts.clear()


def retry_after(text: str | None, now: float) -> float:
    """Seconds that a Retry-After header asks for, a number or a date, 0 to 120; 0 when it says nothing that can be read."""
    if not text:
        return 0.0
    try:
        seconds = float(text) if text.strip().isascii() else 0.0
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), _MOST_WAIT) if seconds == seconds else 0.0


def _redirect(url: URL, location: str) -> URL:
    """Where a redirect leads; from https never to http, where anyone on the way could put another photo in its place."""
    try:
        target = url.join(URL(location))
    except (ValueError, UnicodeError, TypeError) as problem:
        raise Failure("final", "bad_address", f"it redirects to {shown(location)}, which is no URL") from problem
    if target.scheme not in ("http", "https"):
        raise Failure("final", "address_refused", f"it redirects to {shown(location)}; expected http or https")
    if url.scheme == "https" and target.scheme == "http":
        raise Failure("final", "address_refused", f"it redirects from https to {shown(location)}")
    try:
        return web_url(str(target))
    except PhotoError as problem:
        raise Failure("final", "bad_address", f"it redirects to {shown(location)}: {problem}") from problem


def _status(answer: aiohttp.ClientResponse) -> Failure:
    """What an answer other than 200 means."""
    status = answer.status
    words = f"the server answered {status} {answer.reason or ''}".rstrip()
    wait = retry_after(answer.headers.get("Retry-After"), time.time())
    if status == 429 or (status == 503 and wait):
        return Failure("busy", "rate_limited", words, wait)
    if status in (408, 425) or 500 <= status < 600:
        return Failure("again", "server_error", words, wait)
    if status in (404, 410):
        return Failure("final", "not_found", words)
    if status in (401, 402, 403, 407, 451):
        return Failure("final", "forbidden", words)
    return Failure("final", "bad_answer", f"{words}; expected 200 and a photo")


def _failure(problem: BaseException, timeout: float) -> Failure:
    """What an exception of the client means. (Order matters: the client's classes are each other's children.)"""
    words = " ".join(str(problem).split())[:200] or type(problem).__name__
    if isinstance(problem, AddressRefused):
        return Failure("final", "address_refused", f"{words}: only public addresses are fetched from (--allow_private_addresses)")
    if isinstance(problem, TimeoutError):
        return Failure("silent", "timed_out", f"the server did not send it in time (timeout {timeout:g} s)")
    if isinstance(problem, aiohttp.ClientConnectorCertificateError):
        return Failure("final", "bad_certificate", words)
    if isinstance(problem, aiohttp.InvalidURL):
        return Failure("final", "bad_address", words)
    if isinstance(problem, OSError) and problem.errno in (errno.EMFILE, errno.ENFILE):
        raise DataError("too many open files: give the same command again with fewer --connections; it continues") from problem
    if isinstance(problem, aiohttp.ClientConnectorError):
        return Failure("silent", "unreachable", words)
    if isinstance(problem, aiohttp.ClientPayloadError):
        return Failure("again", "cut_short", "the body ended before its end")
    if isinstance(problem, aiohttp.ClientResponseError):
        return Failure("final", "bad_answer", f"the server's answer is no proper HTTP: {words}")
    if isinstance(problem, OSError | aiohttp.ServerDisconnectedError):
        return Failure("again", "cut_short", f"the connection was closed: {words}")
    return Failure("final", "bad_answer", words)


class _Unpacker:
    """Opens a gzip or deflate body that nobody asked for, never to more than is asked of it."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, as its header says

    def __call__(self, chunk: bytes, most: int) -> bytes:
        try:
            data = self._inflate.decompress(chunk, most)
        except zlib.error as problem:
            raise Failure("final", "bad_answer", f"its compression is damaged: {problem}") from problem
        if self._inflate.unconsumed_tail:
            raise _too_heavy()
        return data


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    name = encoding.strip().lower()
    if name in ("gzip", "x-gzip", "deflate"):
        return _Unpacker()
    if name in ("", "identity"):
        return lambda chunk, most: chunk
    raise Failure("final", "bad_answer", f"it is sent as {shown(encoding)}; identity was asked for")


def _too_heavy() -> Failure:
    return Failure("final", "too_heavy", f"over {MAX_BYTES // 2**20} MB, the most a photo file may have")
