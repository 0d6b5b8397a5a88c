"""Baselines that look with the model's own vision tower: the nearest training photo, and linear heads, in numpy and closed form.

They answer what the photo's features alone are worth, without a language model. What makes a vector of a photo is handed in
(`See`), so that this knows nothing of torch. Number: ridge regression; category: softmax regression; text: the commonest of the
category that was found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ..record import Prediction, Record, Value
from ..task import Field, Task
from .baselines import typical

Floats: TypeAlias = NDArray[np.float64]
See: TypeAlias = Callable[[Sequence[Record]], NDArray[np.float32]]
"""Records -> float32[record, d], what the model's vision tower makes of their first photos."""

DIRECTIONS = 256  # principal directions of the vectors that are kept
MOST = 4000  # train records that are looked at
PENALTIES = tuple(10.0**power for power in range(-3, 4))  # tried on held-out records, times the number of records
STEPS = 300  # of the softmax regression


class Eyes:
    """Vectors of train photos, centred, turned to their principal directions and scaled to a variance of 1 in each.

    Attributes:
        vectors: float64[train record, direction]. deviations: float64[direction], what each was divided by.
    """

    def __init__(self, see: See, train: Sequence[Record]) -> None:
        self.see = see
        raw = see(train).astype(np.float64)
        self._centre = raw.mean(axis=0)
        centred = raw - self._centre
        # the eigenvectors of the smaller of the two products: n x n or d x d
        wide = centred.shape[1] > len(centred)
        values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
        kept = np.argsort(values)[::-1][:DIRECTIONS]
        kept = kept[values[kept] > 1e-9 * max(float(values.max()), 1e-30)]
        turn = centred.T @ vectors[:, kept] / np.sqrt(values[kept]) if wide else vectors[:, kept]
        self.deviations: Floats = np.sqrt(values[kept] / len(centred))
        self._turn = turn / self.deviations
        self.vectors: Floats = centred @ self._turn

    def __call__(self, records: Sequence[Record]) -> Floats:
        """float64[record, direction]."""
        return np.asarray((self.see(records).astype(np.float64) - self._centre) @ self._turn)


def ridge(x: Floats, y: Floats, penalty: float) -> Floats:
    """Coefficients float[d + 1], the intercept last: of least |Xb - y|^2 + penalty |b|^2, the intercept not counted."""
    centre, level = x.mean(axis=0), y.mean()
    centred = x - centre
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - level))
    return np.append(weights, level - centre @ weights)


def softmax_regression(x: Floats, kinds: NDArray[np.int64], count: int, penalty: float, steps: int = STEPS) -> Floats:
    """Coefficients float[d + 1, count], intercepts last: of least sum of log losses + penalty / 2 |B|^2, intercepts not counted.

    Nesterov's accelerated gradient with the loss' own Lipschitz constant (half the largest eigenvalue of X'X), restarted when the
    momentum points uphill (B. O'Donoghue and E. Candes, Adaptive restart, 2015).
    """
    ones = np.hstack([x, np.ones((len(x), 1))])
    truth = np.eye(count)[kinds]
    decay = penalty * np.append(np.ones(x.shape[1]), 0.0)[:, None]
    rate = 1 / (0.5 * float(np.linalg.eigvalsh(ones.T @ ones).max()) + penalty)
    found = before = np.zeros((ones.shape[1], count))
    momentum = 1.0
    for _ in range(steps):
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = found + (momentum - 1) / following * (found - before)
        slope = ones.T @ (_softmax(ones @ ahead) - truth) + decay * ahead
        before, found = found, ahead - rate * slope
        uphill = float((slope * (found - before)).sum()) > 0
        momentum = 1.0 if uphill else following
    return found


class NearestVision:
    """The true answer of the training photo whose features are nearest, by the angle between them; of several the first counts."""

    given: tuple[str, ...] = ()

    def __init__(self, task: Task, train: Sequence[Record], eyes: Eyes) -> None:
        self.name = "nearest photo by its own vision features"
        self._eyes = eyes
        self._texts = [task.write(record.values) for record in train]
        self._unit = _unit(eyes.vectors * eyes.deviations)

    def __call__(self, records: Iterable[Record], *, batch_size: int = 64) -> Iterator[Prediction]:
        yield from _batched(records, batch_size, self._answer)

    def _answer(self, batch: list[Record]) -> list[str]:
        return [self._texts[index] for index in (_unit(self._eyes(batch) * self._eyes.deviations) @ self._unit.T).argmax(axis=1)]


@dataclass(frozen=True)
class _Number:
    """A ridge head: of the logarithm where every train number is above 0; answers stay within those of the train split."""

    weights: Floats
    log: bool
    low: Decimal
    high: Decimal
    places: int

    def __call__(self, x: Floats) -> list[Decimal]:
        found = _with_ones(x) @ self.weights
        values = np.exp(np.minimum(found, 700.0)) if self.log else found
        return [min(max(Decimal(f"{value:.{self.places}f}"), self.low), self.high) for value in values]


class LinearHeads:
    """A linear head on the features for each number and category; a text is the commonest of the first category that was found.

    The penalty of each head is that of `PENALTIES` which does best on held-out records: the validation split, or every fifth group of
    the train split where there is none.
    """

    given: tuple[str, ...] = ()

    def __init__(self, task: Task, train: Sequence[Record], validation: Sequence[Record], eyes: Eyes) -> None:
        self.name = "linear heads on its own vision features"
        self._task, self._eyes = task, eyes
        self._numbers = {one.name: _fit_number(one.name, *_parts(train, validation, eyes)) for one in task.of_kind("number")}
        self._categories = {one.name: _fit_category(one.name, *_parts(train, validation, eyes)) for one in task.of_kind("category")}
        self._words = _Words(task, train)

    @staticmethod
    def suits(task: Task) -> bool:
        """It needs a number or a category: no linear head writes words."""
        return bool(task.of_kind("number") or task.of_kind("category"))

    def __call__(self, records: Iterable[Record], *, batch_size: int = 64) -> Iterator[Prediction]:
        yield from _batched(records, batch_size, self._answer)

    def _answer(self, batch: list[Record]) -> list[str]:
        x = self._eyes(batch)
        found: dict[str, Sequence[Value]] = {name: head(x) for name, head in self._numbers.items()}
        for name, (weights, names) in self._categories.items():
            found[name] = [names[index] for index in (_with_ones(x) @ weights).argmax(axis=1)]
        return [self._task.write(self._words({name: each[row] for name, each in found.items()})) for row in range(len(batch))]


class _Words:
    """Adds the texts to what the heads found: the commonest of the category, or of all."""

    def __init__(self, task: Task, train: Sequence[Record]) -> None:
        texts: tuple[Field, ...] = task.of_kind("text")
        categories = task.of_kind("category")
        self._key = categories[0].name if categories else None
        self._all = typical(texts, train)
        by_category: dict[Value, list[Record]] = {}
        for record in train if self._key else ():
            by_category.setdefault(record.values[self._key or ""], []).append(record)
        self._of = {name: typical(texts, own) for name, own in by_category.items()}

    def __call__(self, values: dict[str, Value]) -> dict[str, Value]:
        return {**(self._of.get(values[self._key], self._all) if self._key else self._all), **values}


def vision_baselines(
    task: Task, train: Sequence[Record], validation: Sequence[Record], see: See, *, seed: int = 0
) -> list[NearestVision | LinearHeads]:
    """Both baselines on the records that have a photo, at most MOST of the train split, drawn by the seed; none without photos."""
    seen = [record for record in train if record.photo is not None]
    if len(seen) > MOST:
        chosen = np.sort(np.random.default_rng(seed).choice(len(seen), MOST, replace=False))
        seen = [seen[index] for index in chosen]
    if len(seen) < 2:
        return []
    eyes = Eyes(see, seen)
    if not eyes.vectors.shape[1]:
        return []  # every photo is the same to these eyes
    held = [record for record in validation if record.photo is not None][:MOST]
    found: list[NearestVision | LinearHeads] = [NearestVision(task, seen, eyes)]
    return [*found, LinearHeads(task, seen, held, eyes)] if LinearHeads.suits(task) else found


_Part: TypeAlias = tuple[Floats, list[Record]]


def _parts(train: Sequence[Record], validation: Sequence[Record], eyes: Eyes) -> tuple[_Part, _Part, _Part]:
    """(fitted on while the penalty is chosen, chosen by, fitted on at last), each as vectors and their records."""
    whole = (eyes.vectors, list(train))
    if validation:
        return whole, (eyes(validation), list(validation)), whole
    groups = {name: place for place, name in enumerate(dict.fromkeys(record.group for record in train))}
    held = np.array([groups[record.group] % 5 == 4 for record in train])
    if not held.any():
        return whole, whole, whole
    rest, kept = ((eyes.vectors[mask], [one for one, take in zip(train, mask, strict=True) if take]) for mask in (~held, held))
    return rest, kept, whole


def _fit_number(name: str, rest: _Part, held: _Part, whole: _Part) -> _Number:
    values = [cast(Decimal, record.values[name]) for record in whole[1]]
    log = min(values) > 0
    places = max(max(0, -int(value.as_tuple().exponent)) for value in values)

    def target(records: Sequence[Record]) -> Floats:
        found = np.array([float(cast(Decimal, record.values[name])) for record in records])
        return np.log(np.maximum(found, 1e-12)) if log else found

    def error(penalty: float) -> float:
        return float(np.abs(_with_ones(held[0]) @ ridge(rest[0], target(rest[1]), penalty * len(rest[0])) - target(held[1])).mean())

    best = min(PENALTIES, key=error)
    return _Number(ridge(whole[0], target(whole[1]), best * len(whole[0])), log, min(values), max(values), places)


def _fit_category(name: str, rest: _Part, held: _Part, whole: _Part) -> tuple[Floats, list[str]]:
    names = sorted({str(record.values[name]) for record in whole[1]})
    numbers = {one: place for place, one in enumerate(names)}

    def fit(part: _Part, penalty: float) -> Floats:
        kinds = np.array([numbers[str(record.values[name])] for record in part[1]])
        return softmax_regression(part[0], kinds, len(names), penalty * len(part[0]))

    def error(penalty: float) -> float:
        chance = _softmax(_with_ones(held[0]) @ fit(rest, penalty))
        true = [numbers.get(str(record.values[name])) for record in held[1]]
        return -sum(float(np.log(max(chance[row, kind], 1e-12))) for row, kind in enumerate(true) if kind is not None)

    return fit(whole, min(PENALTIES[:5], key=error)), names


def _batched(records: Iterable[Record], size: int, answer: Callable[[list[Record]], list[str]]) -> Iterator[Prediction]:
    remaining = iter(records)
    while batch := list(islice(remaining, size)):
        start = time.perf_counter()
        texts = answer(batch)
        seconds = (time.perf_counter() - start) / len(batch)
        for record, text in zip(batch, texts, strict=True):
            yield Prediction(record.id, text, seconds)


def _softmax(x: Floats) -> Floats:
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _with_ones(x: Floats) -> Floats:
    return np.hstack([x, np.ones((len(x), 1))])


def _unit(x: Floats) -> Floats:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30))
