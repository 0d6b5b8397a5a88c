"""How near a twin is to its real set (fidelity), and how near its rows come to single real ones (privacy), in figures.

The yardstick of fidelity is the real set against itself: two halves of its groups, drawn at random 30 times. The twin is held against
such a half in parts of the same size. `near` means that the median of its distances is within the 95 % that lie lowest among two halves.

The yardstick of privacy is the real set, too: how near each real row comes to those of other groups.

What is compared, and by which distances, `features` says. Knows nothing of how a twin is drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from ..metadata import Row
from .features import Floats, Ints, features_of
from .learn import Structure
from .words import key

SPLITS = 30
"""How often the real set is cut in two."""
NEAREST = 1000
"""Rows whose nearest real neighbour is looked for, among at most 5 times as many."""
BOOTSTRAP = 500


@dataclass(frozen=True)
class Distance:
    """One distance: of the twin (median), and between two halves of the real set (median and the middle 90 %)."""

    what: str
    how: str
    twin: float
    halves: float
    low: float
    high: float

    @property
    def near(self) -> bool:
        return self.twin <= self.high + 1e-9


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Nearest:
    """Distances (0 to 1) to the nearest real row: of the twin's rows and of real rows among those of other groups.

    `closer` is the share of the twin's rows that come nearer than 19 in 20 real rows do.
    """

    what: str
    twin: tuple[float, ...]
    real: tuple[float, ...]
    median_twin: Interval
    median_real: Interval
    closer: Interval
    compared: int


@dataclass(frozen=True)
class Figures:
    """All that was measured; `rows`, `groups` and `twin_rows` are how many were looked at."""

    distances: tuple[Distance, ...]
    nearest: tuple[Nearest, ...]
    rows: int
    groups: int
    twin_rows: int
    part: int


def measure(rows: Sequence[Row], twin: Sequence[Row], structure: Structure, seed: int) -> Figures:
    """Hold a twin's rows (file_name "" where there is no photo) against the rows of the real set."""
    rng = np.random.default_rng([seed, 0x7315])
    distances, part = _distances(rows, twin, structure, rng)
    nearest = [one for one in (_nearest_rows(rows, twin, structure, rng), _nearest_photos(rows, twin, rng)) if one]
    return Figures(tuple(distances), tuple(nearest), len(rows), len({row.group for row in rows}), len(twin), part)


# ---- fidelity

def _distances(rows: Sequence[Row], twin: Sequence[Row], structure: Structure, rng: np.random.Generator) -> tuple[list[Distance], int]:
    features = features_of(rows, twin, structure)
    real_groups, twin_groups = _places(rows, 0), _places(twin, len(rows))
    if len(real_groups) < 4:
        return [], 0
    part = min(len(rows) // 2, len(twin))
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(SPLITS):
        order = rng.permutation(len(real_groups))
        half = _taken(real_groups, order, part)
        other = _taken(real_groups, order[::-1], part)
        mine = _taken(twin_groups, rng.permutation(len(twin_groups)), part)
        for number, (_, _, distance) in enumerate(features):
            found[number].append((distance(mine, half), distance(other, half)))
    distances = []
    for number, (what, how, _) in enumerate(features):
        ours, theirs = np.array(found[number]).T
        if np.isnan(ours).all() or np.isnan(theirs).all():
            continue
        low, middle, high = np.nanquantile(theirs, [0.05, 0.5, 0.95])
        distances.append(Distance(what, how, float(np.nanmedian(ours)), float(middle), float(low), float(high)))
    return distances, part


def _places(rows: Sequence[Row], first: int) -> list[Ints]:
    """The places of each group's rows."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows, first):
        found[row.group].append(place)
    return [np.array(places) for places in found.values()]


def _taken(groups: Sequence[Ints], order: NDArray[Any], rows: int) -> Ints:
    """The rows of so many groups, in this order, as hold about `rows` rows."""
    sizes = np.cumsum([len(groups[int(place)]) for place in order])
    many = max(1, int(np.searchsorted(sizes, rows)))
    return np.concatenate([groups[int(place)] for place in order[:many]])


# ---- privacy


def _nearest_rows(rows: Sequence[Row], twin: Sequence[Row], structure: Structure, rng: np.random.Generator) -> Nearest | None:
    """By text (how many characters must change, words in one order), category and price, of the task's fields."""
    names = [one.name for one in structure.task.fields if one.kind == "text"][:1]
    if not names:
        return None
    real = [rows[int(place)] for place in _some(len(rows), 5 * NEAREST, rng)]
    asked = [twin[int(place)] for place in _some(len(twin), NEAREST, rng)]
    others = [real[int(place)] for place in _some(len(real), NEAREST, rng)]
    distance = _row_distance(structure, names[0])
    what = "rows, by " + ", ".join(names + [one.name for one in structure.task.fields if one.kind != "text"])
    return _compare(what, distance(asked, real, False), [row.group for row in asked], distance(others, real, True),
                    [row.group for row in others], len(real), rng)  # fmt: skip


def _row_distance(structure: Structure, text: str) -> Callable[[Sequence[Row], Sequence[Row], bool], Floats]:
    categories = [one.name for one in structure.task.fields if one.kind == "category"]
    prices = [one.name for one in structure.task.fields if one.kind == "number"][:1]

    def distance(asked: Sequence[Row], real: Sequence[Row], apart: bool) -> Floats:
        """float64[asked]: 0 the same to 1 nothing in common; `apart` leaves out rows of the same group."""
        keys = [key(str(row.values[text])) for row in real]
        parts = [1 - process.cdist([key(str(row.values[text])) for row in asked], keys, scorer=fuzz.ratio, dtype=np.float32) / 100]
        for name in categories:
            mine, theirs = (np.array([str(row.values[name]) for row in some]) for some in (asked, real))
            parts.append((mine[:, None] != theirs[None, :]).astype(np.float32))
        for name in prices:
            mine, theirs = (np.array([float(row.values[name]) for row in some]) for some in (asked, real))
            scale = float(np.std(theirs)) or 1.0
            parts.append(np.minimum(np.abs(mine[:, None] - theirs[None, :]) / scale, 1).astype(np.float32))
        total = (2 * parts[0] + sum(parts[1:], np.float32(0))) / (len(parts) + 1)
        if apart:
            groups = np.array([row.group for row in real])
            total[np.array([row.group for row in asked])[:, None] == groups[None, :]] = 1.0
        return np.asarray(total.min(axis=1), dtype=np.float64)

    return distance


def _nearest_photos(rows: Sequence[Row], twin: Sequence[Row], rng: np.random.Generator) -> Nearest | None:
    """By the share of the 64 bits of the perceptual hash that differ."""
    twin = [row for row in twin if row.file_name]
    if not twin:
        return None
    real = [rows[int(place)] for place in _some(len(rows), 5 * NEAREST, rng)]
    asked = [twin[int(place)] for place in _some(len(twin), NEAREST, rng)]
    others = [real[int(place)] for place in _some(len(real), NEAREST, rng)]
    hashes = np.array([int(row.phash, 16) for row in real], dtype=np.uint64)
    groups = np.array([row.group for row in real])

    def distance(some: Sequence[Row], apart: bool) -> Floats:
        found = []
        for row in some:
            bits = np.bitwise_count(hashes ^ np.uint64(int(row.phash, 16)))
            found.append(int((bits[groups != row.group] if apart else bits).min(initial=64)) / 64)
        return np.array(found)

    return _compare("photos, by perceptual hash", distance(asked, False), [row.group for row in asked], distance(others, True),
                    [row.group for row in others], len(real), rng)  # fmt: skip


def _some(many: int, most: int, rng: np.random.Generator) -> Ints:
    return np.sort(rng.permutation(many)[:most])


def _compare(what: str, mine: Floats, my_groups: Sequence[str], theirs: Floats, their_groups: Sequence[str], real: int,
             rng: np.random.Generator) -> Nearest:  # fmt: skip
    edge = float(np.quantile(theirs, 0.05))
    closer = mine < edge - 1e-9
    return Nearest(
        what, tuple(map(float, np.sort(mine))), tuple(map(float, np.sort(theirs))),
        _interval(mine, my_groups, rng, np.median), _interval(theirs, their_groups, rng, np.median),
        _interval(closer.astype(np.float64), my_groups, rng, np.mean), real,
    )  # fmt: skip


def _interval(numbers: Floats, groups: Sequence[str], rng: np.random.Generator, of: Callable[[Floats], Any]) -> Interval:
    """The figure with its percentile bootstrap over groups."""
    places: Mapping[str, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        places[group].append(place)
    found = [numbers[members] for members in places.values()]
    drawn = [float(of(np.concatenate([found[int(one)] for one in rng.integers(len(found), size=len(found))]))) for _ in range(BOOTSTRAP)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(of(numbers)), float(low), float(high))
