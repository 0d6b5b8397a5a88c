"""Figures: from scores to named numbers with intervals, all derived from the task's fields.

Who enters a figure is one rule: a field's figures count the records whose field was read, and n says how many. What could not
be read is counted apart, by the parse rate and `unread`, and never enters as 0. No sentence is spoken here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias, cast

import numpy as np

from ..task import Task
from .estimate import Estimate, Floats, Statistic, estimate, mean, median, share
from .measures import chrf, codes, log_error, macro_f1, root_mean_square, token_f1
from .score import FieldScore, Score

Measure: TypeAlias = Callable[[Score], Any]
"""A score's contribution to a figure, a float in most; None keeps the record out of it."""

WITHIN = (10, 25)  # % of the truth
TOP = 3  # categories that are looked at where probabilities are given


def _floats(values: Sequence[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True)
class Figure:
    """What is measured: a stable name, a label for people, the field, the unit and which way is better.

    `unit` is "share" (0..1 of the records), "similarity" (0..1), "%" or the field's own. `main` marks the one figure of a
    field that verdicts are spoken on, `told` one that needs what predictions tell of how likely other answers were. `prepare` makes of
    what `measure` gave the floats that `statistic` takes.
    """

    name: str
    label: str
    field: str | None
    unit: str
    higher_is_better: bool
    measure: Measure
    statistic: Statistic = mean
    main: bool = False
    told: bool = False
    prepare: Callable[[Sequence[Any]], Floats] = _floats

    def estimate(self, marks: Sequence[Score], *, resamples: int, seed: int) -> Estimate:
        """The figure over the scores that enter it."""
        entered = [(value, one.group) for one in marks if (value := self.measure(one)) is not None]
        values, groups = [value for value, _ in entered], [group for _, group in entered]
        if self.unit == "share":
            return share(values, groups, resamples=resamples, seed=seed)
        prepared = self.prepare(values) if values else _floats(values)
        return estimate(prepared, groups, self.statistic, resamples=resamples, seed=seed)


def figures_of(task: Task) -> tuple[Figure, ...]:
    """Every figure that the task's fields allow, parse rate first, then in the order of the answer."""
    found = [Figure("parse_rate", "answers that can be read", None, "share", True, lambda one: float(not one.problems))]
    for one in task.answer_fields:
        if one.kind == "category":
            found.extend(_category_figures(one.name))
        elif one.kind == "text":
            found.extend(_text_figures(one.name))
        else:
            found.extend(_number_figures(one.name, one.unit or ""))
    return tuple(found)


def measurable(task: Task, *sides: Sequence[Score]) -> tuple[Figure, ...]:
    """`figures_of` but for those that need what none of some side's scores tells."""
    every = figures_of(task)
    return tuple(one for one in every if not one.told or all(any(one.measure(mark) is not None for mark in marks) for marks in sides))


def main_figures(task: Task) -> tuple[Figure, ...]:
    """One figure a field, that verdicts are spoken on: accuracy, exact match, mean absolute error."""
    return tuple(one for one in figures_of(task) if one.main)


def figures(task: Task, marks: Sequence[Score], *, resamples: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """All figures of the task over the scores, by name; those of probabilities where some score has them."""
    return {one.name: one.estimate(marks, resamples=resamples, seed=seed) for one in measurable(task, marks)}


def unread(task: Task, marks: Sequence[Score]) -> dict[str, int]:
    """By field, how many answers it could not be read from."""
    return {one.name: sum(mark.fields[one.name].answer is None for mark in marks) for one in task.answer_fields}


def confusion(field: str, marks: Sequence[Score]) -> list[tuple[str, str | None, int]]:
    """How often each (true category, answered category) occurs, most often first; None is an answer that was not read."""
    pairs = Counter((str(one.fields[field].truth), _words(one.fields[field].answer)) for one in marks)
    return [(truth, answer, count) for (truth, answer), count in pairs.most_common()]


def _category_figures(name: str) -> list[Figure]:
    label = f"{name} among the {TOP} most probable"
    return [
        Figure(f"{name}_accuracy", f"{name} right", name, "share", True, _get(name, "correct"), main=True),
        Figure(f"{name}_macro_f1", f"{name} macro-F1", name, "similarity", True, _of(name, _pair), macro_f1, prepare=codes),
        Figure(f"{name}_top_{TOP}", label, name, "share", True, lambda one: _in_top(one, name), told=True),
    ]


def _text_figures(name: str) -> list[Figure]:
    return [
        Figure(f"{name}_exact", f"{name} exactly right", name, "share", True, _get(name, "exact"), main=True),
        Figure(f"{name}_similarity", f"{name} edit similarity", name, "similarity", True, _get(name, "similarity")),
        Figure(f"{name}_token_f1", f"{name} word F1", name, "similarity", True, _of(name, lambda one: token_f1(*_pair(one)))),
        Figure(f"{name}_chrf", f"{name} chrF", name, "similarity", True, _of(name, lambda one: chrf(*_pair(one)))),
    ]


def _number_figures(name: str, unit: str) -> list[Figure]:
    error, percentage = _get(name, "absolute_error"), _get(name, "percentage_error")
    found = [
        Figure(f"{name}_mae", f"{name} mean error", name, unit, False, error, main=True),
        Figure(f"{name}_median_ape", f"{name} median error", name, "%", False, percentage, median),
        Figure(f"{name}_rmsle", f"{name} RMSLE", name, "", False, _of(name, _log_error), root_mean_square),
    ]
    for within in WITHIN:
        found.append(Figure(f"{name}_within_{within}", f"{name} within {within} %", name, "share", True, _at_most(percentage, within)))
    found.append(Figure(f"{name}_bias", f"{name} bias, read - true", name, unit, False, _of(name, _signed)))
    label = f"{name} mean error of its median"
    return [*found, Figure(f"{name}_median_mae", label, name, unit, False, lambda one: _off_by_median(one, name), told=True)]


def _get(field: str, measure: str) -> Measure:
    return _of(field, lambda one: one.measures.get(measure))


def _of(field: str, measure: Callable[[FieldScore], Any]) -> Measure:
    """The measure of one field, None where it was not read."""
    return lambda one: None if one.fields[field].answer is None else measure(one.fields[field])


def _at_most(measure: Measure, limit: float) -> Measure:
    def hit(one: Score) -> float | None:
        value = measure(one)
        return None if value is None else float(value <= limit)

    return hit


def _pair(one: FieldScore) -> tuple[str, str]:
    return str(one.truth), str(one.answer)


def _signed(one: FieldScore) -> float:
    return float(cast(Decimal, one.answer) - cast(Decimal, one.truth))


def _log_error(one: FieldScore) -> float | None:
    return log_error(cast(Decimal, one.truth), cast(Decimal, one.answer))


def _in_top(one: Score, field: str) -> float | None:
    """Whether the truth is among the first TOP; None where no probabilities are given."""
    found = one.ranked.get(field)
    return None if found is None else float(str(one.fields[field].truth) in found[:TOP])


def _off_by_median(one: Score, field: str) -> float | None:
    """How far the median of what the predictor thought likely is off, in the field's unit; None where it told none."""
    found = one.medians.get(field)
    return None if found is None else abs(found - float(cast(Decimal, one.fields[field].truth)))


def _words(answer: object) -> str | None:
    return None if answer is None else str(answer)
