"""How far a model's own certainty can be trusted: reliability of its confidence, and from which certainty on it should answer.

Only where predictions tell a probability of their answer or a spread of their number; nothing is made up where they do not.
Works on scores and predictions; where they come from is not its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np

from ..intervals import Abstention, Scale, confidence_of, spread_of
from ..record import Prediction
from ..task import Field
from .estimate import Estimate, Floats, difference, estimate, share
from .score import Score

BINS = 10  # of equal numbers of records
IN_A_BIN = 20  # records at least, or there are fewer bins
OFF = 25  # % from which a number counts as wrong when it is asked whether to abstain
CURVE = 60  # points of a curve that are kept
CHANCE_DRAWS = 200


class Draws(TypedDict):
    """How intervals of figures are drawn: see `estimate`."""

    resamples: int
    seed: int


def reliability(
    field: str, marks: Sequence[Score], predictions: Mapping[str, Prediction], *, resamples: int, seed: int
) -> dict[str, Any] | None:
    """A category's confidence beside its accuracy, over the answers that were read; None where no prediction tells a confidence.

    Plain data: n; `bins` of equal mass with mean confidence and accuracy; `ece`, the expected calibration error (M. Naeini et al.,
    2015): the mean over records of |accuracy - confidence| of their bin; `chance`, what it would be by chance alone were every
    confidence right; `gap`, mean confidence - accuracy, paired.
    """
    told = [
        (found, one.fields[field].measures["correct"], one.group)
        for one in marks
        if one.fields[field].answer is not None and (found := confidence_of(predictions[one.record_id], field)) is not None
    ]
    if not told:
        return None
    confidence, right = np.array([row[0] for row in told]), np.array([row[1] for row in told])
    groups = [row[2] for row in told]
    bins = equal_mass(confidence)
    pairs = np.stack([confidence, right], axis=1)
    ece = _ece_of(bins)
    return {
        "n": len(told),
        "bins": [_bin(confidence, right, groups, bins == at, resamples, seed) for at in range(int(bins.max()) + 1)],
        "ece": _around_value(estimate(pairs, groups, ece, resamples=resamples, seed=seed)).to_dict(),
        "chance": _by_chance(confidence, ece, seed),
        "gap": difference(confidence, right, groups, resamples=resamples, seed=seed).to_dict(),
    }


def equal_mass(confidence: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64[n]: the bin of each record, from the least sure on; about as many records in each, equal confidences in the same."""
    n = len(confidence)
    many = max(1, min(BINS, n // IN_A_BIN))
    edges = np.sort(confidence)[[n * at // many for at in range(1, many)]]
    return np.unique(np.searchsorted(np.unique(edges), confidence, side="right"), return_inverse=True)[1].astype(np.int64)


def abstention(
    one: Field,
    marks: Sequence[Score],
    predictions: Mapping[str, Prediction],
    scales: Mapping[str, Scale],
    error: float,
    smallest: int,
) -> Abstention | None:
    """From which certainty on to answer a field: as many answers as can be given with at most `error` of them wrong.

    A category goes by its confidence and is wrong when it is not the true one; a number goes by its spread and is wrong when it is
    more than 25 % off. Answers of fewer than `smallest` groups prove nothing: then, or when the error is not reached, the threshold is
    None. None in all where predictions tell no certainty, and for a text.
    """
    if (by := _kind_of(one)) is None or not any(_certainty(one, predictions[mark.record_id], scales) is not None for mark in marks):
        return None
    certain, wrong, groups = _ordered(one, marks, predictions, scales)
    shares = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    last = [at for at in range(len(certain)) if at + 1 == len(certain) or certain[at + 1] < certain[at]]  # equal certainties go together
    fit = [at for at in last if shares[at] <= error and len(set(groups[: at + 1])) >= smallest]
    threshold = None if not fit else float(abs(certain[fit[-1]]))
    return Abstention(by, threshold, error)


def answered(
    one: Field,
    rule: Abstention,
    marks: Sequence[Score],
    predictions: Mapping[str, Prediction],
    scales: Mapping[str, Scale],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """A rule on the records measured: share answered, error among the answered, error were all answered; and the curve of both.

    `curve` holds [share answered, share wrong among them], from the surest answers on.
    """
    certain, wrong, groups = _ordered(one, marks, predictions, scales)
    least = None if rule.threshold is None else rule.threshold if rule.by == "confidence" else -rule.threshold
    given = [] if least is None else [value >= least for value in certain]
    told = {mark.record_id for mark in _told(one, marks, predictions, scales)}
    unread = [mark.group for mark in marks if mark.record_id not in told]
    hits = [*map(float, given), *(0.0 for _ in unread)]
    kept = [(bad, group) for bad, group, is_given in zip(wrong, groups, given, strict=False) if is_given]
    draws: Draws = {"resamples": resamples, "seed": seed}
    total = len(marks)
    points = [[(at + 1) / total, float(sum_wrong / (at + 1))] for at, sum_wrong in enumerate(np.cumsum(wrong))]
    none = Estimate.from_dict({"value": None, "low": None, "high": None, "n": 0})
    return {
        "by": rule.by,
        "threshold": rule.threshold,
        "aim": rule.error,
        "answered": (none if least is None else share(hits, [*groups, *unread], **draws)).to_dict(),
        "error": share([bad for bad, _ in kept], [group for _, group in kept], **draws).to_dict(),
        "error_of_all": share(wrong, groups, **draws).to_dict(),
        "curve": [points[at] for at in sorted({round(step) for step in np.linspace(0, len(points) - 1, CURVE)})] if points else [],
    }


def _bin(
    confidence: Floats, right: Floats, groups: Sequence[str], inside: np.ndarray[Any, np.dtype[np.bool_]], resamples: int, seed: int
) -> dict[str, Any]:
    names = [group for group, here in zip(groups, inside, strict=True) if here]
    accuracy = share(right[inside], names, resamples=resamples, seed=seed)
    own = confidence[inside]
    return {"confidence": float(own.mean()), "from": float(own.min()), "to": float(own.max()), "accuracy": accuracy.to_dict()}


def _ece_of(bins: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """The expected calibration error as `estimate` takes a statistic, of float[n, 2]: confidence, right. Bins stay as they are."""
    member = (bins[:, None] == np.arange(bins.max() + 1)).astype(np.float64)  # [n, bin]

    def ece(values: Floats, weights: Floats) -> Floats:
        off = weights @ (member * (values[:, 1] - values[:, 0])[:, None])
        return np.asarray(np.abs(off).sum(axis=1) / weights.sum(axis=1))

    return ece


def _around_value(found: Estimate) -> Estimate:
    """The interval moved to stand around the value, not below 0: resampling adds chance to every bin, and so to the error itself."""
    half = (found.high - found.low) / 2
    return replace(found, low=max(0.0, found.value - half), high=found.value + half) if not np.isnan(half) else found


def _by_chance(confidence: Floats, ece: Any, seed: int) -> float:
    """The mean error of as many answers that are right exactly as often as they say."""
    rng, ones = np.random.default_rng(seed), np.ones((1, len(confidence)))
    drawn = [np.stack([confidence, rng.random(len(confidence)) < confidence], axis=1) for _ in range(CHANCE_DRAWS)]
    return float(np.mean([ece(pairs, ones)[0] for pairs in drawn]))


def _kind_of(one: Field) -> Any:
    return {"category": "confidence", "number": "spread"}.get(one.kind)


def _certainty(one: Field, prediction: Prediction, scales: Mapping[str, Scale]) -> float | None:
    """The larger, the surer: a confidence, or a spread below 0."""
    if one.kind == "category":
        return confidence_of(prediction, one.name)
    found = spread_of(prediction, one.name, scales[one.name])
    return None if found is None else -found


def _told(one: Field, marks: Sequence[Score], predictions: Mapping[str, Prediction], scales: Mapping[str, Scale]) -> list[Score]:
    """Scores that were read and have a certainty."""
    return [
        mark
        for mark in marks
        if mark.fields[one.name].answer is not None and _certainty(one, predictions[mark.record_id], scales) is not None
    ]


def _ordered(
    one: Field, marks: Sequence[Score], predictions: Mapping[str, Prediction], scales: Mapping[str, Scale]
) -> tuple[list[float], list[float], list[str]]:
    """Certainty, wrong (0 or 1) and group of the answers that have both, the surest first."""
    told = [(_certainty(one, predictions[mark.record_id], scales) or 0.0, mark) for mark in _told(one, marks, predictions, scales)]
    told.sort(key=lambda pair: -pair[0])
    return [value for value, _ in told], [_wrong(one, mark) for _, mark in told], [mark.group for _, mark in told]


def _wrong(one: Field, mark: Score) -> float:
    measures = mark.fields[one.name].measures
    if one.kind == "category":
        return 1 - measures["correct"]
    return float(measures.get("percentage_error", float("inf") if measures["absolute_error"] else 0.0) > OFF)
