"""All formats side by side: the same rows give the same cells, and each is imported once from end to end."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seeworth.cli import main
from seeworth.data.dataset import Dataset
from seeworth.data.sources import open_source
from seeworth.record import Turn, read_turns

COLUMNS = ("title", "price", "photo")
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_the_same_rows_give_the_same_cells_in_every_format(tmp_path: Path, values: list[tuple[str, str, str]], mark: str) -> None:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in values]
    found = [[(row.number, row.code, dict(row.cells)) for row in open_source(path)] for path in write(tmp_path, rows, mark)]
    assert found[0] == [(number, "", row) for number, row in enumerate(rows, 1)]
    assert all(each == found[0] for each in found)


def write(folder: Path, rows: list[dict[str, Any]], mark: str = ",") -> list[Path]:
    """The rows as CSV, JSONL, an array, Parquet and Arrow."""
    paths = [folder / f"same.{suffix}" for suffix in ("csv", "jsonl", "json", "parquet", "arrow")]
    with paths[0].open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=mark, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    paths[1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths[2].write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, paths[3])
    with pa.ipc.new_file(str(paths[4]), table.schema) as stream:
        stream.write_table(table)
    return paths


def products(folder: Path, photo_bytes: Callable[..., bytes]) -> list[dict[str, Any]]:
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(photo_bytes(number))
    return [{"title": f"Bag {n}", "category3_code": "BAGS", "full_price": f"{n + 1}.50", "photo": f"{n}.jpg"} for n in range(3)]


@pytest.mark.parametrize("place", range(5), ids=["csv", "jsonl", "json", "parquet", "arrow"])
def test_a_table_of_any_format_becomes_the_same_dataset(tmp_path: Path, photo_bytes: Callable[..., bytes], place: int) -> None:
    path = write(tmp_path / "source", products(tmp_path / "source", photo_bytes))[place]
    assert main(["import", str(path), str(tmp_path / "out")]) == 0
    records = Dataset.open(tmp_path / "out").records()
    assert [(record.id, record.values["title"], str(record.values["full_price"])) for record in records] == [
        ("1", "Bag 0", "1.5"), ("2", "Bag 1", "2.5"), ("3", "Bag 2", "3.5"),
    ]  # fmt: skip
    assert [record.photo.read_bytes() for record in records] == [photo_bytes(number) for number in range(3)]


def test_photos_in_a_table_are_imported_with_the_columns_of_the_task_file(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = pa.array([{"bytes": photo_bytes(n), "path": f"x/{n}.jpg"} for n in range(2)], kind)
    pq.write_table(pa.table({"Product Name": ["Bag", "Hat"], "picture": image, "mask": [b"\x00", b"\xff"]}), tmp_path / "a.parquet")
    (tmp_path / "task.yaml").write_text("answer: 'A {title}.'\ncolumns: {title: Product Name, photo: mask}\n")
    command = ["import", str(tmp_path / "a.parquet"), str(tmp_path / "out"), "--task", str(tmp_path / "task.yaml")]
    assert main([*command, "--columns", "{photo: picture}"]) == 0
    records = Dataset.open(tmp_path / "out").records()
    assert [(record.values["title"], record.values["picture"], record.photo.read_bytes()) for record in records] == [
        ("Bag", "x/0.jpg", photo_bytes(0)), ("Hat", "x/1.jpg", photo_bytes(1)),
    ]  # fmt: skip


def test_conversations_are_imported_and_can_be_asked_and_answered(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    (tmp_path / "a.jpg").write_bytes(photo_bytes(1))
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A {bag}: " + "é" * 3000}]
    llava = [{"id": "x", "image": "a.jpg", "conversations": turns}]
    (tmp_path / "llava.json").write_text(json.dumps(llava))
    assert main(["import", str(tmp_path / "llava.json"), str(tmp_path / "one")]) == 0
    dataset = Dataset.open(tmp_path / "one")
    (record,) = dataset.records()
    assert (record.id, dataset.task.prompt(record.values)) == ("x", "What?")
    assert dataset.task.write(record.values) == "A {bag}: " + "é" * 3000
    assert record.turns == (Turn("user", (0, "What?")), Turn("assistant", (turns[1]["value"],)))
    assert read_turns(str(record.values["conversation"])) == record.turns
    url = "data:image/jpeg;base64," + base64.b64encode(photo_bytes(2)).decode()
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    chat = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "A hat."}]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(chat))
    assert main(["import", str(tmp_path / "chat.jsonl"), str(tmp_path / "two")]) == 0
    (record,) = Dataset.open(tmp_path / "two").records()
    assert record.photo.read_bytes() == photo_bytes(2)


def test_a_photo_folder_with_metadata_and_a_set_saved_by_datasets_are_imported(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    rows = products(tmp_path / "photos", photo_bytes)
    names = {"file_name": "photo"}
    header = ["file_name", "title", "category3_code", "full_price"]
    lines = [",".join(row[names.get(name, name)] for name in header) for row in rows]
    (tmp_path / "photos" / "metadata.csv").write_text("\n".join([",".join(header), *lines]))
    assert main(["import", str(tmp_path / "photos"), str(tmp_path / "one")]) == 0
    assert len(Dataset.open(tmp_path / "one").records()) == 3
    shards = tmp_path / "shards" / "data"
    shards.mkdir(parents=True)
    for place, row in enumerate(rows):
        photo = row["photo"]
        embedded = {"bytes": (tmp_path / "photos" / photo).read_bytes(), "path": photo}
        table = pa.Table.from_pylist([row | {"photo": embedded}])
        pq.write_table(table, shards / f"{('train', 'validation', 'test')[place]}-00000-of-00001.parquet")
    assert main(["import", str(tmp_path / "shards"), str(tmp_path / "two")]) == 0
    dataset = Dataset.open(tmp_path / "two")
    splits = {record.values["title"]: record.split for record in dataset.records()}
    assert splits == {"Bag 0": "train", "Bag 1": "validation", "Bag 2": "test"}
    assert io.BytesIO(dataset.records()[0].photo.read_bytes()).read(3) == b"\xff\xd8\xff"


def test_a_source_that_is_nothing_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(tmp_path / "lost.csv"), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
