"""What of a twin and its real set is compared, and how far two sets of rows are apart in it.

Numbers: Kolmogorov-Smirnov (largest gap between two cumulative shares, 0 to 1) and Wasserstein-1 of logarithms, in standard
deviations of the real ones; categories, words and sizes: total variation (half the sum of the gaps of the shares, 0 to 1). Knows
nothing of how a twin is drawn, nor of which rows are held against which.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..metadata import Row
from .kinds import is_missing
from .learn import SPLIT, Columns, K, Structure
from .numbers import Writing, read_date
from .words import words

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Feature: TypeAlias = tuple[str, str, Callable[[Ints, Ints], float]]  # what, how, distance between two sets of places

_WORDS = 2000  # words told apart; all others, and those of fewer than K groups, count as one


def features_of(rows: Sequence[Row], twin: Sequence[Row], structure: Structure) -> list[Feature]:
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
    features: list[Feature] = [(name, "KS", _ks(numbers)), (name, how, wasserstein(scaled / spread))]
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
    return lambda one, two: ks_of(numbers[one], numbers[two])


def ks_of(one: Floats, two: Floats) -> float:
    one, two = np.sort(one[~np.isnan(one)]), np.sort(two[~np.isnan(two)])
    if not one.size or not two.size:
        return math.nan
    steps = np.concatenate([one, two])
    return float(np.abs(np.searchsorted(one, steps, "right") / one.size - np.searchsorted(two, steps, "right") / two.size).max())


def wasserstein(numbers: Floats) -> Callable[[Ints, Ints], float]:
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
            if not np.isnan(gap := ks_of(first, second)):
                weights.append(min(len(first), len(second)))
                found.append(gap)
        return float(np.average(found, weights=weights)) if found else math.nan

    return distance
