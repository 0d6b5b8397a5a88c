"""Validation photos answered by real generation while the model trains, and what the log hears of them.

Knows nothing of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..predict.vlm import VLM
from ..record import Record
from ..track import Track
from .answers import answered
from .spread import Alone


class Answering:
    """Answers records with the model as it is at some step.

    Args:
        track: what hears figures and table. vlm: answers. records: those of every evaluation. data: the dataset folder.
        spread: the processes; each answers its share.
    """

    def __init__(self, track: Track, vlm: VLM, records: Sequence[Record], data: Path, spread: Alone) -> None:
        self.track, self.vlm, self.records, self.data, self.spread = track, vlm, records, data, spread

    def __call__(self, step: int, family: str, model: Any, records: Sequence[Record] | None = None) -> dict[str, float]:
        """Answer the records, log the table and the figures as `family`/name, return the figures."""
        asked = self.records if records is None else records
        if not asked:
            return {}
        self.vlm.model = model
        shares = self.spread.share(list(self.vlm(asked[self.spread.rank :: self.spread.processes])))
        predictions = [shares[at % len(shares)][at // len(shares)] for at in range(len(asked))]
        found = answered(self.vlm.encoder.task, asked, predictions, data=self.data, family=family)
        self.track.answers(step, f"{family}/answers", found.rows)
        self.track.log(step, found.figures)
        return found.figures
