"""Which records belong together.

A group is everything that shares a group cell (a product code) or a near-identical photo, and whatever these join:
colour variants of one product share title and price, and a photo that was only cropped or saved once more has been seen.
`look` and `near` say which photos are near-identical; blank ones are so to none but the very same bytes.

Knows nothing of tables, tasks or splits.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..photo.look import Looks
from ..rows.cells import shown
from .near import look_alikes

GIANT, MANY = 0.05, 20  # a group is told when it holds more than this share of the records, and more than so many


class Shown(NamedTuple):
    """A photo, see `Stored` and `look`."""

    sha256: str
    phash: str
    look: str
    width: int
    height: int


class Member(NamedTuple):
    """What of one record decides its group: its group cell, "" for none, its photo (see `Stored` and `look`), and further ones."""

    cell: str
    sha256: str
    phash: str
    look: str
    width: int
    height: int
    further: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Groups:
    """The groups of n records, in the order of the source.

    Attributes:
        names: group of each record: the cell of its first record, or else the first 16 digits of that one's sha256. So a
            name stays when rows are added after the others.
        first: the number of its group's first record.
        founds: whether the record joined no group when it came: it shares cell and photo with none before it. Depends on
            earlier records alone.
        alike: the number of the first record that near-identical photos, and they alone, tie this one to.
        largest: a notice for each group so large that something is wrong.
    """

    names: list[str]
    first: list[int]
    founds: list[bool]
    alike: list[int]
    largest: list[str]


def group_records(members: Iterable[Member]) -> Groups:
    """Group the records; they are taken one by one, and some 0.7 KB of each is held."""
    names: list[str] = []
    cells: list[str] = []
    photos = array("i")  # of each record, the number of its photo
    founds: list[bool] = []
    more: list[tuple[int, int]] = []  # records and further photos of theirs
    owner = array("i")  # of each photo, the first record
    seen: dict[bytes, int] = {}
    by_cell: dict[str, int] = {}

    def looks() -> Iterator[tuple[str, str, int, int]]:
        for number, one in enumerate(members):
            names.append(one.cell or one.sha256[:16])
            cells.append(one.cell)
            photo = seen.setdefault(bytes.fromhex(one.sha256), len(owner))
            photos.append(photo)
            opens = not one.cell or by_cell.setdefault(one.cell, number) == number
            founds.append(opens and photo == len(owner))
            if photo == len(owner):
                owner.append(number)
                yield one.phash, one.look, one.width, one.height
            for other in one.further:
                photo = seen.setdefault(bytes.fromhex(other.sha256), len(owner))
                more.append((number, photo))
                if photo == len(owner):
                    owner.append(number)
                    yield other.phash, other.look, other.width, other.height
                elif owner[photo] != number:
                    founds[number] = False

    looked = Looks.of(looks())
    seen.clear()  # a third of the memory
    by_cell.clear()
    cluster, tied = look_alikes(looked)
    for photo in np.flatnonzero(tied).tolist():
        if owner[cluster[photo]] != owner[photo]:  # else it is like another photo of its own record
            founds[owner[photo]] = False
    alike = [owner[first] for first in cluster[np.asarray(photos)].tolist()]
    ties = [(number, owner[cluster[photo]]) for number, photo in more]
    if ties:
        alike = _joined([""] * len(cells), alike, ties)
    first = _joined(cells, alike)
    taken: dict[str, int] = {}
    for one in first:  # a cell may read like the start of another group's sha256
        if taken.setdefault(names[one], one) != one:
            names[one] += f"#{one + 1}"
    return Groups([names[one] for one in first], first, founds, alike, list(_giants(names, cells, photos, first)))


def _joined(cells: list[str], alike: list[int], ties: Iterable[tuple[int, int]] = ()) -> list[int]:
    """The first record of each record's group, from what its cell and its photo tie it to, and `ties` two records."""
    parent = list(range(len(cells)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one

    by_cell: dict[str, int] = {}
    for number, (cell, other) in enumerate(zip(cells, alike, strict=True)):
        for tie in (other, by_cell.setdefault(cell, number) if cell else number):
            one, two = root(tie), root(number)
            parent[max(one, two)] = min(one, two)
    for tie, number in ties:
        one, two = root(tie), root(number)
        parent[max(one, two)] = min(one, two)
    return [root(number) for number in range(len(cells))]


def _giants(names: list[str], cells: list[str], photos: Sequence[int], first: list[int]) -> Iterator[str]:
    """A notice for each group of more than MANY records that holds over GIANT of all."""
    for one, size in Counter(first).most_common():
        if size <= MANY or size <= GIANT * len(first):
            return
        own = [number for number in range(len(first)) if first[number] == one]
        [(cell, share)] = Counter(cells[number] for number in own if cells[number]).most_common(1) or [("", 0)]
        same = Counter(photos[number] for number in own).most_common(1)[0][1]
        words = f"{share} of them share the group cell {shown(cell)}, " if share else ""
        yield (
            f"the group {shown(names[one])} holds {size} of {len(first)} records, and all stand in one split: {words}{same} the very same "
            "photo: if they are not one article, map another column as group, and take out rows whose photo is a placeholder"
        )
