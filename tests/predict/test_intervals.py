"""A predicted line tells the interval around its number where the run has such, in strict JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from seeworth.intervals import Cells, FieldIntervals, Intervals, Quantile
from seeworth.predict.lines import line
from seeworth.record import Prediction, Record
from seeworth.task import Field, Task

TASK = Task("What?", "{kind} for {price}", (Field("kind", "category"), Field("price", "number", "USD")))
RECORD = Record("a", Path("a.jpg"), {}, "a")


def _intervals(width: float) -> Intervals:
    cells = Cells(Quantile(width, 40, 40), {"bag": Quantile(math.log(2), 40, 40)})
    return Intervals(TASK, 0.9, 30, "kind", {"price": FieldIntervals("ratio", cells, None, 0.05)}, {}, {})


def test_a_line_tells_the_interval_of_the_answered_category() -> None:
    found = line(RECORD, Prediction("a", "bag for 100", 0.0), TASK, _intervals(0.1))
    assert found["intervals"] == {"price": [pytest.approx(50), pytest.approx(200)]}
    assert found["values"] == {"kind": "bag", "price": 100.0}


def test_no_end_is_null_no_number_has_no_interval_and_a_run_without_tells_none() -> None:
    endless = line(RECORD, Prediction("a", "hat for 100", 0.0), TASK, _intervals(math.inf))
    assert endless["intervals"] == {"price": [0.0, None]}
    json.dumps(endless, allow_nan=False)
    assert line(RECORD, Prediction("a", "I cannot tell", 0.0), TASK, _intervals(0.1))["intervals"] == {}
    assert "intervals" not in line(RECORD, Prediction("a", "hat for 100", 0.0), TASK)
