"""All photos of the web that an import needs: which is asked for next, how often, and when a host is left alone.

A slot is one photo from its request until it stands in the ledger, decoded; there are `connections` of them, so that
memory, and what a kill costs, are bounded by them. A photo or a host that waits holds none. Each host has

    a queue       its jobs lie in the ledger and are taken from there a few at a time, in the order of the rows
    a width       how many of its photos are asked for at once: 2 at first, one more for each answer, half when it is
                  busy (429, 503), 1 when nothing comes from it
    a rest        after such a failure nobody asks it, for as long as its Retry-After says or for 1, 2, 4 ... seconds;
                  when _RESTS rests in a row bring no answer, it is given up, and its other photos are refused at once

and hosts that have not answered well last time share half of the slots at most while others have work: so one that
fails or stalls slows nobody else. Waits have full jitter (M. Brooker, "Exponential Backoff And Jitter", 2015). Knows
nothing of HTTP; `download` does one try.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from yarl import URL

from ..intake.ledger import Job, Ledger
from ..intake.stored import Stored, crashed, store
from ..progress import Meter
from ..rows.cells import shown
from ..workers import Workers
from .request import Body, Downloader, Failure
from .url import host_of

_FIRST_WAIT = 1.0  # seconds; doubled for each further failure
_LONGEST_WAIT = 60.0
_RESTS = 5  # twice as many for a host that answers, but only to ask for patience
_REDIRECTS = 5  # in a row
_AHEAD = 64  # jobs of a host that are held in memory


@dataclass
class _Try:
    """One photo on its way: `url` is the next thing asked for, which a redirect changes."""

    job: Job
    url: URL
    hops: int = 0
    failures: int = 0
    began: float = 0.0
    doubtful: bool = False  # it counts among the slots of doubtful hosts


@dataclass
class _Host:
    """One server's queue; see the module's head."""

    name: str
    width: float = 2.0
    active: int = 0
    good: bool = False  # its last answer was one
    rests: int = 0
    rest_began: float = 0.0
    rest_until: float = 0.0
    last: int = 0  # number of the last job taken from the ledger
    more: bool = True  # the ledger may hold more
    ready: deque[_Try] = field(default_factory=deque)
    later: list[tuple[float, int, _Try]] = field(default_factory=list)  # heap: not before that time
    ticket: int = 0  # of its one valid place in the rings


class Fetch:
    """Fetches every job of a ledger; `run` once."""

    def __init__(
        self, ledger: Ledger, folder: Path, downloader: Downloader, workers: Workers, meter: Meter,
        *, connections: int, per_host: int, retries: int,
    ) -> None:  # fmt: skip
        self.ledger, self.folder, self.downloader, self.workers, self.meter = ledger, folder, downloader, workers, meter
        self.connections, self.per_host, self.retries = connections, per_host, retries
        jobs = ledger.hosts()
        self.left = sum(number for _, number in jobs)
        self._hosts = {name: _Host(name) for name, _ in jobs}
        self._good: deque[tuple[_Host, int]] = deque()  # hosts that may be asked now, those that answered well last time
        self._doubtful: deque[tuple[_Host, int]] = deque()  # and the others
        self._resting: list[tuple[float, int, _Host]] = []  # heap
        self._tickets = count(1)
        self._running = self._running_doubtful = 0
        self._wake = asyncio.Event()
        self._broken = False

    async def run(self) -> None:
        """Until every job is settled. Raises what storing a photo raises, and DataError."""
        try:
            async with asyncio.TaskGroup() as group:
                for host in self._hosts.values():
                    self._place(host)
                while self.left and not self._broken:
                    self._wake.clear()
                    wait = self._start(group)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), wait)
        except BaseExceptionGroup as problems:
            raise problems.exceptions[0] from None

    def _start(self, group: asyncio.TaskGroup) -> float | None:
        """Fill the free slots; return the seconds until a rest ends, None when none does."""
        now = time.monotonic()
        while self._resting and self._resting[0][0] <= now:
            _, ticket, rested = heapq.heappop(self._resting)
            if ticket == rested.ticket:
                self._place(rested)
        while self._running < self.connections and (host := self._pick()):
            if one := self._next(host):
                one.doubtful = not host.good
                self._running_doubtful += one.doubtful
                self._running += 1
                host.active += 1
                group.create_task(self._serve(host, one))
            self._place(host)
        return max(self._resting[0][0] - now, 0.001) if self._resting else None

    def _pick(self) -> _Host | None:
        """The host whose turn it is. Doubtful ones come first, so that they are tried, but only to half of the slots."""
        rings = (self._doubtful, self._good)
        for ring in rings if self._running_doubtful < max(self.connections // 2, 1) else rings[::-1]:
            while ring:
                host, ticket = ring.popleft()
                if ticket == host.ticket:
                    return host
        return None

    def _place(self, host: _Host) -> None:
        """Put a host where it is found again: among those that may be asked now, or those that rest, or nowhere."""
        host.ticket = next(self._tickets)  # its other places are void
        if host.active >= int(host.width) or (when := self._when(host)) is None:
            return  # it is placed again when one of its photos comes back
        if when > time.monotonic():
            heapq.heappush(self._resting, (when, host.ticket, host))
        else:
            (self._good if host.good else self._doubtful).append((host, host.ticket))

    def _when(self, host: _Host) -> float | None:
        """When the host may be asked next; None: it has nothing to be asked."""
        self._refill(host)
        if host.ready:
            return host.rest_until
        return max(host.later[0][0], host.rest_until) if host.later else None

    def _next(self, host: _Host) -> _Try | None:
        if host.later and host.later[0][0] <= time.monotonic():
            return heapq.heappop(host.later)[2]
        return host.ready.popleft() if host.ready else None

    def _refill(self, host: _Host) -> None:
        if not host.ready and host.more:
            jobs = self.ledger.jobs(host.name, host.last, _AHEAD)
            host.more = len(jobs) == _AHEAD
            host.last = jobs[-1].number if jobs else host.last
            host.ready.extend(_Try(job, URL(job.url, encoded=True)) for job in jobs)

    async def _serve(self, host: _Host, one: _Try) -> None:
        """One slot: one try of one photo, and when it gives a body, its decoding."""
        try:
            if body := await self._ask(host, one):
                await self._decode(one, body)
        except BaseException:  # the disk is full, a worker died, Ctrl-C: nothing more is begun
            self._broken = True
            raise
        finally:
            self._running -= 1
            self._wake.set()

    async def _ask(self, host: _Host, one: _Try) -> Body | None:
        one.began = time.monotonic()
        last = not (host.ready or host.later or host.more)
        try:
            answer = await self.downloader.get(one.url, last=last)
        except Failure as failure:
            self._failed(host, one, failure)
            return None
        else:
            self._answered(host)
            if isinstance(answer, Body):
                return answer
            self._moved(one, answer)
            return None
        finally:
            host.active -= 1
            self._running_doubtful -= one.doubtful
            self._place(host)
            self._wake.set()

    async def _decode(self, one: _Try, body: Body) -> None:
        try:
            [stored] = await asyncio.wrap_future(self.workers.submit(partial(store, self.folder), [body.data], crashed))
        finally:
            if isinstance(body.data, Path):
                body.data.unlink(missing_ok=True)
        self._settle(one, stored, final=True, size=body.size)

    def _moved(self, one: _Try, target: URL) -> None:
        """A redirect: the photo goes on in the queue of the host that it leads to."""
        one.hops += 1
        if one.hops > _REDIRECTS:
            words = f"more than {_REDIRECTS} redirects, the last to {shown(str(target))}"
            self._settle(one, Stored(code="too_many_redirects", reason=words))
            return
        one.url = target
        host = self._hosts.setdefault(host_of(target), _Host(host_of(target), more=False))
        host.ready.appendleft(one)
        self._place(host)

    def _answered(self, host: _Host) -> None:
        host.good, host.rests = True, 0
        host.width = min(host.width + 1, self.per_host)

    def _failed(self, host: _Host, one: _Try, failure: Failure) -> None:
        if failure.kind == "final":
            self._answered(host)
            self._settle(one, _refusal(one, failure))
            return
        one.failures += 1
        if one.failures > (3 * self.retries + 3 if failure.kind == "busy" else self.retries):
            self._settle(one, _refusal(one, failure, f" ({one.failures} tries)"), final=False)
        else:
            self._again(one, max(failure.wait, _jittered(one.failures - 1)) if failure.kind == "again" else 0.0)
        host.good = False
        if failure.kind == "again":
            host.rests = 0  # it is there
        else:
            self._rest(host, one, failure)

    def _again(self, one: _Try, wait: float) -> None:
        """Back into the queue, from its first URL on: where a redirect leads may hold for a while only."""
        one.url, one.hops = URL(one.job.url, encoded=True), 0
        host = self._hosts[host_of(one.url)]
        heapq.heappush(host.later, (time.monotonic() + wait, next(self._tickets), one))
        self._place(host)

    def _rest(self, host: _Host, one: _Try, failure: Failure) -> None:
        """The whole host waits. What was under way when a rest began does not begin another."""
        if one.began < host.rest_began:
            return
        busy = failure.kind == "busy"
        host.width = max(host.width / 2, 1.0) if busy else 1.0
        host.rests += 1
        if host.rests > (2 * _RESTS if busy else _RESTS):
            self._give_up(host, failure)
            return
        host.rest_began = time.monotonic()
        host.rest_until = host.rest_began + (failure.wait or _jittered(host.rests - 1, least=0.5))

    def _give_up(self, host: _Host, failure: Failure) -> None:
        """Refuse all that waits for a host; a next import may find it well again."""
        words = f" ({host.name} was given up after {host.rests} such answers or silences in a row)"
        while self._when(host) is not None:
            waiting = [*host.ready, *(one for _, _, one in host.later)]
            host.ready.clear()
            host.later.clear()
            for one in waiting:
                self._settle(one, _refusal(one, failure, words), final=False)

    def _settle(self, one: _Try, stored: Stored, *, final: bool = True, size: int = 0) -> None:
        self.ledger.put(one.job.key, stored, final=final)
        self.left -= 1
        self.meter.step(size=size)
        self._wake.set()


def _refusal(one: _Try, failure: Failure, more: str = "") -> Stored:
    return Stored(code=failure.code, reason=f"{shown(str(one.url))}: {failure.words}{more}")


def _jittered(failures: int, least: float = 0.0) -> float:
    """Seconds to wait: full jitter over a time that doubles with each failure; at least that share of it."""
    longest = min(_FIRST_WAIT * 2.0 ** min(failures, 30), _LONGEST_WAIT)
    return random.uniform(least * longest, longest)
