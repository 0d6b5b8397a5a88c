"""How near a twin is to its real set (fidelity), and how near its rows come to single real ones (privacy), in figures.

The yardstick of fidelity is the real set against itself: two halves of its groups, drawn at random 30 times. The twin is held against
such a half in parts of the same size. `near` means that the median of its distances is within the 95 % that lie lowest among two halves.

The yardstick of privacy is the real set, too: how near each real row comes to those of other groups.

Distances: numbers, Kolmogorov-Smirnov (largest gap between two cumulative shares, 0 to 1) and Wasserstein-1 of logarithms, in standard
deviations of the real ones; categories, words and sizes, total variation (half the sum of the gaps of the shares, 0 to 1). Knows
nothing of how a twin is drawn.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from ..metadata import Row
from .kinds import is_missing
from .learn import SPLIT, Columns, K, Structure
from .numbers import Writing, read_date
from .words import key, words

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

SPLITS = 30
"""How often the real set is cut in two."""
NEAREST = 1000
"""Rows whose nearest real neighbour is looked for, among at most 5 times as many."""
BOOTSTRAP = 500

_WORDS = 2000  # words told apart; all others, and those of fewer than K groups, count as one


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

Feature: TypeAlias = tuple[str, str, Callable[[Ints, Ints], float]]  # what, how, distance between two sets of places


def _distances(rows: Sequence[Row], twin: Sequence[Row], structure: Structure, rng: np.random.Generator) -> tuple[list[Distance], int]:
    features = _features(rows, twin, structure)
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


def _features(rows: Sequence[Row], twin: Sequence[Row], structure: Structure) -> list[Feature]:
    """What is compared, each as a function of two sets of places in the real rows and, behind them, the twin's."""
    both = [*rows, *twin]
    table = Columns.of(structure.task, both)
    leaf = structure.path[0] if structure.path else ""
    leaves = _codes(table.cells[leaf]) if leaf else np.zeros(len(both), dtype=np.int64)
    features: list[Feature] = []
    if structure.path:
        tree = ["\0".join(steps) for steps in zip(*(table.cells[name] for name in structure.path), strict=True)]
        features.append((" > ".join(reversed(structure.path)), "categories", _variation(_codes(tree))))
    for name, kind in structure.kinds.items():
        cells = table.cells[name]
        if kind == "category" and name not in structure.path and len(set(cells)) > 1:
            features.append((name, "categories", _variation(_codes(cells))))
        elif kind in ("number", "date"):
            features.extend(_number_features(name, _numbers(table, name, structure), leaves if leaf else None, leaf))
        elif kind == "text":
            features.extend(_text_features(name, cells, table.groups, len(rows)))
        if name in table.names and any(map(is_missing, cells)):
            features.append((f"{name}: missing", "share of rows", _variation(_codes([str(is_missing(cell)) for cell in cells]))))
    if len(set(table.cells[SPLIT])) > 1:
        features.append(("split of the records", "categories", _variation(_codes(table.cells[SPLIT]))))
    owners = [(place < len(rows), group) for place, group in enumerate(table.groups)]
    sizes = Counter(owners)
    features.append(("size of groups", "shares of rows", _variation(np.array([sizes[owner] for owner in owners]))))
    if all(row.file_name for row in twin):
        features.append(("photo width x height", "categories", _variation(_codes([f"{row.width} {row.height}" for row in both]))))
        features.append(("photo shape", "KS", _ks(np.array([row.width / row.height for row in both]))))
    return features


def _numbers(table: Columns, name: str, structure: Structure) -> Floats:
    """float64[row]: the numbers of a column, NaN where there is none; dates in seconds."""
    if name in table.numbers:
        return np.array(table.numbers[name], dtype=np.float64)
    cells = ["" if is_missing(cell) else cell for cell in table.cells[name]]
    if name in structure.dates:
        form = structure.dates[name].form
        return np.array([math.nan if (moment := read_date(cell, form)) is None else moment for cell in cells])
    found = Writing.of([cell for cell in cells if cell])
    numbers = iter(found[1] if found else [])
    return np.array([float(number) if cell and (number := next(numbers, None)) is not None else math.nan for cell in cells])


def _number_features(name: str, numbers: Floats, leaves: Ints | None, leaf: str) -> list[Feature]:
    positive = bool(np.nanmin(numbers, initial=1.0) > 0)
    scaled = np.log(numbers) if positive else numbers
    spread = float(np.nanstd(scaled)) or 1.0
    how = "Wasserstein of logarithms" if positive else "Wasserstein"
    features: list[Feature] = [(name, "KS", _ks(numbers)), (name, how, _wasserstein(scaled / spread))]
    if leaves is not None:
        features.append((f"{name}, given {leaf}", "KS, mean over categories", _given(numbers, leaves)))
    return features


def _text_features(name: str, cells: Sequence[str], groups: Sequence[str], real: int) -> list[Feature]:
    owners: dict[str, set[str]] = defaultdict(set)
    said = [words(cell) for cell in cells]
    for found, group in zip(said[:real], groups[:real], strict=True):
        for word in found:
            owners[word].add(group)
    common = sorted((word for word, found in owners.items() if len(found) >= K), key=lambda word: (-len(owners[word]), word))[:_WORDS]
    numbers = {word: number for number, word in enumerate(common, 1)}
    bags = [np.array([numbers.get(word, 0) for word in found], dtype=np.int64) for found in said]
    lengths = np.array([float(len(cell)) if cell else math.nan for cell in cells])
    return [(f"{name}: length", "KS", _ks(lengths)), (f"{name}: words", "total variation", _bags(bags, len(common) + 1))]


def _codes(cells: Sequence[str]) -> Ints:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(cell, len(numbers)) for cell in cells], dtype=np.int64)


def _variation(codes: Ints) -> Callable[[Ints, Ints], float]:
    many = int(codes.max()) + 1

    def distance(one: Ints, two: Ints) -> float:
        shares = (np.bincount(codes[places], minlength=many) / len(places) for places in (one, two))
        return 0.5 * float(np.abs(next(shares) - next(shares)).sum())

    return distance


def _bags(bags: Sequence[Ints], many: int) -> Callable[[Ints, Ints], float]:
    def shares(places: Ints) -> Floats:
        counts = np.bincount(np.concatenate([bags[int(place)] for place in places]), minlength=many)
        return counts / max(int(counts.sum()), 1)

    return lambda one, two: 0.5 * float(np.abs(shares(one) - shares(two)).sum())


def _ks(numbers: Floats) -> Callable[[Ints, Ints], float]:
    return lambda one, two: _ks_of(numbers[one], numbers[two])


def _ks_of(one: Floats, two: Floats) -> float:
    one, two = np.sort(one[~np.isnan(one)]), np.sort(two[~np.isnan(two)])
    if not one.size or not two.size:
        return math.nan
    steps = np.concatenate([one, two])
    return float(np.abs(np.searchsorted(one, steps, "right") / one.size - np.searchsorted(two, steps, "right") / two.size).max())


def _wasserstein(numbers: Floats) -> Callable[[Ints, Ints], float]:
    places = np.linspace(0, 1, 401)

    def distance(one: Ints, two: Ints) -> float:
        first, second = (found[~np.isnan(found)] for found in (numbers[one], numbers[two]))
        return float(np.abs(np.quantile(first, places) - np.quantile(second, places)).mean()) if first.size and second.size else math.nan

    return distance


def _given(numbers: Floats, codes: Ints) -> Callable[[Ints, Ints], float]:
    """The KS distance in each category that both have, weighted by rows."""

    def distance(one: Ints, two: Ints) -> float:
        weights, found = [], []
        for code in np.intersect1d(codes[one], codes[two]):
            first, second = numbers[one[codes[one] == code]], numbers[two[codes[two] == code]]
            if not np.isnan(gap := _ks_of(first, second)):
                weights.append(min(len(first), len(second)))
                found.append(gap)
        return float(np.average(found, weights=weights)) if found else math.nan

    return distance


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
