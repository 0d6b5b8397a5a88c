"""Galleries: what is surest and wrong comes first, what cannot be judged is absent, and whoever is shown has a reason."""

from __future__ import annotations

from decimal import Decimal

import pytest

from seeworth.evaluate.gallery import galleries, sureness, surprising, told, unsure
from seeworth.evaluate.score import scores
from seeworth.intervals import Abstention, Cells, FieldIntervals, Intervals, Quantile
from seeworth.record import Prediction, Record
from seeworth.task import Task

TASK = Task()
PRICES = {"full_price": [10.0, 20.0]}  # all above 0: errors are ratios


def record(name: str, category: str = "HATS", price: int = 100) -> Record:
    return Record(name, None, {"title": "Hat", "category3_code": category, "full_price": Decimal(price)}, name, "test")


def says(name: str, category: str, price: int, sure: float | None = None, low: float | None = None, high: float = 0) -> Prediction:
    text = TASK.write({"title": "Hat", "category3_code": category, "full_price": Decimal(price)})
    distribution = {} if low is None else {"full_price": {"median": price, "low": low, "high": high, "values": [], "covered": 1.0}}
    return Prediction(name, text, 0.0, confidence={} if sure is None else {"category3_code": sure}, distribution=distribution)


def found(*predictions: Prediction) -> dict[str, list[str]] | None:
    records = [record(one.record_id) for one in predictions]
    by_id = {one.record_id: one for one in predictions}
    return surprising(TASK, scores(TASK, records, predictions), by_id, PRICES)


def test_the_surest_of_wrong_categories_surprises_most_and_right_ones_do_not() -> None:
    answers = says("a", "BAGS", 100, 0.6), says("b", "BAGS", 100, 0.9), says("c", "HATS", 100, 1.0), says("d", "TIES", 100, 0.99999)
    assert found(*answers) == {
        "d": ["category3_code: wrong, though more than 99.9 % sure"],
        "b": ["category3_code: wrong, though 90.0 % sure"],
        "a": ["category3_code: wrong, though 60.0 % sure"],
    }


def test_a_number_surprises_by_its_error_in_half_widths_of_its_own_interval() -> None:
    """The truth is 100. On the scale of ratios "a" reaches a factor of 2, and is off by 4; "b" reaches 1.1, and is off by 1.21."""
    ends = {"a": (400, 200, 800), "b": (121, 110, 133.1), "c": (150, 75, 300)}
    assert found(*(says(name, "HATS", price, low=low, high=high) for name, (price, low, high) in ends.items())) == {
        "a": ["full_price: 2 times as far off as its own 90 % interval reaches"],
        "b": ["full_price: 2 times as far off as its own 90 % interval reaches"],
    }
    assert found(says("a", "HATS", 101, low=101, high=101)) == {"a": ["full_price: off, though its own 90 % interval is one value"]}


def test_fields_take_turns_and_a_record_stands_once() -> None:
    answers = [says(name, "BAGS", price, sure, low, high) for name, price, sure, low, high in (
        ("a", 100, 0.9, 50, 200), ("b", 100, 0.8, 50, 200), ("c", 1600, 0.7, 800, 3200), ("d", 6400, None, 3200, 12800),
    )]  # fmt: skip
    chosen = found(*answers)
    assert chosen is not None
    assert list(chosen) == ["a", "d", "b", "c"]
    assert len(chosen["c"]) == 2


def test_without_certainty_nothing_can_be_called_surprising() -> None:
    assert found(says("a", "BAGS", 1)) is None
    records = [record(name) for name in "ab"]
    answers = {name: says(name, "BAGS", 1) for name in "ab"}
    made = galleries(TASK, scores(TASK, records, list(answers.values())), answers, PRICES, seed=0)
    assert set(made.shown) == {"best", "worst", "unread"}


def test_what_cannot_be_read_is_a_gallery_of_its_own_and_no_surprise() -> None:
    answers = {"a": Prediction("a", "no idea", 0.0, confidence={"category3_code": 1.0}), "b": says("b", "HATS", 100, 0.9)}
    made = galleries(TASK, scores(TASK, [record("a"), record("b")], list(answers.values())), answers, PRICES, seed=0)
    assert made.shown["unread"] == ["a"]
    assert made.shown["surprising"] == []
    assert made.found == {"best": 2, "worst": 2, "unread": 1, "surprising": 0}


def _intervals(threshold: float | None, spread: float | None) -> Intervals:
    cells = Cells(Quantile(1.0, 40, 40), {})
    rules = {"category3_code": Abstention("confidence", threshold, 0.1), "full_price": Abstention("spread", spread, 0.1)}
    return Intervals(TASK, 0.9, 30, "category3_code", {"full_price": FieldIntervals("ratio", cells, None, 0.05)}, rules, {})


def test_the_least_sure_of_what_the_run_would_not_answer_comes_first() -> None:
    answers = [says("a", "HATS", 100, 0.5, 90, 110), says("b", "HATS", 100, 0.2, 90, 110), says("c", "HATS", 100, 0.9, 10, 1000)]
    answers += [Prediction("d", "no idea", 0.0)]
    marks = scores(TASK, [record(one.record_id) for one in answers], answers)
    by_id = {one.record_id: one for one in answers}
    assert unsure(marks, by_id, _intervals(0.6, 1.0)) == {
        "b": ["category3_code: only 20.0 % sure"],
        "c": ["full_price: spread 2.30"],
        "a": ["category3_code: only 50.0 % sure"],
    }
    assert unsure(marks, by_id, _intervals(0.1, 9.0)) == {}
    assert unsure(marks, by_id, _intervals(None, None)) is None


def test_scores_keep_what_the_predictor_said_of_its_certainty() -> None:
    expected = {"category3_code": {"confidence": 0.5}, "full_price": {"low": 90.0, "high": 110.0}}
    assert told(TASK, says("a", "HATS", 100, 0.5, 90, 110)) == expected
    assert told(TASK, says("a", "HATS", 100)) == {}


@pytest.mark.parametrize(("p", "words"), [(1.0, "100 %"), (0.99999, "more than 99.9 %"), (0.9994, "99.9 %"), (0.5, "50.0 %"), (0.0, "0 %")])
def test_what_is_not_quite_certain_is_not_called_so(p: float, words: str) -> None:
    assert sureness(p) == words
