"""Intervals around a model's numbers that hold the truth as often as they say: RUN/intervals.json, its writer, its reader, its use.

`evaluate.conformal` finds the widths on the validation split; whoever answers with the run (`predict`, `serve`) calls `read_intervals`
once and `price_interval` for each prediction. Knows nothing of records, figures or models.

    scale "ratio"     |ln truth - ln answer| <= w     the interval is answer / e^w to answer * e^w
    scale "absolute"  |truth - answer| <= w           the interval is answer - w to answer + w

w is a quantile of such residuals on the validation split: of one category where that had records enough, else of all. Where predictions
tell the model's own spread and that makes intervals narrower, w is a multiple of (spread + floor): wide where the model is unsure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from .errors import RunError
from .files import write_whole
from .record import Prediction
from .run_folder import MANIFEST
from .task import Task

FORMAT = "seeworth-intervals/1"
NAME = "intervals.json"

Scale: TypeAlias = Literal["ratio", "absolute"]
Certainty: TypeAlias = Literal["confidence", "spread"]


@dataclass(frozen=True)
class Quantile:
    """The residual that the wanted share of answers does not exceed; infinite where there are too few groups to know one."""

    value: float
    groups: int
    records: int


@dataclass(frozen=True)
class Cells:
    """A quantile over all categories, and those of the categories with records enough."""

    everything: Quantile
    by_category: Mapping[str, Quantile]

    def of(self, category: str | None) -> Quantile:
        """The category's own, else that of all."""
        return self.by_category.get(category, self.everything) if category is not None else self.everything


@dataclass(frozen=True)
class FieldIntervals:
    """A number field's quantiles: of plain residuals, and of residuals over (spread + floor) where predictions tell a spread.

    `by_spread`: the latter are in use, since they gave the narrower intervals on the validation split.
    """

    scale: Scale
    plain: Cells
    normalised: Cells | None
    floor: float
    by_spread: bool = False

    def half_width(self, category: str | None, spread: float | None, *, by_category: bool = True, by_spread: bool | None = None) -> float:
        """w of an answer, see the module; may be infinite. `spread` is on the field's scale, see `spread_of`."""
        category = category if by_category else None
        if (self.by_spread if by_spread is None else by_spread) and self.normalised is not None and spread is not None:
            return self.normalised.of(category).value * (spread + self.floor)
        return self.plain.of(category).value


@dataclass(frozen=True)
class Abstention:
    """When to answer a field: confidence at least, or spread at most, `threshold`. None: no threshold reached the error aimed at."""

    by: Certainty
    threshold: float | None
    error: float


@dataclass(frozen=True)
class Intervals:
    """What intervals.json holds.

    Attributes:
        coverage: the share of true values that are to lie inside, 0..1.
        smallest: groups that a category needs for a quantile of its own.
        category: the field whose answer chooses it; None in a task without.
        fields: by number field. abstain: by field, where predictions tell how sure they are.
        made_from: file name, or "data fingerprint" -> SHA-256 of what was measured.
    """

    task: Task
    coverage: float
    smallest: int
    category: str | None
    fields: Mapping[str, FieldIntervals]
    abstain: Mapping[str, Abstention]
    made_from: Mapping[str, str]


def price_interval(intervals: Intervals, prediction: Prediction, field: str | None = None) -> tuple[float, float] | None:
    """The ends (low, high) of the interval around a prediction's number, in the field's unit; None where no number can be read.

    Ends may be infinite. `field` is the first number when left out. Raises KeyError for a field without intervals, or when none has any.
    """
    field = field or next(iter(intervals.fields), "")
    own = intervals.fields[field]
    values = intervals.task.read(prediction.text).values
    if field not in values:
        return None
    category = None if intervals.category is None else values.get(intervals.category)
    answer = float(values[field])
    return around(answer, own.half_width(None if category is None else str(category), spread_of(prediction, field, own.scale)), own.scale)


def abstains(intervals: Intervals, prediction: Prediction, field: str) -> bool | None:
    """Whether the model is too unsure of a field to answer it; None where nothing says how sure is sure enough."""
    rule = intervals.abstain.get(field)
    if rule is None or rule.threshold is None:
        return None
    if rule.by == "confidence":
        found = confidence_of(prediction, field)
        return found is None or found < rule.threshold
    found = spread_of(prediction, field, intervals.fields[field].scale)
    return found is None or found > rule.threshold


def residual(truth: float, answer: float, scale: Scale) -> float:
    """How far an answer is off on the scale; infinite for a ratio with a number that is not above 0."""
    if scale == "absolute":
        return abs(truth - answer)
    return abs(math.log(truth) - math.log(answer)) if truth > 0 and answer > 0 else math.inf


def around(answer: float, half_width: float, scale: Scale) -> tuple[float, float]:
    """The interval (low, high) of `half_width` around an answer. It is wider by a millionth of a millionth, so that a truth just as
    far off as the quantile lies inside whatever the rounding. Around an answer that is not above 0 a ratio has no end."""
    if scale == "absolute":
        wide = half_width + 1e-12 * (abs(answer) + half_width)
        return answer - wide, answer + wide
    if answer <= 0 or half_width > 700:  # e^710 is no float64
        return 0.0, math.inf
    factor = math.exp(half_width * (1 + 1e-12) + 1e-12)
    return answer / factor, answer * factor


def confidence_of(prediction: Prediction, field: str) -> float | None:
    """The probability, 0..1, that the model gave to its own answer; None where the prediction does not tell it."""
    return _finite(prediction.confidence.get(field))


def spread_of(prediction: Prediction, field: str, scale: Scale) -> float | None:
    """Half the width of the model's own 5 % to 95 % interval of a number, on the scale; None where the prediction tells none."""
    told = prediction.distribution.get(field, {})
    low, high = _finite(told.get("low")), _finite(told.get("high"))
    if low is None or high is None or high < low or (scale == "ratio" and low <= 0):
        return None
    return (math.log(high) - math.log(low)) / 2 if scale == "ratio" else (high - low) / 2


def write_intervals(folder: Path, intervals: Intervals) -> None:
    """Write intervals.json in one step. An infinite quantile becomes null."""
    plain = {"format": FORMAT, **asdict(intervals), "task": intervals.task.to_dict()}
    text = json.dumps(_nulls(plain), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / NAME, text + "\n")


def read_intervals(folder: Path) -> Intervals:
    """What `write_intervals` wrote into a run folder, or into an evaluation folder.

    Raises RunError when it is not there, damaged, of another format, or made from another training than the folder's run.json tells.
    """
    path = folder / NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise RunError(f"{path} is not there: seeworth evaluate makes it, from answers to the validation split") from problem
    except (ValueError, RecursionError) as problem:
        raise RunError(f"{path} cannot be read as JSON ({problem}): evaluate once more") from problem
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise RunError(f"{path}: found format {found!r}, expected {FORMAT!r}: evaluate once more with this version")
    try:
        intervals = _parse(data, path)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise RunError(f"{path} is damaged ({type(problem).__name__}: {problem}): evaluate once more") from problem
    _check_run(folder, intervals, path)
    return intervals


def _check_run(folder: Path, intervals: Intervals, path: Path) -> None:
    run = folder / MANIFEST
    known = intervals.made_from.get(MANIFEST)
    if run.is_file() and known is not None and sha256(run.read_bytes()).hexdigest() != known:
        raise RunError(f"{path} was made for another training than {run} tells of: evaluate once more")


def _parse(data: Mapping[str, Any], path: Path) -> Intervals:
    task = Task.from_dict(data["task"], path)
    numbers = {one.name for one in task.of_kind("number")}
    fields = {str(name): _field(one) for name, one in data["fields"].items()}
    if not set(fields) <= numbers:
        raise ValueError(f"fields {', '.join(fields)}, but the task's numbers are {', '.join(numbers)}")
    abstain = {str(name): _abstention(one) for name, one in data["abstain"].items()}
    if strange := [name for name, one in abstain.items() if one.by == "spread" and name not in fields]:
        raise ValueError(f"abstain: {strange[0]} has no intervals")
    category = data["category"]
    if not 0 < (coverage := float(data["coverage"])) < 1:
        raise ValueError(f"coverage {coverage}")
    made_from = {str(name): str(one) for name, one in data["made_from"].items()}
    return Intervals(task, coverage, int(data["smallest"]), None if category is None else str(category), fields, abstain, made_from)


def _field(data: Mapping[str, Any]) -> FieldIntervals:
    normalised = data["normalised"]
    floor, scale, by_spread = _at_least_0(data["floor"]), _one_of(data["scale"], Scale), data["by_spread"]
    if not isinstance(by_spread, bool) or (by_spread and normalised is None):
        raise ValueError(f"by_spread is {by_spread!r}")
    return FieldIntervals(scale, _cells(data["plain"]), None if normalised is None else _cells(normalised), floor, by_spread)


def _cells(data: Mapping[str, Any]) -> Cells:
    return Cells(_quantile(data["everything"]), {str(name): _quantile(one) for name, one in data["by_category"].items()})


def _quantile(data: Mapping[str, Any]) -> Quantile:
    value = data["value"]
    return Quantile(math.inf if value is None else _at_least_0(value), int(data["groups"]), int(data["records"]))


def _abstention(data: Mapping[str, Any]) -> Abstention:
    threshold = data["threshold"]
    return Abstention(_one_of(data["by"], Certainty), None if threshold is None else _at_least_0(threshold), _at_least_0(data["error"]))


def _one_of(word: Any, kind: Any) -> Any:
    if word not in get_args(kind):
        raise ValueError(f"{word!r} is none of {', '.join(get_args(kind))}")
    return word


def _at_least_0(value: Any) -> float:
    found = _finite(value)
    if found is None or found < 0:
        raise ValueError(f"{value!r} is no number from 0 on")
    return found


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _nulls(plain: Any) -> Any:
    """Plain data without infinity, which JSON does not have."""
    if isinstance(plain, Mapping):
        return {key: _nulls(one) for key, one in plain.items()}
    return None if isinstance(plain, float) and math.isinf(plain) else plain

