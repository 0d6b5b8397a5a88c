"""Figures: from scores to named numbers with intervals, all derived from the task's fields.

Who enters a figure is its rule: a category, a text and the parse rate count every record (what was not read is wrong);
a number's figures count only the records whose number was read, and n says how many. No sentence is spoken here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..record import Prediction, Record
from ..task import Task
from .estimate import Estimate, Statistic, estimate, mean, median, ratio, share
from .score import Score, scores

Measure: TypeAlias = Callable[[Score], float | None]
"""A score's contribution to a figure; None keeps the record out of it."""

WITHIN = (10, 25)  # % of the truth


@dataclass(frozen=True)
class Figure:
    """What is measured: a stable name, a label for people, the field, the unit and which way is better.

    `unit` is "share" (0..1 of the records), "similarity" (0..1), "%" or the field's own. `main` marks the one figure of a
    field that verdicts are spoken on.
    """

    name: str
    label: str
    field: str | None
    unit: str
    higher_is_better: bool
    measure: Measure
    statistic: Statistic = mean
    main: bool = False

    def estimate(self, marks: Sequence[Score], *, resamples: int, seed: int) -> Estimate:
        """The figure over the scores that enter it."""
        entered = [(value, one.group) for one in marks if (value := self.measure(one)) is not None]
        values, groups = [value for value, _ in entered], [group for _, group in entered]
        if self.unit == "share":
            return share(values, groups, resamples=resamples, seed=seed)
        return estimate(values, groups, self.statistic, resamples=resamples, seed=seed)


def figures_of(task: Task) -> tuple[Figure, ...]:
    """Every figure that the task's fields allow, parse rate first, then in the order of the answer."""
    found = [Figure("parse_rate", "answers that can be read", None, "share", True, lambda one: float(not one.problems))]
    for one in task.answer_fields:
        if one.kind == "category":
            hit = _get(one.name, "correct")
            found.append(Figure(f"{one.name}_accuracy", f"{one.name} right", one.name, "share", True, hit, main=True))
        elif one.kind == "text":
            found.extend(_text_figures(one.name))
        else:
            found.extend(_number_figures(one.name, one.unit or ""))
    return tuple(found)


def main_figures(task: Task) -> tuple[Figure, ...]:
    """One figure a field, that verdicts are spoken on: accuracy, exact match, mean absolute error."""
    return tuple(one for one in figures_of(task) if one.main)


def figures(task: Task, marks: Sequence[Score], *, resamples: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """All figures of the task over the scores, by name."""
    return {one.name: one.estimate(marks, resamples=resamples, seed=seed) for one in figures_of(task)}


def validation_figures(task: Task, records: Sequence[Record], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Flat figures without intervals for a training log, e.g. {"parse_rate": 1.0, "full_price_mae": 812.4}.

    A figure that no record entered is left out. Raises DataError as `scores` does.
    """
    found = figures(task, scores(task, records, predictions), resamples=0)
    return {name: one.value for name, one in found.items() if one.n}


def error_ratio(field: str, ours: Sequence[Score], theirs: Sequence[Score], *, resamples: int, seed: int) -> Estimate:
    """Our mean absolute error over theirs, on the records whose number both could read, paired. Below 1: ours is smaller."""
    measure = _get(field, "absolute_error")
    pairs = [
        (a, b, one.group)
        for one, other in zip(ours, theirs, strict=True)
        if (a := measure(one)) is not None and (b := measure(other)) is not None
    ]
    return estimate([(a, b) for a, b, _ in pairs], [group for *_, group in pairs], ratio, resamples=resamples, seed=seed)


def confusion(field: str, marks: Sequence[Score]) -> list[tuple[str, str | None, int]]:
    """How often each (true category, answered category) occurs, most often first; None is an answer that was not read."""
    pairs = Counter((str(one.fields[field].truth), _words(one.fields[field].answer)) for one in marks)
    return [(truth, answer, count) for (truth, answer), count in pairs.most_common()]


def _text_figures(name: str) -> list[Figure]:
    exact, similarity = _get(name, "exact"), _get(name, "similarity")
    return [
        Figure(f"{name}_exact", f"{name} exactly right", name, "share", True, exact, main=True),
        Figure(f"{name}_similarity", f"{name} edit similarity", name, "similarity", True, similarity),
    ]


def _number_figures(name: str, unit: str) -> list[Figure]:
    error, percentage = _get(name, "absolute_error"), _get(name, "percentage_error")
    found = [
        Figure(f"{name}_mae", f"{name} mean error", name, unit, False, error, main=True),
        Figure(f"{name}_median_ape", f"{name} median error", name, "%", False, percentage, median),
    ]
    for within in WITHIN:
        found.append(Figure(f"{name}_within_{within}", f"{name} within {within} %", name, "share", True, _at_most(percentage, within)))
    return found


def _get(field: str, measure: str) -> Measure:
    return lambda one: one.fields[field].measures.get(measure)


def _at_most(measure: Measure, limit: float) -> Measure:
    def hit(one: Score) -> float | None:
        value = measure(one)
        return None if value is None else float(value <= limit)

    return hit


def _words(answer: object) -> str | None:
    return None if answer is None else str(answer)
