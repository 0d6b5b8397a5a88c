"""Split conformal intervals: how wide they must be, from answers to the validation split, and how they do on the records measured.

A number's residual is taken on a ratio scale where every train value is above 0, as prices are: a model that is 20 % off is so at 5 and at
5,000, and an interval of one width in currency would be far too wide for one and too narrow for the other. Else it is absolute.

The quantile is that of split conformal prediction (V. Vovk et al., Algorithmic Learning in a Random World, 2005): of n residuals the
ceil((n + 1) * coverage)-th smallest, infinite where that is more than n. Photos of one article are not exchangeable, articles are: with
groups of several records each *group* weighs 1 / (groups + 1), shared by its records (Y. Lee, R. Barber, R. Willett, Distribution-free
inference with hierarchical data, 2023). The promise is then about a record of a group not seen before, and for groups of one record it
is the formula above. By category (Mondrian), the *answered* category decides: the true one is not known when a photo is asked about.

The file's form and its use by others are in `seeworth.intervals`. Nobody is asked here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..intervals import Cells, FieldIntervals, Intervals, Quantile, Scale, around, residual, spread_of
from ..record import Prediction, Record
from ..task import Task
from .calibration import Draws, abstention
from .estimate import Estimate, estimate, median, share
from .score import Score, scores
from .words import interval, number

SMALLEST = 30  # groups a category needs: below, the coverage that a quantile happens to have strays by more than 5 points
FLOOR = 0.05  # added to a spread: 5 % of the price, or of the middle half of the train values: no model is surer than that

WAYS = {
    "one width for all": (False, False),
    "by category": (True, False),
    "by the model's own spread": (False, True),
    "by category and own spread": (True, True),
}
"""Name -> (by_category, by_spread): the ways that a field's quantiles may allow."""


def least_groups(coverage: float) -> int:
    """The fewest groups that give a finite quantile: 9 for 90 %, 19 for 95 %."""
    return math.ceil(round(coverage / (1 - coverage), 9))


def quantile(residuals: Sequence[float], groups: Sequence[str], coverage: float) -> Quantile:
    """The conformal quantile of residuals (each >= 0, may be infinite), every group weighing the same; see the module.

    Raises ValueError for a coverage outside 0..1, or when there is not one group a residual.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage is {coverage}, expected more than 0 and less than 1")
    if len(residuals) != len(groups):
        raise ValueError(f"{len(residuals)} residuals for {len(groups)} groups: expected one group a residual")
    if not len(residuals):
        return Quantile(math.inf, 0, 0)
    values = np.asarray(residuals, dtype=np.float64)
    codes, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)[1:]
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(1 / sizes[codes[order]])  # in groups
    at = int(np.searchsorted(reached, (len(sizes) + 1) * coverage - 1e-9))
    return Quantile(float(values[order[at]]) if at < len(values) else math.inf, len(sizes), len(values))


def calibrate(
    task: Task,
    train: Sequence[Record],
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    *,
    coverage: float = 0.9,
    smallest: int = SMALLEST,
    abstain_error: float = 0.1,
    made_from: Mapping[str, str] | None = None,
) -> Intervals:
    """Intervals of every number field, and when to abstain, from answers to records that the model was not trained on.

    Args:
        train: their values choose the scale. records, predictions: of the validation split.
        smallest: groups that a category needs for its own quantile.
        abstain_error: share of wrong answers aimed at among those that are given, see `calibration.abstention`.

    Raises DataError as `scores` does.
    """
    marks = scores(task, records, predictions, "the answers to the calibration records")
    by_id = {one.record_id: one for one in predictions}
    category = task.of_kind("category")[0].name if task.of_kind("category") else None
    fields = {
        one.name: _field(one.name, category, [float(record.values[one.name]) for record in train], marks, by_id, coverage, smallest)
        for one in task.of_kind("number")
    }
    rules = {
        one.name: rule
        for one in task.answer_fields
        if (rule := abstention(one, marks, by_id, {name: own.scale for name, own in fields.items()}, abstain_error, smallest)) is not None
    }
    return Intervals(task, coverage, smallest, category, fields, rules, dict(made_from or {}))


def scale_of(train: Sequence[float]) -> Scale:
    """ "ratio" where all train values are above 0, else "absolute". Taken from the train split, so that the promise stays exact."""
    return "ratio" if train and min(train) > 0 else "absolute"


def measure(
    intervals: Intervals, marks: Sequence[Score], predictions: Mapping[str, Prediction], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Coverage and width on the records measured, which must not be those calibrated on. Plain data by number field, see `_measured`."""
    draws: Draws = {"resamples": resamples, "seed": seed}
    return {name: _measured(name, own, intervals, marks, predictions, draws) for name, own in intervals.fields.items()}


def sentence(field: str, data: Mapping[str, Any], coverage: float, unit: str) -> dict[str, str]:
    """What the figures of one field say, {"tone", "text"}: promised and measured coverage, width, and what is too few."""
    promised = f"{100 * coverage:g} %"
    if data["groups"] < (least := least_groups(coverage)):
        few = f"{field}: {data['groups']} groups of validation records are too few for {promised} intervals"
        return {"tone": "bad", "text": f"{few}, {least} are needed: no ends are known."}
    own = data["ways"][data["used"]]
    found, width = Estimate.from_dict(own["coverage"]), Estimate.from_dict(own["width"])
    if not found.n:
        return {"tone": "bad", "text": f"{field}: not one answer could be read, so there is no interval."}
    held = f"{number(found.value, 'share')} of {found.n} records ({interval(found, 'share')})"
    text = f"{field}: {promised} intervals hold the true value in {held}"
    if width.n:
        half = f"; half of them are narrower than {number(width.value, unit)}"
        times = f", a factor of {own['factor']['value']:.2f} each way" if own["factor"] else ""
        text += half + times
    if found.high < coverage:
        return {"tone": "bad", "text": f"{text}. They are too narrow: these records are not like the validation records."}
    if found.low > coverage:
        return {"tone": "mixed", "text": f"{text}. They are wider than promised."}
    return {"tone": "good", "text": f"{text}."}


def _field(
    name: str,
    category: str | None,
    train: Sequence[float],
    marks: Sequence[Score],
    predictions: Mapping[str, Prediction],
    coverage: float,
    smallest: int,
) -> FieldIntervals:
    scale = scale_of(train)
    floor = FLOOR if scale == "ratio" else FLOOR * _middle_half(train)
    read = [one for one in marks if one.fields[name].answer is not None]
    residuals = [residual(float(one.fields[name].truth), float(one.fields[name].answer or 0), scale) for one in read]
    plain = _cells(residuals, read, category, coverage, smallest)
    spreads = [spread_of(predictions[one.record_id], name, scale) for one in read]
    told = [one for one in spreads if one is not None]
    if not told or len(told) < len(spreads):
        return FieldIntervals(scale, plain, None, floor)
    scaled = [one / (spread + floor) for one, spread in zip(residuals, told, strict=True)]
    own = FieldIntervals(scale, plain, _cells(scaled, read, category, coverage, smallest), floor)
    return replace(own, by_spread=_wide(own, read, told, category, True) < _wide(own, read, told, category, False))


def _wide(own: FieldIntervals, read: Sequence[Score], spreads: Sequence[float], category: str | None, by_spread: bool) -> float:
    """The median half width. The narrower of two ways is chosen on the records that calibrate both: that costs the coverage of few
    groups about a point (Y. Yang, A. Kuchibhotla, 2021), while a spread that says nothing would make intervals wide for nothing."""
    rows = zip(read, spreads, strict=True)
    return float(np.median([own.half_width(_category(one, category), spread, by_spread=by_spread) for one, spread in rows]))


def _middle_half(values: Sequence[float]) -> float:
    low, high = np.quantile(values, [0.25, 0.75]) if values else (0.0, 1.0)
    return float(high - low) or 1.0


def _cells(residuals: Sequence[float], marks: Sequence[Score], category: str | None, coverage: float, smallest: int) -> Cells:
    everything = quantile(residuals, [one.group for one in marks], coverage)
    by_category: dict[str, list[int]] = {}
    for index, one in enumerate(marks):
        if (name := _category(one, category)) is not None:
            by_category.setdefault(name, []).append(index)
    own = {
        name: quantile([residuals[at] for at in places], [marks[at].group for at in places], coverage)
        for name, places in sorted(by_category.items())
        if len({marks[at].group for at in places}) >= max(smallest, least_groups(coverage))
    }
    return Cells(everything, own)


def _category(one: Score, category: str | None) -> str | None:
    """The category that was answered."""
    answer = None if category is None else one.fields[category].answer
    return None if answer is None else str(answer)


def _measured(
    name: str, own: FieldIntervals, intervals: Intervals, marks: Sequence[Score], predictions: Mapping[str, Prediction], draws: Draws
) -> dict[str, Any]:
    """One field: scale, groups and records calibrated on, `ways` with coverage, width and factor, the way `used`, and categories."""
    read = [one for one in marks if one.fields[name].answer is not None]
    used = own.normalised if own.by_spread and own.normalised is not None else own.plain
    ways = [
        way
        for way, (by_category, by_spread) in WAYS.items()
        if (own.normalised is not None or not by_spread) and (used.by_category or not by_category)
    ]
    chosen = next(way for way, kind in WAYS.items() if kind == (bool(used.by_category), own.by_spread))
    ends = {way: [_ends(one, name, own, intervals, predictions, way) for one in read] for way in ways}
    answered = sorted({found for one in marks if (found := _category(one, intervals.category)) is not None})
    return {
        "scale": own.scale,
        "groups": used.everything.groups,
        "records": used.everything.records,
        "floor": own.floor if own.normalised is not None else None,
        "ways": {way: _figures(name, own.scale, read, ends[way], draws) for way in ways},
        "used": chosen,
        "quantile": _none(used.everything.value),
        "categories": _by_category(name, used, intervals, read, ends[chosen], draws),
        "without_own": [one for one in answered if one not in used.by_category],
    }


def _ends(
    one: Score, name: str, own: FieldIntervals, intervals: Intervals, predictions: Mapping[str, Prediction], way: str
) -> tuple[float, float]:
    by_category, by_spread = WAYS[way]
    spread = spread_of(predictions[one.record_id], name, own.scale)
    wide = own.half_width(_category(one, intervals.category), spread, by_category=by_category, by_spread=by_spread)
    return around(float(one.fields[name].answer or 0), wide, own.scale)


def _figures(name: str, scale: Scale, read: Sequence[Score], ends: Sequence[tuple[float, float]], draws: Draws) -> dict[str, Any]:
    """Coverage over the answers that were read; median width, and factor each way of a ratio, over the intervals that end."""
    groups = [one.group for one in read]
    bounded = [(low, high, group) for (low, high), group in zip(ends, groups, strict=True) if math.isfinite(high - low)]
    wide = [high - low for low, high, _ in bounded]
    factors = [math.sqrt(high / low) for low, high, _ in bounded if low > 0]
    where = [group for *_, group in bounded]
    told = scale == "ratio" and where and len(factors) == len(where)
    return {
        "coverage": _coverage(name, read, ends, draws).to_dict(),
        "width": estimate(wide, where, median, **draws).to_dict(),
        "factor": estimate(factors, where, median, **draws).to_dict() if told else None,
        "endless": len(ends) - len(bounded),
    }


def _coverage(name: str, read: Sequence[Score], ends: Sequence[tuple[float, float]], draws: Draws) -> Estimate:
    held = [float(low <= float(one.fields[name].truth) <= high) for one, (low, high) in zip(read, ends, strict=True)]
    return share(held, [one.group for one in read], **draws)


def _by_category(
    name: str, used: Cells, intervals: Intervals, read: Sequence[Score], ends: Sequence[tuple[float, float]], draws: Draws
) -> list[dict[str, Any]]:
    found = []
    for category, own in used.by_category.items():
        places = [at for at, one in enumerate(read) if _category(one, intervals.category) == category]
        covered = _coverage(name, [read[at] for at in places], [ends[at] for at in places], draws)
        about = {"category": category, "quantile": _none(own.value), "groups": own.groups, "records": own.records}
        found.append({**about, "coverage": covered.to_dict()})
    return found


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None
