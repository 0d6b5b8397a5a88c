"""Score: one prediction held against the truth, with its evidence: the words, what was read from them, and what was wrong.

It measures single answers. Averages over records, their intervals and baselines are left to `figures`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from rapidfuzz.distance import Levenshtein

from ..errors import DataError
from ..record import Prediction, Record, Value
from ..samples import told_by_samples
from ..task import Field, Reading, Task


@dataclass(frozen=True)
class FieldScore:
    """One field's truth, what was read (None: nothing could be), and its measures.

    text: `exact` 0 or 1, `similarity` 0..1. category: `correct` 0 or 1. All three are 0 when the field was not read.
    number: `absolute_error` in the field's unit and `percentage_error` in % of the truth, both >= 0. They are absent when
    the field was not read, and `percentage_error` also when the truth is 0: a number that is not known is never made up.
    """

    truth: Value
    answer: Value | None
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Score:
    """A record's outcome. `problems` is empty when the whole answer could be read.

    `ranked` has for a category field the categories, the most probable first: by the probabilities that the predictor told, else by how
    often they were sampled; it lacks the field where there is neither. `medians` has for a number the median of what the predictor
    thought likely, by its distribution, else by its samples.
    """

    record_id: str
    group: str
    text: str
    seconds: float
    problems: tuple[str, ...]
    fields: Mapping[str, FieldScore]
    ranked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    medians: Mapping[str, float] = field(default_factory=dict)

    @property
    def badness(self) -> float:
        """0 (all right) to 1 (all wrong), the mean over fields; orders the gallery. A number 100 % off counts as all wrong."""
        return sum(_badness(one) for one in self.fields.values()) / len(self.fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for evaluation.json; numbers of the answer stay exact, as text."""
        return {
            "record_id": self.record_id,
            "group": self.group,
            "text": self.text,
            "seconds": self.seconds,
            "problems": list(self.problems),
            "badness": self.badness,
            "fields": {
                name: {"truth": str(one.truth), "answer": None if one.answer is None else str(one.answer), **one.measures}
                for name, one in self.fields.items()
            },
        }


def score(record: Record, prediction: Prediction, task: Task) -> Score:
    """Hold one prediction against its record. Raises DataError when the record lacks one of the task's values."""
    reading = task.read(prediction.text)
    fields = {one.name: _field_score(one, _truth(record, one), reading) for one in task.answer_fields}
    told = told_by_samples(task, prediction).distribution
    ranked = {one.name: _ranked(told[one.name]["choices"]) for one in task.of_kind("category") if told.get(one.name, {}).get("choices")}
    medians = {one.name: float(told[one.name]["median"]) for one in task.of_kind("number") if "median" in told.get(one.name, {})}
    return Score(record.id, record.group, prediction.text, prediction.seconds, reading.problems, fields, ranked, medians)


def scores(task: Task, records: Sequence[Record], predictions: Sequence[Prediction], who: str = "predictions") -> list[Score]:
    """Score every record by its prediction, matched by id, in the records' order; other predictions are left aside.

    Raises DataError when a record has no prediction or two: an answer that was not asked for is no measurement.
    """
    by_id: dict[str, Prediction] = {}
    wanted = {record.id for record in records}
    for prediction in predictions:
        if prediction.record_id in by_id and prediction.record_id in wanted:
            raise DataError(f"{who}: record {prediction.record_id!r} has two answers, expected one: answer the split once more")
        by_id[prediction.record_id] = prediction
    missing = [record.id for record in records if record.id not in by_id]
    if missing:
        found = len(records) - len(missing)
        raise DataError(f"{who}: found answers to {found} of {len(records)} records, {missing[0]!r} has none: answer the whole split")
    return [score(record, by_id[record.id], task) for record in records]


def _ranked(chances: Mapping[str, float]) -> tuple[str, ...]:
    """The categories, the most probable first; of equals, the one that was told first."""
    return tuple(sorted(chances, key=lambda name: -chances[name]))


def _truth(record: Record, one: Field) -> Value:
    if one.name not in record.values:
        raise DataError(f"record {record.id!r} has no {one.name}, the task asks for it: import the data with that field")
    return record.values[one.name]


def _field_score(one: Field, truth: Value, reading: Reading) -> FieldScore:
    answer = reading.values.get(one.name)
    if one.kind == "number":
        return FieldScore(truth, answer, {} if answer is None else _number_measures(cast(Decimal, truth), cast(Decimal, answer)))
    want, got = _normal(str(truth)), "" if answer is None else _normal(str(answer))
    hit = float(want == got)
    if one.kind == "category":
        return FieldScore(truth, answer, {"correct": hit})
    return FieldScore(truth, answer, {"exact": hit, "similarity": Levenshtein.normalized_similarity(want, got)})


def _number_measures(truth: Decimal, answer: Decimal) -> dict[str, float]:
    error = abs(answer - truth)
    measures = {"absolute_error": float(error)}
    if truth:
        measures["percentage_error"] = float(100 * error / abs(truth))
    return measures


def _normal(text: str) -> str:
    """Unicode's composed form, so that two ways to write the same letter are equal; case and spaces count."""
    return unicodedata.normalize("NFC", text)


def _badness(one: FieldScore) -> float:
    if isinstance(one.truth, Decimal):
        return 1.0 if one.answer is None else min(1.0, one.measures.get("percentage_error", float(one.answer != one.truth) * 100) / 100)
    return 1 - one.measures.get("similarity", one.measures.get("correct", 0.0))
