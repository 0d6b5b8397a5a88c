"""Measures of one answer, and statistics over many, that plain means and medians do not give.

    token_f1, chrf, log_error       a truth and an answer -> a number, or None where there is none
    root_mean_square, macro_f1      statistics as `estimate` takes them

Knows nothing of tasks, fields or scores.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .estimate import Floats, Linear

CHRF_ORDER, CHRF_BETA = 6, 2  # longest run of characters; recall counts BETA times as much as precision
_WORD = re.compile(r"\w+")


@lru_cache(maxsize=65536)
def token_f1(truth: str, answer: str) -> float:
    """F1 of the words both share, 0..1: runs of letters and digits, case aside, each counted as often as it stands.

    Two texts without any word are compared as they are.
    """
    return 1.0 if truth == answer else words_f1(words_of(truth), words_of(answer))


def words_of(text: str) -> Counter[str]:
    """Runs of letters and digits, case aside, and how often each stands there."""
    return Counter(_WORD.findall(text.casefold()))


def words_f1(theirs: Counter[str], ours: Counter[str]) -> float:
    """`token_f1` of texts that are not equal, by their words."""
    if not ours or not theirs:
        return 0.0
    return 2 * _shared(ours, theirs) / (ours.total() + theirs.total())


def _shared(ours: Mapping[str, int], theirs: Mapping[str, int]) -> int:
    return sum(count if count < theirs[one] else theirs[one] for one, count in ours.items() if one in theirs)


@lru_cache(maxsize=65536)
def chrf(truth: str, answer: str) -> float:
    """chrF2, 0..1: precision and recall of runs of 1 to 6 characters, white space aside (M. Popovic, chrF, WMT 2015).

    Each is the mean over the lengths that both texts have runs of; sacrebleu's `sentence_chrf` gives a hundred times this.
    """
    texts = ["".join(text.split()) for text in (answer, truth)]
    if texts[0] == texts[1]:
        return float(bool(texts[0]))
    found: list[tuple[float, float]] = []
    shared = 1
    for length in range(1, min(CHRF_ORDER, *map(len, texts)) + 1):
        runs = [[text[at : at + length] for at in range(len(text) - length + 1)] for text in texts]
        if shared:  # texts that share no run share no longer one
            shared = _shared(Counter(runs[0]), Counter(runs[1]))
        found.append((shared / len(runs[0]), shared / len(runs[1])))
    if not found:
        return 0.0
    precision, recall = (sum(column) / len(found) for column in zip(*found, strict=True))
    below = CHRF_BETA**2 * precision + recall
    return (1 + CHRF_BETA**2) * precision * recall / below if below else 0.0


def log_error(truth: Decimal, answer: Decimal) -> float | None:
    """log(1 + answer) - log(1 + truth); None where one is below 0, for which it is not meant."""
    if truth < 0 or answer < 0:
        return None
    return math.log1p(float(answer)) - math.log1p(float(truth))


def _squares(values: Floats) -> Floats:
    return np.stack([values**2, np.ones(len(values))], axis=1)


root_mean_square = Linear(_squares, lambda sums: np.sqrt(sums[:, 0] / sums[:, 1]))
"""The root of the weighted mean of the squares of float[n]: of log errors, RMSLE."""


def macro_f1(values: Floats, weights: Any) -> Floats:
    """The mean over the true categories of their F1: each category counts the same, however rare.

    `values` is float[n, 2], what `codes` gives. A category of which a resample has no true record does not count in it.
    """
    truth, answer = values.astype(np.int64).T
    kinds = int(truth.max()) + 1
    hit, known = truth == answer, np.flatnonzero(answer >= 0)
    true, right = _sums(weights, truth, kinds, hit)
    (said,) = _sums(np.take(weights, known, axis=1), answer[known], kinds)
    there = true > 0
    f1 = np.divide(2 * right, true + said, out=np.zeros_like(true), where=there)
    return np.asarray((f1 * there).sum(axis=1) / there.sum(axis=1))


def codes(pairs: Sequence[tuple[str, str]]) -> Floats:
    """(truth, answer) words -> float[n, 2]: a number from 0 for each true category, -1 for an answer that is never true."""
    numbers: dict[str, int] = {}
    true = [numbers.setdefault(truth, len(numbers)) for truth, _ in pairs]
    return np.array([true, [numbers.get(answer, -1) for _, answer in pairs]], dtype=np.float64).T


def _sums(weights: Any, kind: NDArray[np.int64], kinds: int, *masks: NDArray[np.bool_]) -> list[Floats]:
    """float[r, kinds]: the weights [r, n] of each kind int64[n], added up; once more for those where a mask bool[n] is true."""
    found = [np.zeros((len(weights), kinds)) for _ in range(1 + len(masks))]
    if len(kind):
        order = np.argsort(kind, kind="stable")
        ordered = kind[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        moved = np.take(weights, order, axis=1)
        for sums, mask in zip(found, (None, *masks), strict=True):
            sums[:, ordered[starts]] = np.add.reduceat(moved if mask is None else moved * mask[order], starts, axis=1)
    return found
