"""Slices: the figures again for parts of the records: by the values of a column, or by bands of a number.

A slice of few groups is marked as weak: its figures say little. Knows nothing of baselines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import numpy as np

from ..errors import SettingsError
from ..record import Record
from ..task import Task
from .figures import figures
from .score import Score

WEAK = 30  # groups; with fewer a slice is weak
MOST = 20  # values of a column that have a slice of their own, the most frequent ones
BANDS = 4  # of a number, each with as many records
REST, NOTHING = "(the rest)", "(nothing)"


@dataclass(frozen=True)
class Slice:
    """The places of some records in their list, under a name."""

    name: str
    places: tuple[int, ...]


def column_of(records: Sequence[Record], column: str) -> list[Slice]:
    """Slices by a column: bands where it holds numbers, else its values, beyond the MOST frequent ones together.

    Raises SettingsError when no record has the column.
    """
    values = [record.values.get(column) for record in records]
    if all(value is None for value in values):
        there = sorted({name for record in records for name in record.values})
        raise SettingsError(f"slices: no record has a column {column!r}, the columns are {', '.join(there)}")
    if all(isinstance(value, Decimal) for value in values):
        return bands([float(cast(Decimal, value)) for value in values])
    words = [str(value) if value is not None and str(value) else NOTHING for value in values]
    kept = [name for name, _ in Counter(words).most_common(MOST)]
    names = [name if name in kept else REST for name in words]
    order = [*kept, *([REST] if REST in names and REST not in kept else [])]
    return [Slice(name, tuple(place for place, each in enumerate(names) if each == name)) for name in order]


def bands(values: Sequence[float]) -> list[Slice]:
    """Slices by rank, as many records in each; equal values are never parted, so there may be fewer than BANDS."""
    array = np.asarray(values)
    band = np.searchsorted(np.sort(array), array, side="left") * BANDS // len(array)  # of equals the rank of the first
    found = []
    for number in np.unique(band):
        places = np.flatnonzero(band == number)
        low, high = array[places].min(), array[places].max()
        name = f"{low:,.10g}" if low == high else f"{low:,.10g} to {high:,.10g}"
        found.append(Slice(name, tuple(int(place) for place in places)))
    return found


def sliced(
    task: Task, records: Sequence[Record], marks: Sequence[Score], columns: Sequence[str], *, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Plain data for evaluation.json, one entry a column: each number of the task by bands of its truth, then the columns asked for.

    `marks` are the scores of `records`, in the same order. A slice is {"name", "n", "groups", "weak", "figures": {name: estimate}}.
    """
    names = list(dict.fromkeys([*(one.name for one in task.of_kind("number")), *columns]))
    return [
        {"column": name, "slices": [_one(task, marks, each, resamples, seed) for each in column_of(records, name)]} for name in names
    ]


def _one(task: Task, marks: Sequence[Score], part: Slice, resamples: int, seed: int) -> dict[str, Any]:
    own = [marks[place] for place in part.places]
    groups = len({one.group for one in own})
    found = {name: one.to_dict() for name, one in figures(task, own, resamples=resamples, seed=seed).items()}
    return {"name": part.name, "n": len(own), "groups": groups, "weak": groups < WEAK, "figures": found}
