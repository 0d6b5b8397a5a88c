"""Every photo of a dataset folder opened once, in worker processes: is it there, whole, and the one that the table names.

Knows nothing of records, groups or splits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...errors import DataError, PhotoError
from ..photo.decode import glance, read_photo
from ..workers import in_order, processors

_FEW = 200  # photos; one process is done with them before others have started
_NAME = re.compile(r"photos/[0-9a-f]{2}/[0-9a-f]{64}\.[a-z0-9]{1,8}")


class Named(NamedTuple):
    """A photo as metadata.parquet names it."""

    file_name: str
    sha256: str
    width: int
    height: int


class Seen(NamedTuple):
    """A photo as it is: how it looks, or the code and the words of what is wrong with it."""

    phash: str
    look: str
    code: str = ""
    reason: str = ""


def look_at_all(folder: Path, photos: Sequence[Named], processes: int) -> Iterator[Seen]:
    """Each photo, in order. `processes` 0 takes one for each processor. Raises DataError when a worker dies."""
    look = partial(look_at, folder.resolve())
    try:
        yield from in_order(partial(_same, look), photos, 1 if len(photos) <= _FEW else processes or processors())
    except BrokenProcessPool as problem:
        raise DataError(f"{folder}: a worker process died, perhaps for lack of memory: try --processes 1") from problem


def _same(look: Callable[[Named], Seen]) -> Callable[[Named], Seen]:
    """What `in_order` makes in each process."""
    return look


def look_at(folder: Path, photo: Named) -> Seen:
    """Open one photo. Codes: those of `photo.open_photo`, and outside, changed (other bytes), size_differs."""
    path = folder / photo.file_name
    try:
        if not _NAME.fullmatch(photo.file_name) or path.resolve() != path:
            raise PhotoError("outside", f"{photo.file_name!r} is no photo of this folder, or a link")
        data = read_photo(path)
        found = glance(data)
        if (digest := hashlib.sha256(data).hexdigest()) != photo.sha256:
            raise PhotoError("changed", f"its bytes are not those that were stored: SHA-256 {digest[:12]}…, expected {photo.sha256[:12]}…")
        if (found.width, found.height) != (photo.width, photo.height):
            raise PhotoError("size_differs", f"{found.width} x {found.height} pixels, the table says {photo.width} x {photo.height}")
    except PhotoError as problem:
        return Seen("", "", problem.code, str(problem))
    return Seen(found.phash, found.look)
