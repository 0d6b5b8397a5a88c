"""The nouns that travel between the stages: Record, Turn, Split, Prediction.

Knows nothing of how a photo is opened, a model asked or an answer scored. Writers and readers of
`predictions.jsonl` live here because `predict` writes what `evaluate` reads, and neither imports the other's insides; those of
turns because an import writes what a dataset reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from .errors import DataError

T = TypeVar("T")
Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Value: TypeAlias = str | Decimal
Role: TypeAlias = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Turn:
    """What one side says in a conversation: words, and the photos where they stand between them.

    A number among the `parts` is a photo's place in `Record.all_photos`, counted from 0.
    """

    role: Role
    parts: tuple[str | int, ...]


@dataclass(frozen=True)
class Record:
    """A photo, or several, or none, and what is known of it.

    `values` holds the task's fields (numbers as Decimal, all else as str) and any other column of the table as str.
    `group` names the article: records of one group never stand in two splits.

    Args:
        photo: the first photo, or the only one; None in a record of words alone.
        photos: the further ones.
        turns: of a conversation; None where the task's question and answer are all that is said.
        sizes: (width, height) in pixels of each of `all_photos`, as they are seen; () where they are not known.

    Raises DataError for turns that are no conversation about exactly these photos, see `check_turns`.
    """

    id: str
    photo: Path | None
    values: Mapping[str, Value]
    group: str
    split: Split | None = None
    photos: tuple[Path, ...] = ()
    turns: tuple[Turn, ...] | None = None
    sizes: tuple[tuple[int, int], ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.photo is None and self.photos:
            raise DataError(f"record {self.id}: has further photos and no first one")
        if self.turns is not None and (fault := check_turns(self.turns, len(self.all_photos))):
            raise DataError(f"record {self.id}: {fault[1]}")

    @property
    def all_photos(self) -> tuple[Path, ...]:
        """Every photo, in the order in which the model sees them."""
        return () if self.photo is None else (self.photo, *self.photos)


def check_turns(turns: Sequence[Turn], photos: int) -> tuple[str, str] | None:
    """What keeps turns from being a conversation about that many photos, as (short code, words); None when nothing does.

    The system may speak first, then user and assistant take turns, and the assistant has the last word. No turn is empty. Photos
    stand in the user's turns, each once, in their order.
    """
    roles: list[str] = [turn.role for turn in turns]
    if strange := sorted(set(roles) - set(ROLES)):
        return "turn_role", f"expected {', '.join(ROLES)}, found a turn of {strange[0]!r}"
    dialogue = roles[1:] if roles[:1] == ["system"] else roles
    if len(dialogue) < 2:
        return "turns_missing", f"expected a question and its answer, found {len(dialogue)} turns"
    if any(role != ("user", "assistant")[place % 2] for place, role in enumerate(dialogue)):
        return "turns_order", f"expected user and assistant in turn, found {', '.join(roles[:8])}{', ...' if len(roles) > 8 else ''}"
    if dialogue[-1] != "assistant":
        return "turns_order", "the last question has no answer: expected the assistant's words after it"
    for number, turn in enumerate(turns, 1):
        if not any(isinstance(part, int) or part.strip() for part in turn.parts):
            return "turn_empty", f"turn {number}, the {turn.role}'s, says nothing"
        if turn.role != "user" and any(isinstance(part, int) for part in turn.parts):
            return "photo_misplaced", f"a photo stands in turn {number}, the {turn.role}'s: expected photos in the user's turns"
    places = [part for turn in turns for part in turn.parts if isinstance(part, int)]
    if places != list(range(photos)):
        return "photo_count", f"the turns have places for {len(places)} photos, the record has {photos}: expected each once, in order"
    return None


@dataclass(frozen=True)
class Prediction:
    """What a predictor said of one record: its words verbatim, and the seconds they took (a batch's time shared evenly).

    Attributes:
        confidence: of a field, the probability that the predictor gave to its own answer. {} where it does not say.
        distribution: of a field, how likely other answers were. A category: {"choices": {words: p}}, p sum to 1. A number: {"median",
            "low", "high"} (5 % and 95 %), "values" [[number, p], ...] likeliest first, and "covered", the share of the predictor's
            probability that this is made of. {} where it does not say.
    """

    record_id: str
    text: str
    seconds: float
    samples: tuple[str, ...] = ()
    confidence: Mapping[str, float] = field(default_factory=dict, hash=False)
    distribution: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)


def write_turns(turns: Sequence[Turn]) -> str:
    """Turns as JSON, in the form of chat messages: the n-th part of type "image" is the n-th photo. `read_turns` is its inverse."""
    kinds = [
        {"role": turn.role, "content": [{"type": "text", "text": one} if isinstance(one, str) else {"type": "image"} for one in turn.parts]}
        for turn in turns
    ]
    return json.dumps(kinds, ensure_ascii=False)


def read_turns(text: str) -> tuple[Turn, ...]:
    """What `write_turns` wrote. Raises ValueError."""
    places = count()
    try:
        return tuple(
            Turn(one["role"], tuple(next(places) if part["type"] == "image" else str(part["text"]) for part in one["content"]))
            for one in json.loads(text)
        )
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise ValueError(f"expected turns as JSON, each with role and content, found {text[:80]!r}: import again") from problem


def prediction_line(prediction: Prediction) -> dict[str, Any]:
    """A prediction as its line of predictions.jsonl holds it; what the predictor does not say is left out."""
    return {key: one for key, one in vars(prediction).items() if one or key not in ("confidence", "distribution")}


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> int:
    """Write one JSON line a prediction, as they come; return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for prediction in predictions:
            file.write(json.dumps(prediction_line(prediction), ensure_ascii=False) + "\n")
            count += 1
    return count


@dataclass(frozen=True)
class Unanswered:
    """A line of predictions.jsonl that holds no words, and why: `code` is short and stable, `message` a sentence."""

    record_id: str
    photo: str | None
    code: str
    message: str


def read_unanswered(path: Path) -> Iterator[Unanswered]:
    """The lines that `predict` wrote for what could not be answered. Raises DataError that names file and line."""
    for line in _read(path, lambda row: _unanswered(row) if _is_error(row) else None):
        if line is not None:
            yield line


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Read what `write_predictions` or `predict` wrote, lines that hold an error instead of words left out: see `read_unanswered`.

    Raises DataError that names file and line.
    """
    for line in _read(path, lambda row: None if _is_error(row) else _prediction(row)):
        if line is not None:
            yield line


def _read(path: Path, parse: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    """Each line parsed. Whoever wrote the file is not trusted: what is of another kind than it should be is no prediction."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line.decode("utf-8"), parse_constant=_no_number)
                if not isinstance(row, dict):
                    raise ValueError("it is no object")
                found = parse(row)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
                why = {KeyError: f"{problem} is missing", RecursionError: "it is nested too deep"}.get(type(problem), str(problem)[:120])
                shown = line[:80].decode("utf-8", "replace").strip()
                expected = "expected a prediction with record_id and text"
                raise DataError(f"{path}, line {number}: {expected}, found {shown!r}: {why}") from problem
            yield found


def _is_error(row: Mapping[str, Any]) -> bool:
    return "error" in row and "text" not in row


def _unanswered(row: Mapping[str, Any]) -> Unanswered:
    photo = row.get("photo")
    return Unanswered(_id(row), None if photo is None else str(photo), str(row["error"]["code"]), str(row["error"]["message"]))


def _prediction(row: Mapping[str, Any]) -> Prediction:
    samples = row.get("samples", [])
    if not isinstance(samples, list):
        raise ValueError("samples is no list")
    confidence = {name: _number(p, name, 0, 1 + 1e-6) for name, p in row.get("confidence", {}).items()}
    distribution = {name: _distribution(dict(one), name) for name, one in row.get("distribution", {}).items()}
    seconds, said = _number(row.get("seconds", 0.0), "seconds"), tuple(_words(one, "a sample") for one in samples)
    return Prediction(_id(row), _words(row["text"], "text"), seconds, said, confidence, distribution)


def _distribution(told: dict[str, Any], name: str) -> dict[str, Any]:
    """What is told of a field, every number in it looked at."""
    for key in ("median", "low", "high", "covered"):
        if key in told:
            _number(told[key], f"{name}, {key}")
    for p in told.get("choices", {}).values():
        _number(p, f"{name}, a choice", 0)
    for number, p in told.get("values", []):
        _number(number, f"{name}, a value")
        _number(p, f"{name}, a value's probability", 0)
    return told


def _id(row: Mapping[str, Any]) -> str:
    found = row["record_id"]
    return str(found) if isinstance(found, int) else _words(found, "record_id")


def _words(found: Any, what: str) -> str:
    if not isinstance(found, str):
        raise ValueError(f"{what} is no text")
    found.encode("utf-8")  # half a letter, which JSON can spell, can be written nowhere
    return found


def _number(found: Any, what: str, low: float = -math.inf, high: float = math.inf) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or not low <= found <= high:
        raise ValueError(f"{what} is no number that it can be")
    return float(found)


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number in JSON")
