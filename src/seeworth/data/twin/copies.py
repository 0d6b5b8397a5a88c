"""Whether a row repeats something of the real set: a text, code, address, id, photo, or the whole row.

A text is repeated when it is the same but for case, accents, punctuation and the order of its words; a photo when its bytes are, or
when both look alike and their pixels agree. Category names, constants, dates and numbers are structure and may repeat. Knows nothing of
how a twin is drawn, so that any two dataset folders can be held against each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import DataError
from ..dataset import Dataset
from ..metadata import Row
from ..photo.decode import open_photo
from .kinds import is_missing
from .learn import GROUP, ID, Columns, Structure, learn
from .words import key

_LOOK_ALIKE = 8  # bits of the perceptual hash; nearer than this, the pixels are compared
_SAME_PIXELS = 6.0  # of 255, mean over a picture of 32 x 32; another JPEG quality of one photo gives about 1
_WHAT = {"text": "text", "code": "code", "url": "address", "email": "email", "phone": "telephone number"}


@dataclass(frozen=True)
class Copy:
    """Something of the real set in a row of the twin; `what` is text, code, address, id, email, telephone number, photo or row."""

    what: str
    row: str
    where: str

    def __str__(self) -> str:
        return f"row {self.row!r} repeats a real {self.what} in {self.where}"


class RealSet:
    """All that may not be repeated; it pickles, so that each process may hold it."""

    def __init__(self, folder: Path, structure: Structure, rows: Sequence[Row]) -> None:
        self.folder = folder
        self._exact = {name: what for name, kind in structure.kinds.items() if (what := _WHAT.get(kind)) and name not in (ID, GROUP)}
        self._exact |= {name: "code" for name, other in structure.copies.items() if other in (ID, GROUP)}
        table = Columns.of(structure.task, rows)
        present = {name: [cell for cell in table.cells[name] if not is_missing(cell)] for name in self._exact}
        self._known = {name: frozenset(_key(what, cell) for cell in present[name]) for name, what in self._exact.items()}
        self._ids = frozenset(row.id for row in rows)
        self._groups = frozenset(row.group for row in rows)
        self._wholes = frozenset(self._whole(row) for row in rows) if self._exact else frozenset[bytes]()
        self._photos = {row.sha256 for row in rows}
        self._hashes = np.array([int(row.phash, 16) for row in rows], dtype=np.uint64)
        self._files = [row.file_name for row in rows]

    @classmethod
    def of(cls, dataset: Dataset, structure: Structure | None = None) -> RealSet:
        """Everything in a dataset folder; its structure is learnt when it is not given."""
        return cls(dataset.folder, structure or learn(dataset), list(dataset.rows()))

    def copies(self, row: Row, photo: Image.Image | None = None) -> Iterator[Copy]:
        """What one row repeats; the photo is looked at where it is given."""
        if self._exact and self._whole(row) in self._wholes:
            yield Copy("row", row.id, "every column")
        if row.id in self._ids:
            yield Copy("id", row.id, "its id")
        if row.group in self._groups:
            yield Copy("id", row.id, "its group")
        for name, what in self._exact.items():
            cell = str(row.values.get(name, ""))
            if not is_missing(cell) and _key(what, cell) in self._known[name]:
                yield Copy(what, row.id, name)
        if photo is not None and (row.sha256 in self._photos or self._is_known(photo, row.phash)):
            yield Copy("photo", row.id, "its photo")

    def _whole(self, row: Row) -> bytes:
        told = "\0".join(f"{name}\0{row.values[name]}" for name in sorted(row.values) if row.values[name] != row.file_name)
        return hashlib.blake2b(told.encode(), digest_size=16).digest()

    def _is_known(self, photo: Image.Image, phash: str) -> bool:
        near = np.flatnonzero(np.bitwise_count(self._hashes ^ np.uint64(int(phash, 16))) <= _LOOK_ALIKE)
        if not near.size:
            return False
        mine = _small(photo)
        return any(float(np.abs(_small(open_photo(self.folder / self._files[int(place)])) - mine).mean()) < _SAME_PIXELS for place in near)


def find_copies(real: Path, twin: Path) -> list[Copy]:
    """Everything that one dataset folder repeats of another. Raises DataError for what is no dataset folder."""
    known, other = RealSet.of(Dataset.open(real)), Dataset.open(twin)
    return [copy for row in other.rows() for copy in known.copies(row, open_photo(other.folder / row.file_name))]


def refuse(copies: Iterable[Copy], where: Path) -> None:
    """Raises DataError when there is a copy at all."""
    found = list(copies)
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise DataError(f"{where}: {found[0]}{more}: expected no copy of the real set, so nothing was finished: try another --seed")


def _key(what: str, cell: str) -> str:
    return key(cell) if what == "text" else cell.strip()


def _small(photo: Image.Image) -> NDArray[np.float32]:
    return np.asarray(photo.convert("RGB").resize((32, 32), Image.Resampling.BOX), dtype=np.float32)
