"""The tables say what the lines say."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from seeworth.predict import table
from seeworth.predict.table import columns_of, write_table
from seeworth.task import Field, Task

TASK = Task("What?", "{text} for {price} of {kind}", (Field("text"), Field("price", "number", "USD"), Field("kind", "category")))
LINES: list[dict[str, Any]] = [
    {"record_id": "a", "photo": "a.jpg", "text": "hat, é\nfor 3", "values": {"text": "hat, é", "price": 3.5}, "problems": ["x", "y"],
     "intervals": {"price": [1.0, None]}, "confidence": {"price": 0.25}, "abstain": {"kind": True}, "seconds": 0.5},
    {"record_id": "b\udcff", "photo": None, "error": {"code": "damaged", "message": "cut short"}},
]  # fmt: skip


def written(tmp_path: Path, name: str) -> Path:
    (tmp_path / "out.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    write_table(tmp_path / "out.jsonl", tmp_path / name, TASK)
    return tmp_path / name


def test_a_column_is_a_value_and_what_is_not_told_is_null(tmp_path: Path) -> None:
    first, second = pq.ParquetFile(written(tmp_path, "out.parquet")).read().to_pylist()
    assert first == {
        "record_id": "a", "photo": "a.jpg", "text": "hat, é\nfor 3", "text_value": "hat, é",
        "price": 3.5, "price_low": 1.0, "price_high": None,
        "price_confidence": 0.25, "price_abstain": None, "kind": None, "kind_confidence": None, "kind_abstain": True, "problems": "x; y",
        "seconds": 0.5, "error_code": None, "error": None,
    }  # fmt: skip
    told = {key: one for key, one in second.items() if one is not None}
    assert told == {"record_id": "b\\udcff", "error_code": "damaged", "error": "cut short"}


def plain(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_csv_and_parquet_hold_the_same(tmp_path: Path) -> None:
    expected = pq.ParquetFile(written(tmp_path, "out.parquet")).read().to_pylist()
    with written(tmp_path, "out.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert found == [{key: plain(one) for key, one in row.items()} for row in expected]


def test_rows_are_written_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "ROWS", 1)
    assert pq.ParquetFile(written(tmp_path, "out.parquet")).num_row_groups == 2


def test_the_columns_hang_on_the_task_alone() -> None:
    fields = (Field("error"), Field("error_value"), Field("seconds", "number"))
    names = list(columns_of(Task("?", "{error}, {error_value}, {seconds}", fields)))
    assert len(set(names)) == len(names)
    assert {"error", "error_value", "error_value_value", "seconds", "seconds_value"} <= set(names)


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("no json\n")
    with pytest.raises(ValueError, match="Expecting value"):
        write_table(tmp_path / "out.jsonl", tmp_path / "out.csv", TASK)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
