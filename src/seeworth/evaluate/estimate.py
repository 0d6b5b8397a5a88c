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
Statistic: TypeAlias = Callable[[Floats, Floats], Floats]
"""(values float[n] or float[n, 2], weights float[r, n]: how often a record was drawn) -> float[r], one value a resample."""

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


def mean(values: Floats, weights: Floats) -> Floats:
    """The weighted mean of float[n]."""
    return np.asarray((weights @ values) / weights.sum(axis=1))


def median(values: Floats, weights: Floats) -> Floats:
    """The median of float[n] with each value repeated `weights` times, as numpy.median of the repeated values gives."""
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weights[:, order], axis=1)
    total = upto[:, -1:]
    below = (upto > np.floor((total - 1) / 2)).argmax(axis=1)
    above = (upto > np.floor(total / 2)).argmax(axis=1)
    return np.asarray((values[order][below] + values[order][above]) / 2)


def ratio(values: Floats, weights: Floats) -> Floats:
    """The sum of the first column of float[n, 2] over the sum of the second; NaN where the second is 0."""
    sums = weights @ values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(sums[:, 1] == 0, np.nan, sums[:, 0] / sums[:, 1]))


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
    step = max(1, _CELLS // len(array))
    parts = [statistic(array, draws[at : at + step][:, codes].astype(np.float64)) for at in range(0, resamples, step)]
    low, high = np.nanquantile(np.concatenate(parts), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if not math.isnan(value) else (math.nan, math.nan)
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
def _draws(groups: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    """uint16[resample, group]: how often each group is drawn, `groups` draws with replacement a resample."""
    rng = np.random.default_rng(seed)
    rows = [np.bincount(rng.integers(groups, size=groups), minlength=groups) for _ in range(resamples)]
    return np.array(rows, dtype=np.uint16)


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
