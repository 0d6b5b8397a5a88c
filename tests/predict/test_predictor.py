"""The test seam itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from seeworth.predict.predictor import FakePredictor, Predictor
from seeworth.record import Record

RECORDS = [Record(name, Path(f"{name}.png"), {}, name) for name in ("a", "b")]


def test_a_fake_answers_from_a_mapping_in_the_records_order() -> None:
    fake: Predictor = FakePredictor({"b": "two", "a": "one"}, name="mine", seconds=0.5)
    assert [(p.record_id, p.text, p.seconds) for p in fake(RECORDS)] == [("a", "one", 0.5), ("b", "two", 0.5)]
    assert fake.name == "mine"


def test_a_fake_answers_from_a_function_that_sees_the_photo() -> None:
    assert [p.text for p in FakePredictor(lambda record: record.photo.name)(RECORDS)] == ["a.png", "b.png"]


def test_a_fake_never_makes_an_answer_up() -> None:
    with pytest.raises(KeyError, match="b"):
        list(FakePredictor({"a": "one"})(RECORDS))
