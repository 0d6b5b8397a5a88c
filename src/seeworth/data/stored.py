"""One photo into the dataset folder: what is done in a worker process, and the pool of such workers.

Kept apart from `dataset` so that a worker starts without Arrow, aiohttp or SQLite. Knows nothing of tables, nor of where
a photo's bytes come from.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

from ..errors import DataError, PhotoError
from ..files import write_whole
from .photo import normalise, read_photo

PHOTOS = "photos"


@dataclass(frozen=True)
class Stored:
    """What became of one photo: where it is stored, or why not."""

    file_name: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    phash: str = ""
    code: str = ""
    reason: str = ""


def store(folder: Path, photo: Path | bytes) -> Stored:
    """One photo, from its file or its bytes, decoded and put into the dataset folder. Raises OSError when it cannot be written."""
    try:
        data, extension, width, height, phash = normalise(photo if isinstance(photo, bytes) else read_photo(photo))
    except PhotoError as problem:
        return Stored(code=problem.code, reason=str(problem))
    file_name, sha256 = store_photo(folder, data, extension)
    return Stored(file_name, sha256, width, height, phash)


def store_all(folder: Path, photos: Sequence[Path | bytes]) -> list[Stored]:
    """Some photos, one after the other."""
    return [store(folder, photo) for photo in photos]


def store_photo(folder: Path, data: bytes, extension: str) -> tuple[str, str]:
    """Put a photo's bytes into a dataset folder, named by their content; return (file_name, sha256).

    Args:
        extension: "jpg" or "png", as `photo.normalise` returns it; letters and digits only.

    Any number of processes may store at once, the same photo too: the file appears whole or not at all.
    """
    if not re.fullmatch(r"[a-z0-9]{1,8}", extension):
        raise ValueError(f"an extension is letters and digits, found {extension!r}")
    sha256 = hashlib.sha256(data).hexdigest()
    file_name = f"{PHOTOS}/{sha256[:2]}/{sha256}.{extension}"
    path = folder / file_name
    if not path.exists():
        try:
            write_whole(path, data)
        except FileNotFoundError:  # the first photo of its shelf
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
    return file_name, sha256


@contextmanager
def workers(processes: int) -> Generator[Executor, None, None]:
    """A pool of that many worker processes; for one, a thread of this process.

    A worker ends when its parent does, even when that was killed. Raises DataError when a worker is killed.
    """
    pool: Executor
    if processes == 1:
        pool = ThreadPoolExecutor(1)
    else:  # spawn, not fork: a process that already runs threads (a tracker, Arrow) cannot be forked safely
        pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        pool.submit(int)  # so that they start now, while the first photos are looked for
        yield pool
    except BrokenProcessPool as problem:
        raise DataError(
            "a worker process died, perhaps for lack of memory: give the same command again, with --processes 1; it continues"
        ) from problem
    finally:
        pool.shutdown(cancel_futures=True)


def processors() -> int:
    """Processors this process may use; a container is often given fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin_worker() -> None:
    """In a worker: leave the keyboard to the parent, and end with it; a pool's worker would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _keep_memory()
    parent = parent_process()
    if parent:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _keep_memory() -> None:
    """Keep the memory of one photo for the next: glibc gives it back each time, and to take it again costs a third of a decoding."""
    with suppress(OSError, AttributeError):  # another C library: it works as it is
        library = ctypes.CDLL(None)
        library.mallopt(-1, 256 << 20)  # M_TRIM_THRESHOLD, bytes
        library.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, the most that glibc takes
