"""Where a photo is: what a table's photo cell says, judged before anything is opened or fetched.

An address is one of three: a file inside the source's folder, an http(s) URL, or bytes that the row itself holds. Knows
nothing of how a file is decoded or how a URL is fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from ...errors import PhotoError
from .cells import MISSING, shown

MAX_PATH = 4096  # characters; what Linux takes


@dataclass(frozen=True)
class LocalPhoto:
    """A file; `path` is resolved and lies in the source's folder."""

    path: Path


@dataclass(frozen=True)
class RemotePhoto:
    """A photo on the web, an http or https URL as the cell has it."""

    url: str


@dataclass(frozen=True)
class EmbeddedPhoto:
    """The bytes of a photo file that stand in the row itself."""

    data: bytes


Address: TypeAlias = LocalPhoto | RemotePhoto | EmbeddedPhoto


def address_of(folder: Path, cell: str) -> LocalPhoto | RemotePhoto:
    """The photo that a cell names: a file, which must lie in `folder`, or an http(s) URL.

    Raises PhotoError with code photo_missing (an empty cell), bad_address (another scheme), missing (no path at all)
    or outside (a path or a link that leaves the folder).
    """
    name = cell.strip()
    if name.lower() in MISSING | {"nan"}:
        raise PhotoError("photo_missing", f"expected the path or URL of a photo, found {shown(cell)}")
    if re.match(r"(?i)https?://", name):
        return RemotePhoto(name)
    if re.match(r"(?i)[a-z][a-z0-9+.-]*://|(data|file|blob):|//", name):
        raise PhotoError("bad_address", f"expected a path or an http(s) URL, found {shown(name)}")
    if len(name) > MAX_PATH:
        raise PhotoError("missing", f"{shown(name)} is no path: {len(name)} characters, expected at most {MAX_PATH}")
    try:
        home = _resolved(folder)
        path = (home / name.replace("\\", "/")).resolve()
    except (OSError, ValueError, RuntimeError) as problem:  # a NUL, a name too long, links in a circle
        raise PhotoError("missing", f"{shown(name)} is no path: {problem}") from problem
    if not path.is_relative_to(home):
        raise PhotoError("outside", f"{shown(name)} leaves the folder {folder}")
    return LocalPhoto(path)


@lru_cache(8)
def _resolved(folder: Path) -> Path:
    """The folder of a source, which is the same for all its rows."""
    return folder.resolve()
