"""Another currency or unit: a planted factor is told, a bias is not. docs/evaluate.md has the rates over more draws."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from seeworth.evaluate.faults import other_unit
from seeworth.evaluate.score import FieldScore, Score
from seeworth.evaluate.units import constant_factor, currency
from seeworth.task import Field

Floats = np.ndarray[Any, np.dtype[np.float64]]


def _to_points(prices: Floats) -> Floats:
    step = np.where(prices < 100, 5, np.where(prices < 1000, 10, 50))
    return np.maximum(5, np.round(prices / step) * step)


def _truths(rng: np.random.Generator, n: int, points: bool = True) -> Floats:
    prices = np.exp(rng.normal(5.8, 0.8, n))
    return _to_points(prices) if points else np.round(prices, 2)


def _honest(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Any noise from 10 to 60 %, any bias up to 20 %, drawn to the middle or not; answers at points, whole, or with cents."""
    n = int(rng.integers(5, 301))
    truth = _truths(rng, n, bool(rng.random() < 0.7))
    logs, slope = np.log(truth), rng.choice([1, 1, rng.uniform(0.4, 1)])
    said = np.exp(logs.mean() + slope * (logs - logs.mean()) + rng.normal(0, rng.uniform(0.1, 0.6), n) + rng.uniform(-0.2, 0.2))
    kind = rng.integers(4)
    return truth, _to_points(said) if kind < 2 else np.maximum(1, np.round(said)) if kind == 2 else np.maximum(0.01, np.round(said, 2))


def _planted(seed: int, factor: float, n: int, noise: float, points: bool = True) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    truth = _truths(rng, n, points)
    said = truth * np.exp(rng.normal(0, noise, n))
    return truth, np.maximum(0.01, np.round((_to_points(said) if points else said) * factor, 2 if seed % 2 else 0))


def _own(truth: Floats) -> list[str]:
    return [str(at) for at in range(len(truth))]


def test_no_honest_model_is_told() -> None:
    pairs = [_honest(np.random.default_rng(seed)) for seed in range(120)]  # 500 in docs/evaluate.md
    assert [constant_factor(truth, said, _own(truth)) for truth, said in pairs] == [None] * 120


@pytest.mark.parametrize(("factor", "least"), [(0.79, 9), (0.92, 9), (1.09, 9), (1.27, 9)])
def test_converted_prices_are_told_however_noisy_the_model_is(factor: float, least: int) -> None:
    found = [constant_factor(truth, said, _own(truth)) for truth, said in (_planted(seed, factor, 300, 0.25) for seed in range(10))]
    assert sum(one is not None for one in found) >= least  # measured 99 of 100
    for one in found:
        if one is not None and one.hits is not None:
            assert one.factor.value == pytest.approx(factor, rel=0.004)  # of points it is known to the rounding of one answer
            assert one.hits[1] > 1.5 * one.hits[0]


@pytest.mark.parametrize("factor", [0.92, 1.09])
def test_next_to_no_error_but_a_factor_is_told_without_points_too(factor: float) -> None:
    truth, said = _planted(1, factor, 60, 0.015, points=False)
    found = constant_factor(truth, said, _own(truth))
    assert found is not None
    assert found.sign == "nothing else"
    assert found.left < 0.2 * found.error


def test_a_model_that_draws_to_the_middle_has_a_bias_and_no_unit() -> None:
    truth = _truths(np.random.default_rng(0), 300, False)
    logs = np.log(truth)
    told = [constant_factor(truth, np.exp(logs.mean() + slope * (logs - logs.mean()) - 0.15), _own(truth)) for slope in (1, 0.955)]
    assert told[0] is not None
    assert told[1] is None  # a factor nearly as tight, but another one for every price


def test_few_groups_are_no_evidence() -> None:
    truth, said = _planted(0, 0.92, 300, 0.25)
    assert constant_factor(truth, said, ["one"] * 300) is None
    assert constant_factor(truth[:8], said[:8], _own(truth[:8])) is None


def test_one_price_alone_is_no_price_point() -> None:
    rng = np.random.default_rng(0)
    truth, said = np.full(100, 50.0), np.round(46 * np.exp(rng.normal(0, 0.2, 100)))
    assert constant_factor(truth, said, _own(truth)) is None


HINTS = [(0.79, "USD", "GBP"), (0.92, "USD", "EUR"), (1.09, "EUR", "USD"), (150, "USD", "JPY")]


@pytest.mark.parametrize(("factor", "unit", "name"), HINTS)
def test_the_hint_names_the_currency_that_fits(factor: float, unit: str, name: str) -> None:
    assert currency(factor, unit) == name


def test_there_is_no_hint_where_none_fits_or_the_unit_is_no_currency() -> None:
    assert currency(0.5, "USD") is None
    assert currency(0.92, "kg") is None
    assert currency(0.92, None) is None


def test_the_fault_says_the_factor_the_evidence_and_the_currency() -> None:
    truth, said = _planted(3, 0.79, 300, 0.25)
    marks = [
        Score(str(at), str(at), "", 0.0, (), {"price": FieldScore(Decimal(str(a)), Decimal(str(b)), {})})
        for at, (a, b) in enumerate(zip(truth, said, strict=True))
    ]
    (fault,) = other_unit(Field("price", "number", "USD"), marks)
    assert fault.code == "other_unit"
    assert fault.text.startswith("price is 0.79 (")
    assert "of the answers are prices that true records have" in fault.text
    assert fault.text.endswith("is it in another currency or unit (GBP, perhaps)?")
