"""JSONL and arrays of objects: values as they are written, and what is wrong with one told for that one."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seeworth.data.sources.jsonl as jsonl
from seeworth.data.sources import SourceRow, open_source
from seeworth.errors import DataError


def rows(path: Path, text: str | bytes) -> list[SourceRow]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    source = open_source(path)
    assert list(source) == list(source)
    return list(source)


JSON = st.text() | st.integers() | st.booleans() | st.none() | st.lists(st.text())
VALUES = r"""{"title": "Bag \"red\"\n2", "price": 1290.50, "count": 3, "big": 123456789012345678901234567890, "sale": true, "colour": null,
 "nan": NaN, "inf": -Infinity, "tags": ["a", 1.50, null], "size": {"w": 1e3}, "half": "\ud800x"}"""


@pytest.mark.parametrize("form", ["{}\n", "[{}]", " \n[{}, {{}}]\n", "\ufeff{}"])
def test_values_are_kept_as_they_are_written(tmp_path: Path, form: str) -> None:
    first = rows(tmp_path / "a.json", form.format(VALUES.replace("\n ", " ")))[0]
    assert dict(first.cells) == {
        "title": 'Bag "red"\n2', "price": "1290.50", "count": "3", "big": "123456789012345678901234567890", "sale": "true", "colour": "",
        "nan": "", "inf": "-inf", "tags": '["a", 1.50, null]', "size": '{"w": 1e3}', "half": "\ud800x",
    }  # fmt: skip
    assert first.code == ""


def test_a_key_that_some_rows_lack_is_an_empty_cell(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.jsonl", '{"a": 1}\n\n{"b": 2}\n')
    assert [dict(row.cells) for row in found] == [{"a": "1", "b": ""}, {"a": "", "b": "2"}]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (b'{"title": "Bag"', "row_unreadable", "line 2, character 16: Expecting ',' delimiter"),
        (b'{"title": "Bag", "title": "Hat"}', "duplicate_key", "line 2 says 'title' twice"),
        (b'{"title": {"a": 1, "a": 2}}', "duplicate_key", "'a' twice"),
        (b'["Bag"]', "row_unreadable", "expected an object, found"),
        (b"12", "row_unreadable", "expected an object, found '12'"),
        (b'{"title": "caf\xe9"}', "row_unreadable", "line 2 is not UTF-8"),
        (b'{"title": ' + b"[" * 100_000, "row_unreadable", "nested too deeply"),
        (b'{"title": ' + b"[" * 600 + b"]" * 600 + b"}", "row_unreadable", "nested too deeply"),
        (b'{"title": "' + b"x" * 1_000_001 + b'"}', "cell_too_long", "title: 1000001 characters, expected at most 1000000"),
        (b'{"title": "data:image/png;base64,!!"}', "bad_data_uri", "no proper base64"),
    ],
)
def test_a_broken_line_is_one_refused_row(tmp_path: Path, line: bytes, code: str, words: str) -> None:
    first, bad, last = rows(tmp_path / "a.jsonl", b'{"title": "a"}\n' + line + b'\n{"title": "c"}\n')
    assert (first.cells["title"], bad.number, bad.code, last.number, last.cells["title"]) == ("a", 2, code, 3, "c")
    assert words in bad.problem


def test_an_overlong_line_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_OBJECT", 40)
    _, bad, last = rows(tmp_path / "a.jsonl", '{"t": "a"}\n{"t": "' + "x" * 200 + '"}\n{"t": "c"}')
    assert (bad.code, bad.problem, last.cells["t"]) == ("row_unreadable", "line 2: over 40 characters", "c")


def test_an_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_CHUNK", 7)
    text = '[ {"t": "a\\u00e9\\n", "n": 12.50} ,\n{"t": "]}", "n": [true, {"x": null}]},7, {"t": "c", "t": "d"}, {"t": "e"} ]'
    found = rows(tmp_path / "a.json", text)
    assert [row.code for row in found] == ["", "", "row_unreadable", "duplicate_key", ""]
    assert [row.cells.get("n") for row in found] == ["12.50", '[true, {"x": null}]', None, None, ""]
    assert found[0].cells["t"] == "aé\n"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from("abc"), JSON)), st.integers(1, 40))
def test_an_array_in_any_pieces_reads_as_the_same_objects_a_line(tmp_path: Path, objects: list[dict[str, object]], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "_CHUNK", size)
        one = rows(tmp_path / "one.json", json.dumps(objects, indent=size % 3))
        many = rows(tmp_path / "many.jsonl", "".join(json.dumps(each) + "\n" for each in objects))
    assert one == many


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"a": 1}, {"a": 2', "row 2: .*the end of the file: mend the array, or save one object a line"),
        ('[{"a": 1}', "row 2: .*the end of the file"),
        ('[{"a": 1}, {"a" 2, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb": 1}]', "row 2: Expecting ':' delimiter, found"),
        ('[{"a": 1}, {"a": ' + "[" * 100_000, "row 2: objects are nested too deeply"),
        ('{\n "title": "Bag",\n "photo": "a.jpg"\n}', "none of its first 100 lines is an object"),
        ("title,photo\na,b\n", "none of its first 100 lines is an object"),
        ("PK\x03\x04", "found a spreadsheet or an archive"),
    ],
)
def test_a_file_that_is_not_whole_json_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        rows(tmp_path / "a.json", text)


def test_data_written_as_keys_is_told(tmp_path: Path) -> None:
    text = "".join(f'{{"k{number}": 1}}\n' for number in range(1002))
    with pytest.raises(DataError, match="over 1000 different keys: are data written as keys"):
        rows(tmp_path / "a.jsonl", text)


def test_utf16_and_packed_files_are_read(tmp_path: Path) -> None:
    text = '{"title": "é"}\n'
    assert rows(tmp_path / "a.jsonl", text.encode("utf-16"))[0].cells["title"] == "é"
    assert rows(tmp_path / "a.jsonl.gz", gzip.compress(text.encode()))[0].cells["title"] == "é"


def test_a_data_uri_is_a_photo_in_the_row(tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "a.jsonl", '{"image": "data:image/png;base64,AAAA"}\n')
    assert (row.cells["image"], dict(row.embedded)) == ("", {"image": b"\0\0\0"})


@pytest.mark.parametrize("array", [False, True])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, array: bool) -> None:
    line = '{"title": "' + "x" * 1000 + '", "price": 5}'
    path = tmp_path / "a.json"
    path.write_text("[" + ",".join([line] * 20_000) + "]" if array else (line + "\n") * 20_000)
    source = open_source(path)
    tracemalloc.start()
    assert sum(1 for _ in source) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 2**20, "20 MB of rows; measured 5 MB for an array, 0.04 MB for lines"
