"""Parquet and Arrow files: typed values as text, photos in the table, damage in one line."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seeworth.data.sources import SourceRow, open_source
from seeworth.errors import DataError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def rows(path: Path, columns: dict[str, Any] | pa.Table, **options: Any) -> list[SourceRow]:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    source = open_source(path)
    assert list(source) == list(source)
    return list(source)


def test_typed_values_read_as_a_person_would_write_them(tmp_path: Path) -> None:
    nested = pa.array([{"w": 1.5, "tags": ["a", None], "day": datetime.date(2026, 1, 2)}])
    found = rows(
        tmp_path / "a.parquet",
        {
            "text": ["Bag\n\"é\""],
            "large": pa.array(["x"], pa.large_string()), "view": pa.array(["y"], pa.string_view()), "none": pa.nulls(1),
            "whole": [1290], "huge": pa.array([2**63], pa.uint64()), "single": pa.array([12.99], pa.float32()), "double": [1290.5],
            "nan": [float("nan")], "money": pa.array([Decimal("1290.50")], pa.decimal128(9, 2)), "yes": [True],
            "day": [datetime.date(2026, 1, 2)], "kind": pa.array(["BAGS"]).dictionary_encode(), "nested": nested,
            "urls": [["http://a/1.jpg", "http://a/2.jpg"]],
        },
    )  # fmt: skip
    assert dict(found[0].cells) == {
        "text": 'Bag\n"é"', "large": "x", "view": "y", "none": "",
        "whole": "1290", "huge": "9223372036854775808", "single": "12.99", "double": "1290.5",
        "nan": "", "money": "1290.50", "yes": "true",
        "day": "2026-01-02", "kind": "BAGS", "nested": '{"w": 1.5, "tags": ["a", null], "day": "2026-01-02"}',
        "urls": '["http://a/1.jpg", "http://a/2.jpg"]',
    }  # fmt: skip


def test_photos_in_the_table_are_bytes_and_never_text(tmp_path: Path) -> None:
    images = [{"bytes": b"one", "path": "1.jpg"}, {"bytes": None, "path": "2.jpg"}, None, {"bytes": b"", "path": None}]
    found = rows(
        tmp_path / "a.parquet",
        {
            "image": pa.array(images, IMAGE),
            "raw": [b"r1", None, b"r3", b"\xff"],
            "several": pa.array([images[:2], images[:1], [], None], pa.list_(IMAGE)),
        },
    )
    assert [dict(row.embedded) for row in found] == [
        {"image": b"one", "raw": b"r1", "several": b"one"}, {"several": b"one"}, {"raw": b"r3"}, {"raw": b"\xff"},
    ]  # fmt: skip
    assert [row.cells["image"] for row in found] == ["1.jpg", "2.jpg", "", ""]
    assert {row.cells["raw"] for row in found} == {""}
    source = open_source(tmp_path / "a.parquet")
    assert list(source.only([])) == [SourceRow(number, {}) for number in (1, 2, 3, 4)]
    assert source.notices == []
    assert len(list(source)) == 4
    assert source.notices == ["1 rows hold several photos in column several: the first of each was taken"]


def test_class_labels_are_given_their_names(tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["bags", "hats"]}, "n": {"_type": "Value"}}}}
    schema = pa.schema([("label", pa.int64()), ("n", pa.int64())], metadata={b"huggingface": json.dumps(features).encode()})
    found = rows(tmp_path / "a.parquet", pa.table({"label": [1, 0, -1, None, 7], "n": [1, 0, -1, None, 7]}, schema))
    assert [row.cells["label"] for row in found] == ["hats", "bags", "", "", "7"]
    assert [row.cells["n"] for row in found] == ["1", "0", "-1", "", "7"]


def test_text_that_is_not_utf8_refuses_its_row_alone(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"good", b"caf\xe9"], pa.binary()).buffers())
    good, bad = rows(tmp_path / "a.parquet", {"title": broken, "n": [1, 2]})
    assert (good.code, good.cells["title"]) == ("", "good")
    assert (bad.code, bad.problem, bad.cells["n"]) == ("row_unreadable", "title: its text is not UTF-8, or nested too deeply", "2")


def test_rows_are_numbered_through_all_batches(tmp_path: Path) -> None:
    numbers = [row.number for row in rows(tmp_path / "a.parquet", {"n": list(range(3000))}, row_group_size=700)]
    assert numbers == list(range(1, 3001))
    photos = [row.number for row in rows(tmp_path / "b.parquet", {"p": [b"x"] * 150}, row_group_size=40)]
    assert photos == list(range(1, 151))


def test_a_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"title": [f"Bag {number}" for number in range(5000)]}), path)
    whole = path.read_bytes()
    for data in (b"", b"title,photo\n", whole[:-10], whole[:100]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a.parquet: expected a whole Parquet file: "):
            open_source(path)
    path.write_bytes(whole[:200] + bytes(2000) + whole[2200:])
    with pytest.raises(DataError, match=r"a.parquet: expected a whole Parquet file: "):
        list(open_source(path))
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="git lfs pull"):
        open_source(path)


def test_a_name_that_stands_twice_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="names 'a' twice"):
        open_source(tmp_path / "a.parquet")


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_arrow_files_of_both_kinds_are_read(tmp_path: Path, new: Any) -> None:
    table = pa.table({"title": ["a", "b"], "image": pa.array([{"bytes": b"1", "path": None}] * 2, IMAGE)})
    with new(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    found = list(open_source(tmp_path / "a.arrow"))
    assert [(row.cells["title"], dict(row.embedded)) for row in found] == [("a", {"image": b"1"}), ("b", {"image": b"1"})]
    assert len(list(open_source(tmp_path / "a.arrow").only([]))) == 2
    (tmp_path / "a.arrow").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="expected a whole Arrow file"):
        open_source(tmp_path / "a.arrow")


def test_a_huge_value_that_the_file_holds_once_is_in_memory_once(tmp_path: Path) -> None:
    same = pa.array([0] * 1000, pa.int32())
    huge = {"title": "x" * 2_000_000, "photo": bytes(2_000_000)}
    columns = {name: pa.DictionaryArray.from_arrays(same, [value]) for name, value in huge.items()}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", store_schema=False)
    before, highest = pa.total_allocated_bytes(), 0
    for row in open_source(tmp_path / "a.parquet"):
        assert (row.code, row.problem) == ("cell_too_long", "title: 2000000 characters, expected at most 1000000")
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert highest < 50 * 2**20, "4 GB when decoded; measured 15 MB"


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, pa.schema([("photo", pa.binary())]), compression="none") as writer:
        for _ in range(20):
            writer.write_table(pa.table({"photo": [bytes(200_000)] * 20}))
    before, highest = pa.total_allocated_bytes(), 0
    for row in open_source(path):
        assert len(row.embedded["photo"]) == 200_000
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert highest < 30 * 2**20, "80 MB of photos; measured 1.3 MB"
