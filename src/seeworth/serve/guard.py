"""What every request meets first and every answer last: who may ask, how much and how slowly, safe headers, one line in the log.

Pure ASGI, outside the app: nothing of a body is read before its sender was let in. Knows nothing of photos or answers.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics
from .refused import Refused, too_many

log = logging.getLogger("seeworth.serve")

HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
OPEN = ("/", "/healthz", "/readyz")  # without a key; and /page/
GONE = 499  # in the log: the client went away before the answer


@dataclass(frozen=True)
class Rules:
    """Who may ask for how much.

    Attributes:
        hosts: names that a request may be addressed to; () for any. api_key: None where none is needed.
        max_bytes: of one body. max_total: bytes of all bodies in memory. seconds: for a body, and for each part of an answer.
    """

    hosts: Sequence[str] = ("localhost", "127.0.0.1", "::1")
    api_key: str | None = field(default=None, repr=False)
    max_bytes: int = 32 << 20
    max_total: int = 512 << 20
    seconds: float = 30.0


@dataclass(eq=False)
class _Visit:
    """One request on its way through."""

    scope: Scope
    id: str
    status: int = 0
    started: bool = False
    lost: bool = False
    sent: int = 0
    read: int = 0

    @property
    def path(self) -> str:
        """As it was asked for."""
        return str(self.scope["path"])

    def header(self, name: bytes) -> bytes | None:
        """Of the request; the first of several."""
        return next((value for key, value in self.scope["headers"] if key == name), None)


class Guard:
    """Wraps the app. `scope["state"]` gets `id`, and `notes` for the log.

    Attributes:
        bodies: bytes of bodies in memory. visits: requests under way, those for health and metrics not counted.
    """

    def __init__(self, app: ASGIApp, rules: Rules, metrics: Metrics) -> None:
        self.app = app
        self.rules = rules
        self.metrics = metrics
        self.bodies = 0
        self.visits = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(scope, secrets.token_hex(8))
        scope["state"] = {**scope.get("state", {}), "id": visit.id, "notes": {}}
        start = time.perf_counter()
        counted = visit.path.startswith("/v1/")
        self.visits += counted
        try:
            await self._pass(visit, receive, self._sender(visit, send))
        finally:
            self.visits -= counted
            self._keep(-visit.read)
            self._tell(visit, time.perf_counter() - start)

    async def _pass(self, visit: _Visit, receive: Receive, send: Send) -> None:
        try:
            self._check_host(visit)
            self._check_key(visit)
            self._check_length(visit)
            await self.app(visit.scope, self._receiver(visit, receive), send)
        except Refused as refused:
            if not visit.started:
                await refused.response(visit.path)(visit.scope, receive, send)
        except ClientGone:
            visit.status = GONE
        except Exception:
            if visit.lost:
                visit.status = GONE
                return
            log.exception("request %s failed", visit.id)
            if not visit.started:
                await failed(visit.id).response(visit.path)(visit.scope, receive, send)
            # else the server cuts the connection, so that no half answer looks like a whole one

    def _check_host(self, visit: _Visit) -> None:
        """Against DNS rebinding (a page elsewhere whose name leads here), and against pages elsewhere that post here."""
        host = _name(visit.header(b"host"))
        hosts = self.rules.hosts
        if hosts and host not in hosts:
            raise Refused(400, "host", f"the request is for host {host[:80]!r}, expected {', '.join(hosts)}: see --allowed_hosts")
        origin = visit.header(b"origin")
        if origin is not None and (found := _origin(origin)) != host and (not hosts or found not in hosts):
            raise Refused(403, "origin", f"a page of {found[:80]!r} asks: only pages of this server may")

    def _check_key(self, visit: _Visit) -> None:
        key = self.rules.api_key
        if key is None or visit.path in OPEN or visit.path.startswith("/page/"):
            return
        scheme, _, given = (visit.header(b"authorization") or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), key.encode()):
            message = "an API key is needed: send it as Authorization: Bearer KEY" if not given else "this API key is not right"
            raise Refused(401, "invalid_api_key", message, headers={"WWW-Authenticate": "Bearer"})

    def _check_length(self, visit: _Visit) -> None:
        length = visit.header(b"content-length")
        if length is not None and (not length.isdigit() or len(length) > 18 or int(length) > self.rules.max_bytes):
            raise self._too_large()

    def _too_large(self) -> Refused:
        return Refused(413, "too_large", f"the body has over {self.rules.max_bytes} bytes, the most: send smaller photos, or fewer at once")

    def _receiver(self, visit: _Visit, receive: Receive) -> Receive:
        """Counts a body while it comes, and gives it so many seconds."""
        deadline = asyncio.get_running_loop().time() + self.rules.seconds
        whole = False

        async def counted() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as problem:
                raise Refused(408, "slow", f"the body did not come within {self.rules.seconds:g} seconds") from problem
            if message["type"] == "http.disconnect":
                raise ClientGone
            whole = not message.get("more_body", False)
            size = len(message.get("body", b""))
            if visit.read + size > self.rules.max_bytes:
                raise self._too_large()
            if self.bodies + size > self.rules.max_total:
                raise too_many(2, "the requests under way hold all the memory there is for them: come back later")
            visit.read += size
            self._keep(size)
            return message

        return counted

    def _keep(self, size: int) -> None:
        self.bodies += size
        self.metrics.bodies.set(self.bodies)

    def _sender(self, visit: _Visit, send: Send) -> Send:
        """Adds headers, and gives a client that does not read so many seconds."""

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.started, visit.status = True, message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                more = [pair for pair in HEADERS if pair[0] not in given]
                message = {**message, "headers": [*message["headers"], *more, (b"x-request-id", visit.id.encode())]}
            visit.sent += len(message.get("body", b""))
            try:
                async with asyncio.timeout(self.rules.seconds):
                    await send(message)
            except TimeoutError as problem:
                visit.lost = True
                raise ClientGone from problem

        return safe

    def _tell(self, visit: _Visit, seconds: float) -> None:
        """One line in the log, without what was in the request; and the counters."""
        state = visit.scope["state"]
        route = str(getattr(visit.scope.get("route"), "path", "other"))
        self.metrics.requests.labels(route, str(visit.status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        client = (visit.scope.get("client") or ("-",))[0]
        notes = "".join(f" {name}={value}" for name, value in state["notes"].items())
        path = visit.path.encode("unicode_escape").decode()[:80]
        words = (client, visit.scope["method"][:16], path, visit.status, seconds * 1e3, visit.read, visit.sent, visit.id, notes)
        log.info("%s %s %s %d %.1fms in=%d out=%d id=%s%s", *words)


def failed(name: str) -> Refused:
    """What a client hears of a fault that is ours."""
    return Refused(500, "internal", f"something went wrong here; the log tells of it under {name}")


class ClientGone(Exception):
    """The client went away: there is nobody to answer."""


def _name(host: bytes | None) -> str:
    """The host of a Host header, without port and brackets, in small letters."""
    try:
        return urlsplit(f"//{(host or b'').decode('latin-1').strip()}").hostname or ""
    except ValueError:
        return ""


def _origin(origin: bytes) -> str:
    try:
        return urlsplit(origin.decode("latin-1")).hostname or "null"
    except ValueError:
        return "null"
