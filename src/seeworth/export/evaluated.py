"""What an evaluation of the run says, for the model card, when it was made of these very weights. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SeeworthError
from ..evaluate.folder import file_hash, is_evaluation, read_manifest
from ..record import Record, read_predictions

FOLDER = "evaluation"


@dataclass(frozen=True)
class Evaluated:
    """evaluation.json of the run and the answers it was made from; or None and {}, and why."""

    content: dict[str, Any] | None
    answers: dict[str, str]
    why_not: str = ""

    def compared(self, records: Sequence[Record], words: Sequence[str]) -> dict[str, int]:
        """How many of the records were evaluated, and how many got the same words then."""
        both = [(self.answers[one.id], said) for one, said in zip(records, words, strict=True) if one.id in self.answers]
        return {"records": len(both), "same_words": sum(one == two for one, two in both)}


def read_evaluated(run: Path) -> Evaluated:
    """RUN/evaluation. Never raises: a card can be written without one, and says why."""
    folder = run / FOLDER
    if not is_evaluation(folder):
        return Evaluated(None, {}, "The run was not evaluated before it was exported (`seeworth evaluate RUN`).")
    try:
        content = read_manifest(folder)
        answers = {one.record_id: one.text for one in read_predictions(folder / "predictions.jsonl")}
    except (SeeworthError, OSError) as problem:
        return Evaluated(None, {}, f"The run's evaluation cannot be read: {problem}")
    weights = {name: told for name, told in content.get("hashes", {}).items() if name.endswith(".safetensors")}
    if not weights or any(not (run / name).is_file() or file_hash(run / name) != told for name, told in weights.items()):
        return Evaluated(None, {}, "The evaluation in the run folder was made of other weights, so its figures are not told here.")
    return Evaluated(content, answers)
