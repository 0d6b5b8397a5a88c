"""One input and what became of it -> its line of predictions.jsonl, as plain data.

    answered   the model's words, what was read from them, how sure the model is, intervals around numbers
    refused    why there are no words: `error` with a short stable code and a sentence; never a value

`record.read_predictions` and `record.read_unanswered` read them. Knows nothing of files, photos or models.
"""

from __future__ import annotations

import math
from typing import Any

from ..intervals import Intervals, abstains, price_interval
from ..record import Prediction, Record, prediction_line
from ..task import Task
from .inputs import Input

NUMBER = "number"  # the key, in the line of an engine, of the input's place; it stands in no finished file


def answered(item: Input, prediction: Prediction, task: Task, intervals: Intervals | None = None) -> dict[str, Any]:
    """The line of an input that was answered, with the input's number."""
    return {NUMBER: item.number, **line(item.record, prediction, task, intervals), "photo": item.photo}


def refused(item: Input, code: str, words: str) -> dict[str, Any]:
    """The line of an input that could not be answered: a code as in rejected.jsonl (docs/data.md) and one sentence."""
    error = {"code": code, "message": " ".join(words.split())}
    return {NUMBER: item.number, "record_id": item.record.id, "photo": item.photo, "error": error}


def line(record: Record, prediction: Prediction, task: Task, intervals: Intervals | None = None) -> dict[str, Any]:
    """What predictions.jsonl holds for one record: the words, what was read from them, and where the run has intervals.json the ends
    around each number, and whether the model is too unsure of a field to answer it.

    An end that is infinite is null. `abstain` names the fields for which the run has a threshold.
    """
    reading = task.read(prediction.text)
    values = {name: value if isinstance(value, str) else float(value) for name, value in reading.values.items()}
    photo = str(record.photo) if record.photo else None
    found = {**prediction_line(prediction), "photo": photo, "values": values, "problems": list(reading.problems)}
    if intervals is None:
        return found
    ends = {name: pair for name in intervals.fields if (pair := price_interval(intervals, prediction, name)) is not None}
    found["intervals"] = {name: [one if math.isfinite(one) else None for one in pair] for name, pair in ends.items()}
    unsure = {name: told for name in intervals.abstain if (told := abstains(intervals, prediction, name)) is not None}
    return {**found, "abstain": unsure} if unsure else found
