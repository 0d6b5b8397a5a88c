"""Where a photo is: what a table's photo cell says, judged before anything is opened or fetched.

An address is one of three: a file inside the source's folder, an http(s) URL, or bytes that the row itself holds. Knows
nothing of how a file is decoded or how a URL is fetched.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...errors import PhotoError
from .cells import MISSING, shown

MAX_PATH = 4096  # characters; what Linux takes

_SHELVES = 4096  # folders whose place is remembered
_WEB = re.compile(r"(?i)https?://")
_SCHEME = re.compile(r"(?i)[a-z][a-z0-9+.-]*://|(data|file|blob):|//")


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


class Home:
    """The folder of a source's photos, and where its sub-folders really lie, which is looked up once for all the photos in one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shelves: dict[str, str | None] = {}

    def address_of(self, cell: str) -> LocalPhoto | RemotePhoto:
        """The photo that a cell names: a file, which must lie in the folder, or an http(s) URL.

        Raises PhotoError with code photo_missing (an empty cell), bad_address (another scheme), missing (no path at all)
        or outside (a path or a link that leaves the folder).
        """
        name = cell.strip()
        if name.lower() in MISSING or name.lower() == "nan":
            raise PhotoError("photo_missing", f"expected the path or URL of a photo, found {shown(cell)}")
        if _SCHEME.match(name):
            if _WEB.match(name):
                return RemotePhoto(name)
            raise PhotoError("bad_address", f"expected a path or an http(s) URL, found {shown(name)}")
        return self.file_named(name.replace("\\", "/"))

    def file_named(self, name: str) -> LocalPhoto:
        """The file of this very name in the folder, whatever signs are in it. Raises PhotoError with code missing or outside."""
        if len(name) > MAX_PATH:
            raise PhotoError("missing", f"{shown(name)} is no path: {len(name)} characters, expected at most {MAX_PATH}")
        try:
            path = self._lies_at(name)
        except (OSError, ValueError, RuntimeError) as problem:  # a NUL, a name too long, links in a circle
            raise PhotoError("missing", f"{shown(name)} is no path: {problem}") from problem
        if path is None:
            raise PhotoError("outside", f"{shown(name)} leaves the folder {self.folder}")
        return LocalPhoto(path)

    def _lies_at(self, name: str) -> Path | None:
        """Where a name in the folder leads, links followed; None: out of it. Most photos are no link: one look at each tells.

        That a folder on the way may have become a link since, is found when the photo is read.
        """
        shelf, _, last = name.rpartition("/")
        if last not in ("", ".", "..") and not name.startswith("/"):
            if shelf not in self._shelves:
                if len(self._shelves) >= _SHELVES:
                    self._shelves.clear()
                self._shelves[shelf] = self._inside(shelf)
            if (place := self._shelves[shelf]) is not None and not _is_link(path := f"{place.rstrip('/')}/{last}"):
                return Path(path)
        found = self._inside(name)
        return None if found is None else Path(found)

    def _inside(self, name: str) -> str | None:
        home = self.folder.resolve()
        path = (home / name).resolve()
        return str(path) if path.is_relative_to(home) else None


def address_of(folder: Path, cell: str) -> LocalPhoto | RemotePhoto:
    """The photo that one cell names, see `Home.address_of`."""
    return Home(folder).address_of(cell)


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:  # it is told when the photo is read
        return False
