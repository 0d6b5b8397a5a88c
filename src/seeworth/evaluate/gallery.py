"""Which records a page shows with their photos, and why: the best, the worst, the most surprising, the unread, the unsure.

Chooses by scores and by what predictions tell of their own certainty; opens no photo and draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from ..intervals import Intervals, Scale, abstains, confidence_of, residual, spread_of
from ..record import Prediction
from ..task import Field, Task
from .conformal import scale_of
from .score import Score
from .words import figure, number

GALLERY = 12  # photos of each kind


@dataclass
class Galleries:
    """Record ids by kind of gallery, how many there are of a kind in all, and notes on the cards that need them.

    A kind that cannot be judged, because no prediction tells how sure it is, is absent: that is not the same as none found.
    """

    shown: dict[str, list[str]] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    notes: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def add(self, kind: str, chosen: Mapping[str, list[str]], many: int = GALLERY) -> None:
        """The first `many` of record id -> notes."""
        first = dict(list(chosen.items())[:many])
        self.shown[kind], self.found[kind] = list(first), len(chosen)
        self.notes[kind] = {name: note for name, note in first.items() if note}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for evaluation.json."""
        return {"gallery": self.shown, "gallery_found": self.found, "gallery_notes": self.notes}


def galleries(
    task: Task, marks: Sequence[Score], predictions: Mapping[str, Prediction], train: Mapping[str, Sequence[float]], *, seed: int
) -> Galleries:
    """best, worst, surprising and unread. `train`: the train values of each number, which choose its scale as in `conformal`."""
    made = Galleries()
    for kind, ids in best_and_worst(marks, seed).items():
        made.add(kind, {one: [] for one in ids})
        made.found[kind] = len(marks)
    if (found := surprising(task, marks, predictions, train)) is not None:
        made.add("surprising", found)
    made.add("unread", {one.record_id: [] for one in _shuffled(marks, seed) if one.problems})
    return made


def best_and_worst(marks: Sequence[Score], seed: int, many: int = GALLERY) -> dict[str, list[str]]:
    """Record ids of the `many` best and worst answers; of equals, those that a seeded shuffle puts first. None is in both."""
    ids = [one.record_id for one in sorted(_shuffled(marks, seed), key=lambda one: one.badness)]
    many = min(many, len(ids) // 2)
    return {"best": ids[:many], "worst": ids[::-1][:many]}


def surprising(
    task: Task, marks: Sequence[Score], predictions: Mapping[str, Prediction], train: Mapping[str, Sequence[float]]
) -> dict[str, list[str]] | None:
    """Record id -> why: where the model was surest and most wrong. None where no prediction tells how sure it is.

    A category that is wrong counts by the probability that it was given; a number whose truth lies outside the model's own 90 %
    interval counts by its error in half widths of that interval. The fields take turns, each with its most surprising answer first.
    """
    ranks, told = [], False
    for one in task.answer_fields:
        scale = scale_of(train.get(one.name, ()))
        sure = [(mark, found) for mark in marks if (found := _certainty(one, predictions[mark.record_id], scale)) is not None]
        told = told or bool(sure)
        ranks.append(sorted(_surprises(one, sure, scale), key=lambda row: -row[0]))
    return dict(_in_turn(ranks)) if told else None


def unsure(marks: Sequence[Score], predictions: Mapping[str, Prediction], own: Intervals) -> dict[str, list[str]] | None:
    """Record id -> why: answers that the run would rather not give, the least sure first. None where no threshold says when.

    Answers that could not be read are a kind of their own.
    """
    if not any(rule.threshold is not None for rule in own.abstain.values()):
        return None
    kinds = {one.name: one for one in own.task.answer_fields}
    ranks = []
    for name in own.abstain:
        scale = own.fields[name].scale if name in own.fields else "absolute"
        held = [one for one in marks if one.fields[name].answer is not None and abstains(own, predictions[one.record_id], name)]
        rows = [(_doubt(kinds[name], predictions[one.record_id], scale), one.record_id) for one in held]
        ranks.append([(doubt, key, _doubtful(kinds[name], doubt)) for doubt, key in sorted(rows, key=lambda row: -row[0])])
    return dict(_in_turn(ranks))


def told(task: Task, prediction: Prediction) -> dict[str, dict[str, float]]:
    """Field -> how sure the predictor says it is: of a category its `confidence`, 0..1; of a number `low` and `high`, its own 90 %."""
    found: dict[str, dict[str, float]] = {}
    for one in task.answer_fields:
        if one.kind == "category" and (p := confidence_of(prediction, one.name)) is not None:
            found[one.name] = {"confidence": p}
        if one.kind == "number" and spread_of(prediction, one.name, "absolute") is not None:
            found[one.name] = {end: float(prediction.distribution[one.name][end]) for end in ("low", "high")}
    return found


def sureness(p: float) -> str:
    """A probability in words; what is not quite certain is not called 100 %."""
    return "more than 99.9 %" if 0.9995 <= p < 1 else number(p, "share")


def _shuffled(marks: Sequence[Score], seed: int) -> list[Score]:
    return [marks[index] for index in np.random.default_rng(seed).permutation(len(marks))]


def _certainty(one: Field, prediction: Prediction, scale: Scale) -> float | None:
    """A category's confidence, half the width of a number's own interval; None for a text, and where nothing is told."""
    if one.kind == "category":
        return confidence_of(prediction, one.name)
    return spread_of(prediction, one.name, scale) if one.kind == "number" else None


def _surprises(one: Field, sure: Sequence[tuple[Score, float]], scale: Scale) -> Iterator[tuple[float, str, str]]:
    """How surprising, record id and why."""
    for mark, certain in sure:
        found = mark.fields[one.name]
        if found.answer is None:
            continue
        if one.kind == "category":
            if not found.measures["correct"]:
                yield certain, mark.record_id, f"{one.name}: wrong, though {sureness(certain)} sure"
            continue
        off = residual(float(found.truth), float(found.answer), scale)
        times = math.inf if certain == 0 < off else off / certain if off else 0.0
        if times > 1:
            far = f"{figure(times)} times as far off as its own 90 % interval reaches"
            yield times, mark.record_id, f"{one.name}: {far if math.isfinite(times) else 'off, though its own 90 % interval is one value'}"


def _doubt(one: Field, prediction: Prediction, scale: Scale) -> float:
    """The larger, the less sure; infinite where the prediction tells nothing."""
    found = _certainty(one, prediction, scale)
    return math.inf if found is None else 1 - found if one.kind == "category" else found


def _doubtful(one: Field, doubt: float) -> str:
    if math.isinf(doubt):
        return f"{one.name}: does not say how sure it is"
    return f"{one.name}: only {sureness(1 - doubt)} sure" if one.kind == "category" else f"{one.name}: spread {doubt:.2f}"


def _in_turn(ranks: Sequence[Sequence[tuple[float, str, str]]]) -> Iterator[tuple[str, list[str]]]:
    """(record id, notes): the first of each rank, then the second of each; a record in two ranks stands once, with the notes of both."""
    notes: dict[str, list[str]] = {}
    for rank in ranks:
        for _, name, why in rank:
            notes.setdefault(name, []).append(why)
    for row in zip_longest(*ranks):
        for entry in row:
            if entry is not None and entry[1] in notes:
                yield entry[1], notes.pop(entry[1])
