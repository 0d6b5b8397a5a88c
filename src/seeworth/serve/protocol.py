"""uvicorn with two habits more: patience with slow headers has an end, and a signal to stop means that what was taken is finished first.

Knows nothing of the app but whether it is still busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

POLL = 0.05  # seconds


def patient(seconds: float) -> type[H11Protocol]:
    """A protocol that closes a connection whose next request's headers are not there within so many seconds.

    uvicorn itself waits for ever for the first byte and for the rest of a header, and after an early answer for the rest of a body.
    """

    class Patient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._unwatch()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            super().handle_events()
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def _watch(self) -> None:
            """The clock runs from when nothing is being answered, and stops when something is."""
            idle = self.cycle is None or self.cycle.response_complete
            if not idle or self.transport.is_closing():
                self._unwatch()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self._give_up)

        def _unwatch(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _give_up(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                self.transport.close()

    return Patient


class GracefulServer(Server):
    """Says `ready` when it listens. Stops when told to, by SIGTERM or SIGINT: `draining` is called, and the socket stays open, so that
    health checks hear of it, until `busy` says no or `seconds` are over. A second signal ends it at once."""

    def __init__(
        self, config: Config, *, ready: Callable[[], None], draining: Callable[[], None], busy: Callable[[], bool], seconds: float
    ) -> None:
        super().__init__(config)
        self.ready = ready
        self.draining = draining
        self.busy = busy
        self.seconds = seconds
        self._signals = 0
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signal once more at the end: the exit status is 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {one: signal.signal(one, self._hear(loop)) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _hear(self, loop: asyncio.AbstractEventLoop) -> Callable[[int, FrameType | None], Any]:
        def heard(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop)

        return heard

    def stop(self) -> None:
        """Finish what was taken, then end; told a second time, end."""
        self._signals += 1
        if self._signals > 1:
            self.should_exit = self.force_exit = True
            return
        self.draining()
        self._drain = asyncio.get_running_loop().create_task(self._until_done())

    async def _until_done(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                while self.busy():
                    await asyncio.sleep(POLL)
        self.should_exit = True
