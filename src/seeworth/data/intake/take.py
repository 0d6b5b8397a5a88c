"""The first half of an import: every photo that a row names is read or fetched, decoded and stored, once.

First the rows pass by and their own photos are decoded while they do; what lies on the web is noted, then taken from an
earlier dataset where that has it, then fetched. What is done stands in the ledger; what stood there before is skipped.
Knows nothing of records, ids or splits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import fields
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from ...errors import PhotoError
from ...settings import ImportSettings
from ..dataset import METADATA, Dataset
from ..download.url import host_of, web_url
from ..metadata import FURTHER
from ..progress import metered
from ..rows.address import Address, EmbeddedPhoto, LocalPhoto, RemotePhoto
from ..workers import Workers
from .ledger import Ledger, key_of, state_of
from .stored import Stored, adopt, crashed, store

_CHUNK = 16  # photos that a worker is given at once
_CHUNK_BYTES = 1 << 20  # of photos that stand in their rows
_JOBS = 1000  # URLs noted in one transaction


def take_photos(photos: Iterable[Address], settings: ImportSettings, ledger: Ledger, processes: int) -> list[str]:
    """All photos into the ledger; return what the user may like to know. Raises OSError, DataError."""
    with Workers(processes) as workers:
        _Taker(settings.output, ledger, workers).take(photos)
        reused = _reuse(settings.earlier, settings.output, ledger, workers) if settings.earlier else 0
        if jobs := sum(number for _, number in ledger.hosts()):
            asyncio.run(_fetch(settings, ledger, workers, jobs))
    return [f"{reused} photos taken from {settings.earlier}, not fetched again"] if settings.earlier else []


class _Taker:
    """Photos of this machine through the pool, a bounded number at a time; URLs into the ledger's list of jobs."""

    def __init__(self, folder: Path, ledger: Ledger, workers: Workers) -> None:
        self.folder, self.ledger, self.workers = folder, ledger, workers
        self.chunk: list[tuple[bytes, str, Path | bytes]] = []
        self.size = 0
        self.jobs: list[tuple[bytes, str, str]] = []
        self.running: dict[Future[list[Stored]], list[tuple[bytes, str]]] = {}
        self.under_way: set[bytes] = set()

    def take(self, photos: Iterable[Address]) -> None:
        for photo in photos:
            key, state = key_of(photo), state_of(photo)
            if key in self.under_way or self.ledger.is_done(key, state):
                continue
            if isinstance(photo, RemotePhoto):
                self._note(key, photo.url)
            else:
                self._add(key, state, photo)
        self._note_all()
        self._submit()
        while self.running:
            self._collect()

    def _note(self, key: bytes, text: str) -> None:
        try:
            url = web_url(text)
        except PhotoError as problem:
            self.ledger.put(key, Stored(code=problem.code, reason=str(problem)))
            return
        self.jobs.append((key, host_of(url), str(url)))
        if len(self.jobs) >= _JOBS:
            self._note_all()

    def _note_all(self) -> None:
        self.ledger.add_jobs(self.jobs)
        self.jobs.clear()

    def _add(self, key: bytes, state: str, photo: LocalPhoto | EmbeddedPhoto) -> None:
        data = photo.data if isinstance(photo, EmbeddedPhoto) else photo.path
        self.under_way.add(key)
        self.chunk.append((key, state, data))
        self.size += len(data) if isinstance(data, bytes) else 0
        if len(self.chunk) >= _CHUNK or self.size >= _CHUNK_BYTES:
            self._submit()

    def _submit(self) -> None:
        if self.chunk:
            future = self.workers.hand_out(partial(store, self.folder), [data for _, _, data in self.chunk], crashed)
            self.running[future] = [(key, state) for key, state, _ in self.chunk]
            self.chunk, self.size = [], 0
        while len(self.running) >= self.workers.most:
            self._collect()

    def _collect(self) -> None:
        for future in wait(self.running, return_when=FIRST_COMPLETED).done:
            photos = self.running.pop(future)
            self.ledger.put_all((key, stored, state) for (key, state), stored in zip(photos, future.result(), strict=True))
            self.under_way.difference_update(key for key, _ in photos)


async def _fetch(settings: ImportSettings, ledger: Ledger, workers: Workers, jobs: int) -> None:
    from ..download.fetch import Fetch  # here, for aiohttp takes a tenth of a second to load
    from ..download.request import Downloader

    downloader = Downloader(
        settings.output, connections=settings.connections, timeout=settings.timeout, allow_private=settings.allow_private_addresses
    )
    limits = {"connections": settings.connections, "per_host": settings.connections_per_host, "retries": settings.retries}
    with metered(jobs, "downloads") as meter:
        async with downloader:
            await Fetch(ledger, settings.output, downloader, workers, meter, **limits).run()


def _reuse(earlier: Path, folder: Path, ledger: Ledger, workers: Workers) -> int:
    """Photos that an earlier dataset fetched from the very URLs that are to be fetched now; return how many."""
    dataset = Dataset.open(earlier)
    wanted = (
        (key, (dataset.folder / stored.file_name, stored))
        for key, stored in _fetched(dataset)
        if ledger.is_job(key) and not ledger.is_done(key, "")
    )
    count = 0
    while window := list(islice(wanted, _CHUNK * workers.most)):
        chunks = [window[start : start + _CHUNK] for start in range(0, len(window), _CHUNK)]
        futures = [workers.submit(partial(adopt, folder), [photo for _, photo in chunk], lambda _: None) for chunk in chunks]
        for chunk, future in zip(chunks, futures, strict=True):
            found = [(key, stored, "") for (key, _), stored in zip(chunk, future.result(), strict=True) if stored]
            ledger.put_all(found)
            count += len(found)
    ledger.drop_done_jobs()
    return count


def _fetched(dataset: Dataset) -> Iterator[tuple[bytes, Stored]]:
    """The photos of a dataset that came from the web, a few rows of its table at a time."""
    photo = (dataset.manifest["source"].get("columns") or {}).get("photo")
    column = next((column for column, name in dataset.manifest["columns"].items() if name == photo), None)
    if column is None:
        return
    table = pq.ParquetFile(dataset.folder / METADATA)
    names = [one.name for one in fields(Stored) if one.name in table.schema_arrow.names]
    for batch in table.iter_batches(4096, columns=[*names, column, *([FURTHER] if dataset.conversations else [])]):
        for line in batch.to_pylist():
            for source, one in [(line[column], line), *((one["source"], one) for one in line.get(FURTHER) or ())]:
                try:
                    url = web_url(source or "")
                except PhotoError:
                    continue
                yield key_of(RemotePhoto(str(url))), Stored(**{name: one[name] for name in names})
