"""Ablations: the same records with their photos spoilt or taken away, to see whether an answer came from the photo.

    blank           a grey photo of its own size           blur            its own photo, blurred
    swap            another record's photo                 without         no photo at all
    swap_within     that of another record of its category

Ids, groups and true values stay. Knows nothing of who answers or of how answers are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..errors import DataError
from ..record import Record, Turn
from .photo.decode import open_photo

Ints: TypeAlias = NDArray[np.int64]

GREY = (128, 128, 128)


def blank(records: Sequence[Record], folder: Path) -> list[Record]:
    """The records with a mid-grey photo of the same size for each of theirs, as `folder`/grey-WIDTHxHEIGHT.png, stored once a size.

    Raises PhotoError for a photo that cannot be opened.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def grey(photo: Path) -> Path:
        width, height = open_photo(photo).size
        path = folder / f"grey-{width}x{height}.png"
        if not path.exists():
            Image.new("RGB", (width, height), GREY).save(path)
        return path

    return [
        replace(record, photo=grey(record.photo) if record.photo else None, photos=tuple(map(grey, record.photos))) for record in records
    ]


def swap(records: Sequence[Record], seed: int, category: str | None = None) -> list[Record]:
    """Records of one photo each with their photos permuted: none keeps a photo of its own group, nor of its own category where possible.

    `category` names the value that holds the category, None when there is none. Same records and seed, same photos.
    Raises DataError when one group holds more than half of the records, as then no such permutation exists.

    A random permutation, then exchanges of two photos for as long as one lowers the cost: 3 for a photo of the own
    group, 1 for one of the own category. Why that ends without a photo of the own group: let record i of group g hold a
    photo of g, with k records in g. At most 2k - 1 records are in g or hold a photo of g (i is both), so with k <= n / 2
    some j is neither. Exchanging i's and j's photos mends i and breaks no group: cost falls by 3, and rises by 2 at most.
    """
    groups = _codes([record.group for record in records])
    largest = int(np.bincount(groups).max()) if records else 0
    if 2 * largest > len(records):
        raise DataError(
            f"photos cannot be swapped between groups: one group holds {largest} of the {len(records)} records, expected at most half"
        )
    categories = groups if category is None else _codes([str(record.values[category]) for record in records])
    holds = _exchange(groups, categories, np.random.default_rng(seed).permutation(len(records)))
    return [replace(record, photo=records[other].photo, sizes=records[other].sizes) for record, other in zip(records, holds, strict=True)]


def swap_within(records: Sequence[Record], seed: int, category: str) -> list[Record]:
    """Records of one photo each with the photo of another record of their category, drawn among those of other groups.

    Records without such a partner are left out. Same records and seed, same photos.
    """
    rng = np.random.default_rng(seed)
    alike: dict[str, list[Record]] = {}
    for record in records:
        alike.setdefault(str(record.values[category]), []).append(record)
    found = []
    for record in records:
        others = [one for one in alike[str(record.values[category])] if one.group != record.group and one.photo != record.photo]
        if others:
            other = others[int(rng.integers(len(others)))]
            found.append(replace(record, photo=other.photo, sizes=other.sizes))
    return found


def blur(records: Sequence[Record], folder: Path, percent: float) -> list[Record]:
    """Records of one photo each with it blurred (Gaussian, radius in % of its shorter side), as `folder`/NUMBER.png.

    Raises PhotoError for a photo that cannot be opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, record in enumerate(records):
        path = folder / f"{number}.png"
        if record.photo is not None:
            photo = open_photo(record.photo).convert("RGB")
            photo.filter(ImageFilter.GaussianBlur(min(photo.size) * percent / 100)).save(path, compress_level=1)
        found.append(replace(record, photo=None if record.photo is None else path))
    return found


def without(records: Sequence[Record]) -> list[Record]:
    """The records with no photo, and no place for one in what is said: the question alone.

    A turn of a conversation that was nothing but photos says "(no photo)": it can be neither empty nor left out.
    """

    def silent(turn: Turn) -> Turn:
        words = tuple(part for part in turn.parts if isinstance(part, str))
        return replace(turn, parts=words if any(part.strip() for part in words) else ("(no photo)",))

    return [
        replace(record, photo=None, photos=(), sizes=(), turns=None if record.turns is None else tuple(map(silent, record.turns)))
        for record in records
    ]


def _exchange(groups: Ints, categories: Ints, holds: Ints) -> Ints:
    """Exchange two of `holds` (record i holds the photo of record holds[i]) until no exchange lowers the cost."""

    def cost(record: Ints, photo: Ints) -> Ints:
        return np.asarray(3 * (groups[record] == groups[photo]) + (categories[record] == categories[photo]), dtype=np.int64)

    everyone = np.arange(len(holds))
    settled = False
    while not settled:
        settled = True
        for index in everyone[cost(everyone, holds) > 0]:
            mine = np.full_like(holds, index)
            before = cost(mine, holds[mine]) + cost(everyone, holds)
            gain = before - cost(mine, holds) - cost(everyone, holds[mine])
            best = int(gain.argmax())
            if gain[best] > 0:
                holds[[index, best]] = holds[[best, index]]
                settled = False
    return holds


def _codes(names: Sequence[str]) -> Ints:
    """int64[name]: the same number for the same name."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
