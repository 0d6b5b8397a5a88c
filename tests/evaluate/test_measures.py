"""Measures equal independent computations by scikit-learn, scipy and sacrebleu on random inputs."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeworth.evaluate.estimate import estimate, median
from seeworth.evaluate.measures import chrf, codes, log_error, macro_f1, root_mean_square, token_f1

WORDS = st.text(alphabet="abcAB é,.-ß日本 \t", max_size=14)
PRICES = st.decimals(0, 10**6, places=2)
PAIRS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcdexyz")), min_size=1, max_size=40)


@given(WORDS, WORDS)
def test_chrf_is_sacrebleus_sentence_chrf(truth: str, answer: str) -> None:
    """The largest difference seen is 1e-13 of a hundred: sums in another order."""
    sacrebleu = pytest.importorskip("sacrebleu", reason="a development dependency: pip install sacrebleu")
    assert 100 * chrf(truth, answer) == pytest.approx(sacrebleu.sentence_chrf(answer, [truth]).score, abs=1e-9)


@given(*(st.lists(st.sampled_from(["red", "Bag", "bag", "2", "öl"]), max_size=8) for _ in range(2)))
def test_token_f1_is_that_of_scikit_learns_counts(truth: list[str], answer: list[str]) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="a development dependency: pip install scikit-learn")
    if not truth and not answer:
        return
    counts = text.CountVectorizer(token_pattern=r"\w+").fit_transform([" ".join(truth), " ".join(answer)]).toarray()
    precision, recall = (counts.min(axis=0).sum() / max(each.sum(), 1) for each in (counts[1], counts[0]))
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert token_f1(", ".join(truth), "  ".join(answer)) == pytest.approx(expected, abs=1e-12)


def test_words_are_compared_without_case_and_texts_without_words_as_they_are() -> None:
    assert token_f1("Red bag", "bag, RED!") == 1
    assert token_f1("!", "!") == 1
    assert token_f1("!", "?") == 0
    assert token_f1("red bag", "red") == pytest.approx(2 / 3)
    assert chrf("", "") == chrf("a", "") == 0
    assert chrf("a b", "ab") == 1


@given(PAIRS)
def test_macro_f1_is_scikit_learns_over_the_true_categories(pairs: list[tuple[str, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="a development dependency: pip install scikit-learn")
    truth, answer = zip(*pairs, strict=True)
    expected = metrics.f1_score(truth, answer, labels=sorted(set(truth)), average="macro", zero_division=0)
    assert estimate(codes(pairs), list(map(str, range(len(pairs)))), macro_f1, resamples=0).value == pytest.approx(expected, abs=1e-12)


@given(PAIRS, st.integers(0, 99))
def test_a_resample_of_macro_f1_is_that_of_the_repeated_records(pairs: list[tuple[str, str]], seed: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 3, len(pairs))
    if not weights.any():
        return
    again = [pair for pair, times in zip(pairs, weights, strict=True) for _ in range(times)]
    found = macro_f1(codes(pairs), weights[None].astype(float))[0]
    assert found == pytest.approx(macro_f1(codes(again), np.ones((1, len(again))))[0], abs=1e-12)


@given(st.lists(st.tuples(PRICES, PRICES), min_size=1, max_size=40))
def test_rmsle_and_median_error_are_scikit_learns_and_scipys(pairs: list[tuple[Decimal, Decimal]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="a development dependency: pip install scikit-learn")
    stats = pytest.importorskip("scipy.stats", reason="a development dependency: pip install scipy")
    truth, answer = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    groups = list(map(str, range(len(pairs))))
    logs = [log_error(*pair) for pair in pairs]
    expected = metrics.root_mean_squared_log_error(truth, answer)
    assert estimate(logs, groups, root_mean_square, resamples=0).value == pytest.approx(expected, abs=1e-9)
    errors = np.abs(answer - truth)
    assert estimate(errors, groups, median, resamples=0).value == pytest.approx(stats.scoreatpercentile(errors, 50), abs=1e-9)
    assert estimate(errors, groups, resamples=0).value == pytest.approx(metrics.mean_absolute_error(truth, answer), abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99))
def test_the_interval_is_scipys_percentile_bootstrap(seed: int) -> None:
    """Two sets of 4000 resamples: ends differed by up to 0.012 here, a tenth of the interval's width; rows in place of groups by 0.05."""
    stats = pytest.importorskip("scipy.stats", reason="a development dependency: pip install scipy")
    values = np.random.default_rng(seed).normal(size=80).repeat(3)
    groups = [str(n) for n in range(80) for _ in range(3)]
    found = estimate(values, groups, resamples=4000, seed=seed)
    theirs = stats.bootstrap((values[::3],), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(seed + 1))
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.03)


def test_a_number_below_zero_has_no_log_error() -> None:
    assert log_error(Decimal(-1), Decimal(3)) is None
    assert log_error(Decimal(3), Decimal(-1)) is None
    assert log_error(Decimal(0), Decimal(1)) == pytest.approx(math.log(2))
