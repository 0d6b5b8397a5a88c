"""The nouns that travel between the stages: Record, Split, Prediction.

Knows nothing of how a photo is opened, a model asked or an answer scored. Writers and readers of
`predictions.jsonl` live here because `predict` writes what `evaluate` reads, and neither imports the other's insides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from .errors import DataError

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Value: TypeAlias = str | Decimal


@dataclass(frozen=True)
class Record:
    """One photo and what is known of it.

    `values` holds the task's fields (numbers as Decimal, all else as str) and any other column of the table as str.
    `group` names the article: records of one group never stand in two splits.
    """

    id: str
    photo: Path
    values: Mapping[str, Value]
    group: str
    split: Split | None = None


@dataclass(frozen=True)
class Prediction:
    """What a predictor said of one record: its words verbatim, and the seconds they took (a batch's time shared evenly)."""

    record_id: str
    text: str
    seconds: float
    samples: tuple[str, ...] = ()


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> int:
    """Write one JSON line a prediction, as they come; return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for prediction in predictions:
            file.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
            count += 1
    return count


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Read what `write_predictions` wrote. Raises DataError that names file and line."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                samples = tuple(str(sample) for sample in row.get("samples", ()))
                yield Prediction(str(row["record_id"]), str(row["text"]), float(row.get("seconds", 0.0)), samples)
            except (ValueError, KeyError, TypeError, AttributeError) as problem:
                raise DataError(
                    f"{path}, line {number}: expected a prediction with record_id and text, found {line.strip()[:80]!r}"
                ) from problem
