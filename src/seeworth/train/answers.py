"""Answered validation photos -> figures for the log, and rows for its table of answers. Asks nobody and writes nothing.

A row is plain JSON: `{"id", "photo", "truth", "answer", "fields": {name: {"kind", "truth", "read", measures...}}, "problems": [...]}`.
`photo` is None in a record of words alone, further photos of a record stand in `photos`. Paths are relative to the dataset folder, so
that the log does not depend on where things lie; how long an answer took is left out, so that it does not depend on the clock either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..evaluate.figures import figures
from ..evaluate.score import FieldScore, Score, scores
from ..record import Prediction, Record
from ..task import Task


@dataclass(frozen=True)
class Answered:
    """What is logged of answered records: figures such as "eval/full_price_mae", and one row a record."""

    figures: dict[str, float]
    rows: list[dict[str, Any]]


def answered(task: Task, records: Sequence[Record], predictions: Sequence[Prediction], *, data: Path, family: str = "eval") -> Answered:
    """Hold the predictions against the records of the dataset folder `data`.

    A figure that no record entered is left out. Raises DataError when a record has no prediction, or no true value.
    """
    marks = scores(task, records, predictions)
    found = figures(task, marks, resamples=0)
    return Answered(
        {f"{family}/{name}": one.value for name, one in found.items() if one.n},
        [_row(task, record, mark, data) for record, mark in zip(records, marks, strict=True)],
    )


def _row(task: Task, record: Record, mark: Score, data: Path) -> dict[str, Any]:
    photos = [photo.relative_to(data).as_posix() for photo in record.all_photos]
    return {
        "id": record.id,
        "photo": photos[0] if photos else None,
        **({"photos": photos[1:]} if photos[1:] else {}),
        "truth": task.write(record.values),
        "answer": mark.text,
        "fields": {name: _field(one) for name, one in mark.fields.items()},
        "problems": list(mark.problems),
    }


def _field(one: FieldScore) -> dict[str, Any]:
    """`read` is None when the field could not be read. Numbers are exact, as text; measures as `FieldScore` has them."""
    kind = "number" if isinstance(one.truth, Decimal) else "category" if "correct" in one.measures else "text"
    return {"kind": kind, "truth": str(one.truth), "read": None if one.answer is None else str(one.answer), **one.measures}
