"""predictions.jsonl as strangers send it: measured, or refused in one line that names file and line; never a traceback."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from seeworth.errors import DataError
from seeworth.evaluate.folder import read_manifest
from seeworth.evaluate.run import run
from seeworth.settings import EvaluateSettings


def _evaluate(shop: Any, tmp_path: Path, change: Any) -> dict[str, Any]:
    """Measure a file of true answers of which the third line was changed: a mapping over the line, or bytes in its place."""
    records = shop.dataset.records("test")
    rows = [{"record_id": record.id, "text": shop.task.write(record.values), "seconds": 0.1} for record in records]
    lines = [json.dumps(row).encode() for row in rows]
    lines[2] = change if isinstance(change, bytes) else json.dumps({**rows[2], **change}).encode()
    (tmp_path / "answers.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    settings = EvaluateSettings(run=tmp_path / "answers.jsonl", data=shop.folder, output=tmp_path / "out", bootstrap=20)
    return read_manifest(run(settings, console=Console(file=io.StringIO())))


TOLD: dict[str, Any] = {"median": 5.0, "low": 4.0, "high": 6.0, "covered": 1.0, "values": [[5.0, 1.0]]}

REFUSED: dict[str, Any] = {
    "not JSON": b"{",
    "a list": b"[]",
    "a number": b"7",
    "a blank line": b"",
    "not UTF-8": b'{"record_id": "\xff", "text": "x"}',
    "nested too deep": b'{"record_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number too long": b'{"record_id": ' + b"9" * 10_000 + b', "text": "x"}',
    "no text": {"text": None},
    "text of another kind": {"text": ["x"]},
    "half a letter": {"text": "\ud800"},
    "seconds that are no number": {"seconds": float("nan")},
    "seconds without end": {"seconds": float("inf")},
    "seconds beyond all sizes": {"seconds": 10**400},
    "seconds in words": {"seconds": "long"},
    "samples in one word": {"samples": "one"},
    "samples of another kind": {"samples": [1]},
    "confidence as a list": {"confidence": [0.5]},
    "confidence beyond 1": {"confidence": {"category3_code": 1.5}},
    "confidence that is no number": {"confidence": {"category3_code": float("nan")}},
    "confidence in words": {"confidence": {"category3_code": "sure"}},
    "a distribution of words": {"distribution": "wide"},
    "a distribution without a form": {"distribution": {"full_price": 5}},
    "a median in words": {"distribution": {"full_price": {**TOLD, "median": "five"}}},
    "a median that is no number": {"distribution": {"full_price": {**TOLD, "median": float("nan")}}},
    "ends without end": {"distribution": {"full_price": {**TOLD, "high": float("inf")}}},
    "values without a form": {"distribution": {"full_price": {**TOLD, "values": [5.0]}}},
    "choices as a list": {"distribution": {"category3_code": {"choices": ["Bags"]}}},
    "choices of words": {"distribution": {"category3_code": {"choices": {"Bags": "likely"}}}},
    "choices below 0": {"distribution": {"category3_code": {"choices": {"Bags": -0.5}}}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_prediction_is_refused_in_a_line_that_names_its_place(shop: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"answers\.jsonl, line 3: ") as told:
        _evaluate(shop, tmp_path, REFUSED[name])
    assert len(str(told.value)) < 400
    assert not (tmp_path / "out").exists()


MEASURED: dict[str, Any] = {
    "ten million letters": {"text": "x" * 10_000_000},
    "a number beyond all sizes": {"text": "Product: a, Category: Bags, Full Price: 999999999999999"},
    "a thousand digits": {"text": "Product: a, Category: Bags, Full Price: " + "9" * 1000},
    "a number that is none": {"text": "Product: a, Category: Bags, Full Price: NaN"},
    "an empty answer": {"text": ""},
    "control characters": {"text": "Product: \x00\x1b[31m, Category: Bags, Full Price: 1"},
    "a word that nobody knows": {"mood": {"any": ["thing"]}},
    "a distribution of another field": {"distribution": {"colour": {"choices": {"red": 1.0}}}},
    "a distribution of the other kind": {"distribution": {"full_price": {"choices": {"red": 1.0}}, "category3_code": TOLD}},
    "no choice at all": {"distribution": {"category3_code": {"choices": {}}}},
    "samples that say nothing": {"samples": ["", "?"]},
    "a median beyond all sizes": {"distribution": {"full_price": {**TOLD, "median": 1e300, "high": 1e308}}},
}


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_a_bad_prediction_is_measured_as_such(shop: Any, tmp_path: Path, name: str) -> None:
    content = _evaluate(shop, tmp_path, MEASURED[name])
    assert content["data"]["records"] == len(content["scores"]) == len(shop.dataset.records("test"))


def test_answers_twice_and_answers_that_lack_are_refused_and_strange_ids_are_left_aside(shop: Any, tmp_path: Path) -> None:
    first, *_, last = shop.dataset.records("test")
    with pytest.raises(DataError, match="has two answers"):
        _evaluate(shop, tmp_path, {"record_id": first.id})
    with pytest.raises(DataError, match="has none: answer the whole split"):
        _evaluate(shop, tmp_path, {"record_id": "nobody"})
    lines = [json.dumps({"record_id": record.id, "text": "x"}) for record in shop.dataset.records("test")]
    (tmp_path / "more.jsonl").write_text("\n".join([*lines, json.dumps({"record_id": "nobody", "text": "x"})]))
    settings = EvaluateSettings(run=tmp_path / "more.jsonl", data=shop.folder, output=tmp_path / "more", bootstrap=20)
    assert len(read_manifest(run(settings, console=Console(file=io.StringIO())))["scores"]) == len(lines)
    assert last.id in {one["record_id"] for one in read_manifest(tmp_path / "more")["scores"]}
