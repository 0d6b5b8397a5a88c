"""Estimate: a figure with its 95 % interval and the number of records behind it.

Intervals are percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13) that resamples
*groups*, not records: photos of one article are not independent of each other. Knows nothing of tasks or scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.uint16]
Statistic: TypeAlias = Callable[[Floats, Any], Floats]
"""(values float[n] or float[n, 2], weights int or float[r, n]: how often a record was drawn) -> float[r], one value a resample. A `Linear`
or a `Median` is resampled in its own, faster way."""

LEVEL = 0.95
_CELLS = 2_000_000  # of the weights [resample, record] held at one time: 16 MB


@dataclass(frozen=True)
class Estimate:
    """A value, the ends of its 95 % interval, and n, the records that entered.

    All three are NaN when n is 0; `low` and `high` alone are NaN when there is a single group, which has no spread.
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain data for JSON: NaN becomes None."""
        return {"value": _none(self.value), "low": _none(self.low), "high": _none(self.high), "n": self.n}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Estimate:
        """What `to_dict` gave."""
        value, low, high = (math.nan if data[key] is None else float(data[key]) for key in ("value", "low", "high"))
        return cls(value, low, high, int(data["n"]))


@dataclass(frozen=True)
class Linear:
    """A statistic of sums over records, so that a resample needs no more than the sums of each group.

    Attributes:
        columns: values -> float[n, k], what each record adds. of_sums: float[r, k] -> float[r].
    """

    columns: Callable[[Floats], Floats]
    of_sums: Callable[[Floats], Floats]

    def __call__(self, values: Floats, weights: Any) -> Floats:
        return self.of_sums(weights @ self.columns(values))

    def resampled(self, values: Floats, codes: NDArray[np.int64], draws: Counts) -> Floats:
        """One value a resample; codes: the group of each record, draws: how often each group was drawn."""
        columns, groups = self.columns(values), draws.shape[1]
        sums = np.stack([np.bincount(codes, weights=one, minlength=groups) for one in columns.T], axis=1)
        step = max(1, _CELLS // groups)
        return self.of_sums(np.concatenate([draws[at : at + step].astype(np.float64) @ sums for at in range(0, len(draws), step)]))


class Median:
    """The median of float[n] with each value repeated `weights` times, as numpy.median of the repeated values gives."""

    def __call__(self, values: Floats, weights: Any) -> Floats:
        order = np.argsort(values, kind="stable")
        return _middles(values[order], np.cumsum(weights[:, order], axis=1, dtype=np.int32))

    def resampled(self, values: Floats, codes: NDArray[np.int64], draws: Counts) -> Floats:
        """As in `Linear`."""
        order = np.argsort(values, kind="stable")
        step = max(1, _CELLS // len(values))
        parts = (np.take(draws[at : at + step], codes[order], axis=1) for at in range(0, len(draws), step))
        return np.concatenate([_middles(values[order], np.cumsum(one, axis=1, dtype=np.int32)) for one in parts])


def _middles(ordered: Floats, upto: NDArray[np.int32]) -> Floats:
    """The median of values in order, of which the first k + 1 are drawn upto[r, k] times."""
    rows, total = np.arange(len(upto)), upto[:, -1]
    below = np.count_nonzero(upto <= (total[:, None] - 1) // 2, axis=1)
    above = below.copy()
    between = upto[rows, below] <= total // 2  # just half of them lie up to here: the other middle one is the next that is drawn
    above[between] = np.count_nonzero(upto[between] <= total[between, None] // 2, axis=1)
    return np.asarray((ordered[below] + ordered[above]) / 2)


def _sum_and_number(values: Floats) -> Floats:
    return np.stack([values, np.ones(len(values))], axis=1)


def _over(sums: Floats) -> Floats:
    """The first sum over the second; NaN where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(sums[:, 1] == 0, np.nan, sums[:, 0] / sums[:, 1]))


mean = Linear(_sum_and_number, _over)
"""The weighted mean of float[n]."""
median = Median()
ratio = Linear(lambda values: values, _over)
"""The sum of the first column of float[n, 2] over the sum of the second; NaN where the second is 0."""


def estimate(
    values: ArrayLike, groups: Sequence[str], statistic: Statistic = mean, *, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """The statistic of `values` and its 95 % percentile bootstrap interval over `groups`.

    Args:
        values: float[n], or float[n, 2] for `ratio`.
        groups: n names; records of one name are drawn together.
        resamples: 0 leaves the interval out (NaN).
        seed: same seed and groups, same draws: figures over the same records move together.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) != len(groups):
        raise ValueError(f"{len(array)} values for {len(groups)} groups: expected one group a value")
    if not len(array):
        return Estimate(math.nan, math.nan, math.nan, 0)
    value = float(statistic(array, np.ones((1, len(array))))[0])
    codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    many = int(codes.max()) + 1
    if many < 2 or not resamples:
        return Estimate(value, math.nan, math.nan, len(array))
    draws = _draws(many, resamples, seed)
    if isinstance(statistic, Linear | Median):
        found = statistic.resampled(array, codes, draws)
    else:
        step = max(1, _CELLS // len(array))
        weights = (np.take(draws[at : at + step], codes, axis=1).astype(np.int32) for at in range(0, resamples, step))
        found = np.concatenate([statistic(array, one) for one in weights])
    low, high = np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if not math.isnan(value) else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), len(array))


def share(hits: ArrayLike, groups: Sequence[str], *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """The mean of 0s and 1s, with `estimate`'s interval, widened where all are alike.

    n hits of n resample to n hits of n every time: an interval without width, a certainty that no sample gives. The open
    end is then the exact one (Clopper and Pearson 1934) with groups as trials: 0.025 ** (1 / groups) from the end.
    """
    found = estimate(hits, groups, mean, resamples=resamples, seed=seed)
    if found.low == found.high and found.value in (0.0, 1.0):
        bound = ((1 - LEVEL) / 2) ** (1 / len(set(groups)))
        low, high = (bound, 1.0) if found.value else (0.0, 1 - bound)
        return Estimate(found.value, low, high, found.n)
    return found


def difference(
    first: ArrayLike, second: ArrayLike, groups: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """The mean of first - second over the same records, paired: what both share does not widen the interval."""
    return estimate(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64), groups, resamples=resamples, seed=seed)


@lru_cache(maxsize=4)
def _draws(groups: int, resamples: int, seed: int) -> Counts:
    """uint16[resample, group]: how often each group is drawn, `groups` draws with replacement a resample."""
    rng = np.random.default_rng(seed)
    rows = [np.bincount(rng.integers(groups, size=groups), minlength=groups) for _ in range(resamples)]
    return np.array(rows, dtype=np.uint16)


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
