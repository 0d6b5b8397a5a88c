"""Reliability and abstaining: right sums, right thresholds, and nothing made up where the model does not say how sure it is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.evaluate.calibration import abstention, answered, equal_mass, reliability
from seeworth.evaluate.conformal import calibrate
from seeworth.evaluate.score import Score, scores
from seeworth.intervals import Abstention, abstains
from seeworth.record import Prediction, Record
from seeworth.task import Field, Task

TASK = Task("What?", "{kind} for {price}", (Field("kind", "category"), Field("price", "number", "USD")))
KIND, PRICE = TASK.answer_fields


def _made(confidence: Any, right: Any, groups: list[str] | None = None) -> tuple[list[Score], dict[str, Prediction]]:
    """Records of kind "bag", answered right or "hat", each so sure."""
    groups = groups or [f"g{number}" for number in range(len(confidence))]
    records = [Record(f"r{n}", None, {"kind": "bag", "price": Decimal(100)}, group) for n, group in enumerate(groups)]
    answers = [
        Prediction(f"r{n}", f"{'bag' if hit else 'hat'} for 100", 0.0, confidence={"kind": float(sure)})
        for n, (sure, hit) in enumerate(zip(confidence, right, strict=True))
    ]
    return scores(TASK, records, answers), {one.record_id: one for one in answers}


def test_the_error_of_a_hand_made_case() -> None:
    confidence = [0.6] * 20 + [0.9] * 20
    right = [1] * 10 + [0] * 10 + [1] * 19 + [0]
    found = reliability("kind", *_made(confidence, right), resamples=100, seed=0)
    assert found is not None
    assert [one["accuracy"]["value"] for one in found["bins"]] == [0.5, 0.95]
    assert [one["confidence"] for one in found["bins"]] == pytest.approx([0.6, 0.9])
    assert found["ece"]["value"] == pytest.approx((0.1 + 0.05) / 2)
    assert found["gap"]["value"] == pytest.approx(0.75 - 0.725)
    assert found["n"] == 40


@given(st.lists(st.sampled_from([0.1, 0.35, 0.5, 0.77, 0.9, 0.99]), min_size=1, max_size=400))
def test_bins_are_ordered_keep_equals_together_and_are_not_too_many(confidence: list[float]) -> None:
    sure = np.array(confidence)
    bins = equal_mass(sure)
    assert set(bins) == set(range(bins.max() + 1))
    assert bins.max() + 1 <= max(1, min(10, len(confidence) // 20))
    for value in set(confidence):
        assert len(set(bins[sure == value])) == 1
    order = np.argsort(sure, kind="stable")
    assert (np.diff(bins[order]) >= 0).all()


def test_bins_of_many_confidences_hold_equally_many() -> None:
    assert set(np.bincount(equal_mass(np.random.default_rng(0).random(1000)))) == {100}


def test_a_model_that_is_right_as_often_as_it_says_is_off_by_chance_alone_and_a_boaster_by_more() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.4, 1, 600)
    honest = reliability("kind", *_made(sure, rng.random(600) < sure), resamples=200, seed=0)
    boaster = reliability("kind", *_made(sure, rng.random(600) < sure - 0.25), resamples=200, seed=0)
    assert honest is not None
    assert boaster is not None
    assert abs(honest["ece"]["value"] - honest["chance"]) < 0.02  # measured 0.014
    for one in (honest["ece"], boaster["ece"]):
        assert 0 <= one["low"] < one["value"] < one["high"]
    assert honest["gap"]["low"] < 0 < honest["gap"]["high"]
    assert boaster["ece"]["value"] == pytest.approx(0.25, abs=0.05)  # measured 0.24
    assert boaster["gap"]["low"] > 0.2
    assert boaster["ece"]["low"] > honest["chance"]


def test_groups_are_drawn_whole() -> None:
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.4, 1, 60)
    hits = rng.random(60) < sure
    five = reliability("kind", *_made(np.repeat(sure, 5), np.repeat(hits, 5), [f"g{n // 5}" for n in range(300)]), resamples=500, seed=0)
    alone = reliability("kind", *_made(np.repeat(sure, 5), np.repeat(hits, 5)), resamples=500, seed=0)
    assert five is not None
    assert alone is not None
    assert five["gap"]["high"] - five["gap"]["low"] > 1.8 * (alone["gap"]["high"] - alone["gap"]["low"])  # sqrt(5)


def test_without_confidence_nothing_is_said() -> None:
    marks, told = _made([0.5] * 30, [1] * 30)
    silent = {name: Prediction(name, one.text, 0.0) for name, one in told.items()}
    assert reliability("kind", marks, silent, resamples=10, seed=0) is None
    assert abstention(KIND, marks, silent, {}, 0.1, 30) is None
    assert abstention(PRICE, marks, silent, {"price": "ratio"}, 0.1, 30) is None
    assert abstention(Field("title"), marks, told, {}, 0.1, 30) is None


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.4, 0.6, 0.8, 1.0]), st.booleans()), min_size=1, max_size=50), st.sampled_from([0.1, 0.3]))
def test_the_threshold_gives_the_most_answers_that_err_no_more(rows: list[tuple[float, bool]], error: float) -> None:
    sure, right = [value for value, _ in rows], [hit for _, hit in rows]
    rule = abstention(KIND, *_made(sure, right), {}, error, 5)
    assert rule is not None
    fit = []
    for threshold in set(sure):
        given_ = [hit for value, hit in rows if value >= threshold]
        if len(given_) >= 5 and 1 - sum(given_) / len(given_) <= error + 1e-12:
            fit.append((len(given_), threshold))
    assert rule.threshold == (max(fit)[1] if fit else None)


def test_too_few_groups_prove_no_threshold() -> None:
    sure, right = [0.9] * 40, [True] * 40
    assert abstention(KIND, *_made(sure, right), {}, 0.1, 30) == Abstention("confidence", 0.9, 0.1)
    one_article = _made(sure, right, ["same"] * 40)
    assert abstention(KIND, *one_article, {}, 0.1, 30) == Abstention("confidence", None, 0.1)


def test_a_rule_keeps_on_new_records_about_the_error_it_aimed_at() -> None:
    rng = np.random.default_rng(4)
    sure = rng.uniform(0.3, 1, 2000)
    rule = abstention(KIND, *_made(sure, rng.random(2000) < sure), {}, 0.2, 30)
    assert rule is not None
    later = rng.uniform(0.3, 1, 2000)
    marks, told = _made(later, rng.random(2000) < later)
    found = answered(KIND, rule, marks, told, {}, resamples=200, seed=0)
    assert rule.threshold == pytest.approx(0.6, abs=0.05)  # from where on the mean confidence is 0.8; measured 0.601
    assert found["answered"]["value"] == pytest.approx(np.mean(later >= rule.threshold))
    assert found["error"]["value"] == pytest.approx(0.2, abs=0.04)
    assert found["error_of_all"]["value"] == pytest.approx(0.35, abs=0.04)
    assert found["curve"][-1] == [1.0, pytest.approx(found["error_of_all"]["value"])]
    assert len(found["curve"]) == 60


def test_what_was_not_read_is_not_answered() -> None:
    marks, told = _made([0.9] * 60, [True] * 60)
    silent = scores(TASK, [Record(f"s{n}", None, {"kind": "bag", "price": Decimal(1)}, f"s{n}") for n in range(20)],
                    [Prediction(f"s{n}", "?", 0.0) for n in range(20)])  # fmt: skip
    told = {**told, **{f"s{n}": Prediction(f"s{n}", "?", 0.0) for n in range(20)}}
    found = answered(KIND, Abstention("confidence", 0.5, 0.1), [*marks, *silent], told, {}, resamples=50, seed=0)
    assert found["answered"]["value"] == 0.75
    assert found["curve"][-1] == [0.75, 0.0]
    none = answered(KIND, Abstention("confidence", None, 0.1), marks, told, {}, resamples=50, seed=0)
    assert none["answered"]["value"] is None
    assert none["error"]["n"] == 0


def test_a_number_goes_by_its_spread() -> None:
    records, answers = [], []
    for number in range(100):
        far = number % 2  # every other one is 40 % off, and says so
        records.append(Record(f"r{number}", None, {"kind": "bag", "price": Decimal(100)}, f"g{number}"))
        own = {"low": 60, "high": 300} if far else {"low": 95, "high": 105}
        answers.append(Prediction(f"r{number}", f"bag for {140 if far else 100}", 0.0, distribution={"price": own}))
    intervals = calibrate(TASK, records, records, answers, abstain_error=0.1)
    assert intervals.abstain["price"].by == "spread"
    assert [abstains(intervals, one, "price") for one in answers[:4]] == [False, True, False, True]
    assert abstains(intervals, Prediction("x", "bag for 3", 0.0), "price") is True
    assert abstains(intervals, answers[0], "kind") is None
    found = answered(PRICE, intervals.abstain["price"], scores(TASK, records, answers), {one.record_id: one for one in answers},
                     {"price": "ratio"}, resamples=50, seed=0)  # fmt: skip
    assert (found["answered"]["value"], found["error"]["value"], found["error_of_all"]["value"]) == (0.5, 0, 0.5)


def test_a_category_abstains_below_the_threshold() -> None:
    records = [Record(f"r{n}", None, {"kind": "bag", "price": Decimal(100)}, f"g{n}") for n in range(80)]
    said = [("bag", 0.9) if n % 2 else ("hat", 0.3) for n in range(80)]
    answers = [Prediction(f"r{n}", f"{kind} for 90", 0.0, confidence={"kind": sure}) for n, (kind, sure) in enumerate(said)]
    intervals = calibrate(TASK, records, records, answers)
    assert [abstains(intervals, one, "kind") for one in answers[:2]] == [True, False]
    assert abstains(intervals, Prediction("x", "bag for 3", 0.0), "kind") is True
    assert abstains(intervals, answers[0], "price") is None
