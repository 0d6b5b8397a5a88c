"""Scores: what counts as right, and that nothing is made up for what could not be read."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.errors import DataError
from seeworth.evaluate.score import score, scores
from seeworth.record import Prediction, Record
from seeworth.task import Task

TASK = Task()


def _record(title: str = "Café bag", category: str = "Bags", price: str = "200", name: str = "r") -> Record:
    return Record(name, Path("none.png"), {"title": title, "category3_code": category, "full_price": Decimal(price)}, "g")


def _say(text: str, name: str = "r") -> Prediction:
    return Prediction(name, text, 0.25)


def test_a_score_keeps_the_words_what_was_read_and_the_measures() -> None:
    one = score(_record(), _say("Product: Café bags, Category: Belts, Full Price: 150"), TASK)
    assert (one.record_id, one.group, one.seconds, one.problems) == ("r", "g", 0.25, ())
    assert one.fields["title"].answer == "Café bags"
    assert one.fields["title"].measures == {"exact": 0.0, "similarity": pytest.approx(1 - 1 / 9)}
    assert one.fields["category3_code"].measures == {"correct": 0.0}
    assert one.fields["full_price"].measures == {"absolute_error": 50.0, "percentage_error": 25.0}


def test_two_spellings_of_one_letter_are_equal_but_case_counts() -> None:
    composed, decomposed = "Caf\u00e9 bag", "Cafe\u0301 bag"
    assert composed != decomposed
    one = score(_record(composed), _say(f"Product: {decomposed}, Category: Bags, Full Price: 200"), TASK)
    assert one.fields["title"].measures == {"exact": 1.0, "similarity": 1.0}
    two = score(_record("Café Bag"), _say("Product: Café bag, Category: bags, Full Price: 200"), TASK)
    assert two.fields["title"].measures["exact"] == 0
    assert two.fields["category3_code"].measures["correct"] == 0


def test_what_was_not_read_is_wrong_for_words_and_absent_for_numbers() -> None:
    one = score(_record(), _say("I see a bag."), TASK)
    assert one.problems
    assert one.fields["title"].measures == {"exact": 0.0, "similarity": 0.0}
    assert one.fields["category3_code"].measures == {"correct": 0.0}
    assert one.fields["full_price"].measures == {}
    assert one.badness == 1


def test_a_partly_read_answer_keeps_its_good_fields_and_its_problem() -> None:
    one = score(_record(), _say("Product: Café bag, Category: Bags, Full Price: a lot"), TASK)
    assert one.fields["title"].measures["exact"] == 1
    assert one.fields["full_price"].answer is None
    assert len(one.problems) == 1


def test_a_true_number_of_zero_has_no_percentage() -> None:
    one = score(_record(price="0"), _say("Product: Café bag, Category: Bags, Full Price: 3"), TASK)
    assert one.fields["full_price"].measures == {"absolute_error": 3.0}
    assert one.badness == pytest.approx(1 / 3)


@given(st.decimals(1, 10**6, places=2), st.decimals(1, 10**6, places=2))
def test_number_errors_are_those_of_arithmetic(truth: Decimal, answer: Decimal) -> None:
    record = _record(price=str(truth))
    text = TASK.write({**record.values, "full_price": answer})
    measures = score(record, _say(text), TASK).fields["full_price"].measures
    assert measures["absolute_error"] == pytest.approx(abs(float(answer) - float(truth)), abs=1e-6)
    assert measures["percentage_error"] == pytest.approx(100 * abs(float(answer) - float(truth)) / float(truth), rel=1e-9, abs=1e-9)


@given(st.text(min_size=1).filter(str.strip))
def test_the_right_answer_scores_full_marks_whatever_its_words(title: str) -> None:
    record = _record(title)
    one = score(record, _say(TASK.write(record.values)), TASK)
    assert one.badness == 0
    assert one.fields["title"].measures == {"exact": 1.0, "similarity": 1.0}


def test_predictions_are_matched_by_id_and_others_are_left_aside() -> None:
    records = [_record(name="a"), _record(name="b")]
    right = TASK.write(records[0].values)
    marks = scores(TASK, records, [_say("no", "z"), _say(right, "b"), _say("no", "a")])
    assert [one.record_id for one in marks] == ["a", "b"]
    assert [one.badness for one in marks] == [1, 0]


def test_a_missing_answer_and_a_second_one_are_refused() -> None:
    records = [_record(name="a"), _record(name="b")]
    with pytest.raises(DataError, match=r"answers to 1 of 2 records, 'b' has none"):
        scores(TASK, records, [_say("x", "a")])
    with pytest.raises(DataError, match="'a' has two answers"):
        scores(TASK, records, [_say("x", "a"), _say("y", "a"), _say("x", "b")])


def test_a_record_without_a_true_value_is_refused() -> None:
    with pytest.raises(DataError, match="has no title"):
        score(Record("r", Path("none"), {}, "g"), _say("x"), TASK)
