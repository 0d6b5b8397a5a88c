"""Measures of one answer, and statistics over many, that plain means and medians do not give.

    token_f1, chrf, log_error       a truth and an answer -> a number, or None where there is none
    root_mean_square, macro_f1      statistics as `estimate` takes them: (values, weights float[r, n]) -> float[r]

Knows nothing of tasks, fields or scores.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .estimate import Floats

CHRF_ORDER, CHRF_BETA = 6, 2  # longest run of characters; recall counts BETA times as much as precision
_WORD = re.compile(r"\w+")


@lru_cache(maxsize=65536)
def token_f1(truth: str, answer: str) -> float:
    """F1 of the words both share, 0..1: runs of letters and digits, case aside, each counted as often as it stands.

    Two texts without any word are compared as they are.
    """
    ours, theirs = (Counter(_WORD.findall(text.casefold())) for text in (answer, truth))
    if not ours and not theirs:
        return float(truth == answer)
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total())


@lru_cache(maxsize=65536)
def chrf(truth: str, answer: str) -> float:
    """chrF2, 0..1: precision and recall of runs of 1 to 6 characters, white space aside (M. Popovic, chrF, WMT 2015).

    Each is the mean over the lengths that both texts have runs of; sacrebleu's `sentence_chrf` gives a hundred times this.
    """
    texts = ["".join(text.split()) for text in (answer, truth)]
    found = []
    for length in range(1, min(CHRF_ORDER, *map(len, texts)) + 1):
        ours, theirs = (Counter(text[at : at + length] for at in range(len(text) - length + 1)) for text in texts)
        shared = (ours & theirs).total()
        found.append((shared / ours.total(), shared / theirs.total()))
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


def root_mean_square(values: Floats, weights: Floats) -> Floats:
    """The root of the weighted mean of the squares of float[n]: of log errors, RMSLE."""
    return np.asarray(np.sqrt((weights @ values**2) / weights.sum(axis=1)))


def macro_f1(values: Floats, weights: Floats) -> Floats:
    """The mean over the true categories of their F1: each category counts the same, however rare.

    `values` is float[n, 2], what `codes` gives. A category of which a resample has no true record does not count in it.
    """
    truth, answer = values.astype(np.int64).T
    kinds = int(truth.max()) + 1
    hit, known = truth == answer, answer >= 0
    true = _sums(weights, truth, kinds)
    right = _sums(weights[:, hit], truth[hit], kinds)
    said = _sums(weights[:, known], answer[known], kinds)
    there = true > 0
    f1 = np.divide(2 * right, true + said, out=np.zeros_like(true), where=there)
    return np.asarray((f1 * there).sum(axis=1) / there.sum(axis=1))


def codes(pairs: Sequence[tuple[str, str]]) -> Floats:
    """(truth, answer) words -> float[n, 2]: a number from 0 for each true category, -1 for an answer that is never true."""
    numbers: dict[str, int] = {}
    true = [numbers.setdefault(truth, len(numbers)) for truth, _ in pairs]
    return np.array([true, [numbers.get(answer, -1) for _, answer in pairs]], dtype=np.float64).T


def _sums(weights: Floats, kind: NDArray[np.int64], kinds: int) -> Floats:
    """float[r, kinds]: the weights float[r, n] of each kind int64[n], added up."""
    found = np.zeros((len(weights), kinds))
    if len(kind):
        order = np.argsort(kind, kind="stable")
        ordered = kind[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        found[:, ordered[starts]] = np.add.reduceat(weights[:, order], starts, axis=1)
    return found
