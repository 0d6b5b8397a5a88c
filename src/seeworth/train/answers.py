"""Validation photos answered by real generation while the model trains: figures, and a table for the trackers.

Knows nothing of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..evaluate.figures import validation_figures
from ..predict.vlm import VLM
from ..record import Record
from ..track import Track


class Answering:
    """Answers records with the model as it is at some step.

    Args:
        track: what hears figures and table. vlm: answers. records: those of every evaluation.
    """

    def __init__(self, track: Track, vlm: VLM, records: Sequence[Record]) -> None:
        self.track = track
        self.vlm = vlm
        self.records = records

    def answer(self, step: int, family: str, model: Any, records: Sequence[Record] | None = None) -> dict[str, float]:
        """Answer the records, log the table and the figures as `family`/name, return the figures."""
        records = self.records if records is None else records
        if not records:
            return {}
        self.vlm.model = model
        task = self.vlm.encoder.task
        predictions = list(self.vlm(records))
        figures = {f"{family}/{name}": value for name, value in validation_figures(task, records, predictions).items()}
        rows = []
        for record, prediction in zip(records, predictions, strict=True):
            reading = task.read(prediction.text)
            fields = {f"{one.name} read": reading.values.get(one.name, "") for one in task.answer_fields}
            row = {"id": record.id, "photo": record.photo, "truth": task.write(record.values), "answer": prediction.text}
            rows.append(row | fields | {"problems": "; ".join(reading.problems)})
        self.track.answers(step, f"{family}/answers", rows)
        self.track.log(step, figures)
        return figures
