"""Records and predictions become figures, and rows that hold each answer with its evidence."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from seeworth.errors import DataError
from seeworth.record import Prediction, Record
from seeworth.task import Field, Task
from seeworth.train.answers import answered

TASK = Task(
    fields=(Field("title"), Field("category3_code", "category", choices=("COATS", "SCARVES")), Field("full_price", "number", "USD"))
)
VALUES = {"title": "Long Coat", "category3_code": "COATS", "full_price": Decimal("1290.50")}


def records(data: Path, many: int = 2) -> list[Record]:
    return [Record(f"r{n}", data / "photos" / "ab" / f"{n}.png", VALUES, f"g{n}", "validation") for n in range(many)]


def say(title: str, category: str, price: str) -> str:
    return f"Product: {title}, Category: {category}, Full Price: {price}"


def test_a_row_holds_truth_answer_fields_and_errors(tmp_path: Path) -> None:
    texts = [say("Long Boat", "SCARVES", "1161.45"), "Product: Long Coat"]
    found = answered(
        TASK, records(tmp_path), [Prediction(f"r{n}", text, 1.5) for n, text in enumerate(texts)], data=tmp_path, family="final"
    )
    first, second = found.rows
    assert first == {
        "id": "r0", "photo": "photos/ab/0.png", "truth": TASK.write(VALUES), "answer": texts[0], "problems": [],
        "fields": {
            "title": {"kind": "text", "truth": "Long Coat", "read": "Long Boat", "exact": 0.0, "similarity": pytest.approx(8 / 9)},
            "category3_code": {"kind": "category", "truth": "COATS", "read": "SCARVES", "correct": 0.0},
            "full_price": {"kind": "number", "truth": "1290.50", "read": "1161.45", "absolute_error": pytest.approx(129.05),
                           "percentage_error": pytest.approx(10.0)},
        },
    }  # fmt: skip
    assert second["fields"]["full_price"] == {"kind": "number", "truth": "1290.50", "read": None}
    assert second["problems"]
    assert found.figures["final/parse_rate"] == 0.5
    assert found.figures["final/full_price_mae"] == pytest.approx(129.05)


def test_neither_the_clock_nor_the_place_is_in_the_log(tmp_path: Path) -> None:
    said = []
    for place, seconds in ((tmp_path / "here", 0.1), (tmp_path / "there", 99.0)):
        found = answered(TASK, records(place), [Prediction(f"r{n}", say("Coat", "COATS", "1"), seconds) for n in range(2)], data=place)
        said.append(json.dumps([found.figures, found.rows]))
    assert said[0] == said[1]


def test_a_figure_that_no_record_entered_is_left_out_and_a_missing_answer_is_refused(tmp_path: Path) -> None:
    found = answered(TASK, records(tmp_path, 1), [Prediction("r0", "no idea", 0.1)], data=tmp_path)
    assert "eval/full_price_mae" not in found.figures
    assert found.figures["eval/parse_rate"] == 0.0
    with pytest.raises(DataError, match="'r1' has none"):
        answered(TASK, records(tmp_path), [Prediction("r0", "", 0.1)], data=tmp_path)


def test_further_photos_are_named_and_a_record_of_words_alone_has_none(tmp_path: Path) -> None:
    one = records(tmp_path, 1)[0]
    several = replace(one, photos=(tmp_path / "photos" / "cd" / "x.png",))
    words = replace(one, id="r1", photo=None)
    predictions = [Prediction(name, say("Coat", "COATS", "1"), 0.1) for name in ("r0", "r1")]
    first, second = answered(TASK, [several, words], predictions, data=tmp_path).rows
    assert (first["photo"], first["photos"]) == ("photos/ab/0.png", ["photos/cd/x.png"])
    assert (second["photo"], "photos" in second) == (None, False)
