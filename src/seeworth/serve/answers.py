"""What the model said of a photo -> what is said over HTTP: the line of predictions.jsonl, and whether the answer is doubted."""

from __future__ import annotations

from typing import Any

from ..intervals import Abstention, Intervals, abstains, confidence_of, spread_of
from ..predict.lines import line
from ..record import Prediction, Record
from ..task import Task
from .worker import Said

KEPT = ("text", "values", "problems")
MAYBE = ("intervals", "confidence", "distribution")


def told(record: Record, said: Said, task: Task, intervals: Intervals | None) -> dict[str, Any]:
    """One entry of `predictions`, all but the photo."""
    row = line(record, said.prediction, task, intervals)
    found = {name: row[name] for name in KEPT} | {name: row.get(name, {}) for name in MAYBE}
    why = doubts(intervals, said.prediction)
    seconds = {"queue": round(said.queue, 4), "answer": round(said.answer, 4)}
    return {**found, "abstain": why is not None, "abstain_why": why, "seconds": seconds}


def doubts(intervals: Intervals | None, prediction: Prediction) -> str | None:
    """Why the answer is not to be relied on, in words; None where nothing speaks against it."""
    if intervals is None:
        return None
    unsure = [name for name in intervals.abstain if abstains(intervals, prediction, name)]
    return "; ".join(_words(intervals, prediction, name, intervals.abstain[name]) for name in unsure) or None


def _words(intervals: Intervals, prediction: Prediction, name: str, rule: Abstention) -> str:
    if rule.by == "confidence":
        found = confidence_of(prediction, name)
        return f"{name}: confidence {'unknown' if found is None else format(found, '.3g')}, answered from {rule.threshold:.3g} on"
    found = spread_of(prediction, name, intervals.fields[name].scale)
    return f"{name}: spread {'unknown' if found is None else format(found, '.3g')}, answered up to {rule.threshold:.3g}"
