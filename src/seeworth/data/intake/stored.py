"""One photo into the dataset folder: what is done in a worker process.

Kept apart from `dataset` so that a worker starts without Arrow, aiohttp or SQLite. Knows nothing of tables, nor of where
a photo's bytes come from.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import PhotoError
from ...files import write_whole
from ..photo.decode import glance, normalise, read_photo

PHOTOS = "photos"


@dataclass(frozen=True)
class Stored:
    """What became of one photo: where it is stored, or why not."""

    file_name: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    phash: str = ""
    look: str = ""
    code: str = ""
    reason: str = ""


def store(folder: Path, photo: Path | bytes) -> Stored:
    """One photo, from its file or its bytes, decoded and put into the dataset folder. Raises OSError when it cannot be written."""
    try:
        data, extension, seen = normalise(photo if isinstance(photo, bytes) else read_photo(photo, resolved=True))
    except PhotoError as problem:
        return Stored(code=problem.code, reason=str(problem))
    file_name, sha256 = store_photo(folder, data, extension)
    return Stored(file_name, sha256, *seen)


def crashed(photo: Path | bytes) -> Stored:
    """What became of a photo whose decoder died of it, twice."""
    where = f"{photo}" if isinstance(photo, Path) else f"{len(photo)} bytes"
    return Stored(code="crashed", reason=f"{where}: its decoder crashed, or was killed for lack of memory, each of two times")


def adopt(folder: Path, photo: tuple[Path, Stored]) -> Stored | None:
    """A photo of another dataset folder into this one, as it was stored there; None when it is no longer what it was."""
    path, before = photo
    try:
        data = read_photo(path)
        if hashlib.sha256(data).hexdigest() != before.sha256:
            return None
        look = glance(data).look
    except PhotoError:
        return None
    store_photo(folder, data, path.suffix[1:])
    return replace(before, look=look)


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


def stored_hash(path: Path) -> str:
    """The sha256 that a photo of a dataset folder has for its name, photos/ab/<sha256>.ext, in hex; "" where this is another path."""
    name = path.stem
    ours = path.parent.name == name[:2] and path.parent.parent.name == PHOTOS and re.fullmatch("[0-9a-f]{64}", name)
    return name if ours else ""
