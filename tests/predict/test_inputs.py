"""What is to be answered is told once each, in a fixed order, whatever it is given as; what cannot be asked about says why."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seeworth.data.run import run as import_
from seeworth.errors import DataError, PhotoError, SeeworthError, SettingsError
from seeworth.predict.inputs import Input, open_inputs
from seeworth.settings import ImportSettings, PredictSettings
from seeworth.task import Field, Task

TASK = Task()
ASKS = Task("How much is this in {year}?", "{price}", (Field("year"), Field("price", "number")))
TALKS = Task("{question}", "{answer}", (Field("question"), Field("answer")))


def png(hue: str = "red", size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, hue).save(buffer, "PNG")
    return buffer.getvalue()


def inputs(place: Path, task: Task = TASK, **settings: Any) -> list[Input]:
    found = open_inputs(PredictSettings("model", place, **settings), task)
    read = list(found)
    assert [item.number for item in read] == list(range(found.total))
    assert pickle.loads(pickle.dumps(read)) == read == list(found)  # can be read again, and sent to other processes
    return read


def refusals(read: Sequence[Input]) -> list[str]:
    return [item.refused[0] if item.refused else "" for item in read]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(png())
    return folder


def test_a_photo_is_one_input_whatever_its_ending(photos: Path) -> None:
    (photos / "IMG_1").write_bytes(png())
    for name in ("a.png", "IMG_1"):
        (item,) = inputs(photos / name)
        assert (item.record.id, item.photo, item.photo_bytes()) == (name, str(photos / name), [png()])


def test_a_folder_is_its_photos_by_name_and_tells_what_is_left_out(photos: Path) -> None:
    (photos / "sub").mkdir()
    for name in ("sub/a.png", "b.JPG", ".hidden.png", "notes.txt"):
        (photos / name).write_bytes(png())
    assert [item.record.id for item in inputs(photos)] == ["a.png", "b.JPG", "sub/a.png"]
    assert open_inputs(PredictSettings("model", photos), TASK).notices() == [
        f"1 files in {photos} are not called like photos and were left out, the first is 'notes.txt'"
    ]


def test_a_file_is_taken_by_its_very_name(photos: Path) -> None:
    names = [" a.png", "back\\slash.png", "data:x.png", "http:x.png", "n,a.png", "null.png", os.fsdecode(b"\xff.png"), "a\nb.png"]
    for name in names:
        (photos / name).write_bytes(png("blue"))
    read = inputs(photos)
    assert sorted(item.record.id for item in read) == sorted(["a.png", *names])
    assert {len(item.photo_bytes()) for item in read} == {1}


def test_links_out_of_the_folder_are_refused_and_what_is_no_file_is_when_it_is_read(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    (photos / "b.png").symlink_to(tmp_path / "secret.png")
    (photos / "c.png").symlink_to("gone")
    os.mkfifo(photos / "d.png")
    (photos / "e.png").symlink_to("a.png")
    a, b, c, d, e = inputs(photos)
    assert refusals([a, b, c, d, e]) == ["", "outside", "", "", ""]
    assert e.photo_bytes() == a.photo_bytes()
    for item, code in ((c, "missing"), (d, "not_a_file")):
        with pytest.raises(PhotoError) as problem:
            item.photo_bytes()
        assert problem.value.code == code


def test_rows_of_a_table_are_read_as_import_reads_them_without_the_answer(photos: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode(png("blue")).decode()
    rows = ["1,a.png", "1,sub/../a.png", f'2,"{uri}"', "3,https://shop.example/x.jpg", "4,", "5,../x.png", "6,ftp://x/y.png", "7,a,b"]
    (photos / "t.csv").write_text("\n".join(["sku,pic", *rows]))
    read = inputs(photos / "t.csv", columns={"photo": "pic", "id": "sku"})
    assert [item.record.id for item in read] == ["1", "1", "2", "3", "4", "5", "6", "7"]
    assert refusals(read) == ["", "", "", "remote", "photo_missing", "outside", "bad_address", "row_shape"]
    assert [item.photo_bytes()[0] for item in read[:3]] == [png(), png(), png("blue")]
    assert read[3].refused == (
        "remote",
        "https://shop.example/x.jpg is on the web: predict answers photos of this machine, `seeworth import` fetches them",
    )


def test_photos_start_from_the_folder_that_is_named(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a.png"}\n')
    (item,) = inputs(tmp_path / "t.jsonl", photos=photos)
    assert item.photo_bytes() == [png()]
    assert item.photo == "a.png"


def test_photos_in_parquet_need_no_file(tmp_path: Path) -> None:
    cells = [{"bytes": png(), "path": "x.png"}, {"bytes": None, "path": "gone.png"}, {"bytes": png("blue"), "path": None}]
    pq.write_table(pa.table({"image": cells, "id": ["x", "y", "z"]}), tmp_path / "t.parquet")
    read = inputs(tmp_path / "t.parquet")
    assert [item.data for item in read] == [(png(),), (), (png("blue"),)]
    with pytest.raises(PhotoError, match=r"no file .*gone\.png"):
        read[1].photo_bytes()


def test_a_folder_of_tables_is_one_table(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for number in range(3):
        pq.write_table(pa.table({"image": [png()] * 2}), tmp_path / "shards" / f"train-{number}.parquet")
    assert len(inputs(tmp_path / "shards")) == 6


def test_a_metadata_table_names_the_photos_of_its_folder(photos: Path) -> None:
    (photos / "b.png").write_bytes(png())
    (photos / "metadata.csv").write_text("file_name,id\na.png,first\n")
    assert [item.record.id for item in inputs(photos)] == ["first"]
    assert "photos that no row names are left out" in open_inputs(PredictSettings("model", photos), TASK).notices()[0]


def test_what_the_question_names_comes_from_a_column(photos: Path) -> None:
    (photos / "t.csv").write_text("photo,when,price\na.png,1999,what\na.png,,3\n")
    good, bad = inputs(photos / "t.csv", ASKS, columns={"year": "when"})
    assert ASKS.prompt(good.record.values) == "How much is this in 1999?"
    assert bad.refused is not None
    assert bad.refused[0] == "text_missing"


def talks(photos: Path) -> Path:
    (photos / "b.png").write_bytes(png("blue"))
    said = [("user", "<image>Which?"), ("assistant", "red"), ("user", "And <image>?"), ("assistant", "blue")]
    rows: list[dict[str, Any]] = [
        {"id": "two", "images": ["a.png", "b.png"], "messages": [{"role": role, "content": text} for role, text in said]},
        {"id": "none", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
        {"id": "web", "image": "http://x/y.png", "messages": [{"role": role, "content": text} for role, text in said[:2]]},
        {"id": "bad", "messages": [{"role": "user", "content": "Hi"}]},
    ]
    (photos / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return photos / "talks.jsonl"


def test_conversations_are_asked_as_they_are(photos: Path) -> None:
    read = inputs(talks(photos), TALKS)
    assert [item.record.id for item in read] == ["two", "none", "web", "bad"]
    assert refusals(read) == ["", "", "remote", "turns_missing"]
    two, none = read[0], read[1]
    assert two.photo_bytes() == [png(), png("blue")]
    assert two.record.turns is not None
    assert [turn.role for turn in two.record.turns] == ["user", "assistant"] * 2
    assert none.record.all_photos == ()


def test_a_model_with_a_question_of_its_own_asks_that_about_their_photos(photos: Path) -> None:
    two = inputs(talks(photos), TASK)[0]
    assert two.record.turns is None
    assert TASK.prompt(two.record.values) == TASK.question


def test_records_of_a_dataset_folder_stream_by_split_and_a_lost_photo_is_its_own_fault(photos: Path, tmp_path: Path) -> None:
    rows = []
    for number in range(30):
        (photos / f"{number}.png").write_bytes(png((f"#{number * 8:02x}1122"), (20 + number, 20)))
        rows.append(f"{number}.png,Bag {number},BAGS,{number + 1}")
    (photos / "t.csv").write_text("\n".join(["photo,title,category3_code,full_price", *rows]))
    import_(ImportSettings(photos / "t.csv", tmp_path / "data", processes=1))
    every = inputs(tmp_path / "data", split="all")
    test = inputs(tmp_path / "data")
    assert len(every) == 30
    assert 0 < len(test) < 30
    assert {item.record.split for item in test} == {"test"}
    assert all(item.record.sizes for item in every)
    assert every[0].record.photo is not None
    every[0].record.photo.unlink()
    assert len(inputs(tmp_path / "data", split="all")) == 30


@pytest.mark.parametrize(
    ("name", "task", "settings", "error", "words"),
    [
        ("gone", TASK, {}, DataError, "gone is not there: give a photo"),
        ("empty", TASK, {}, DataError, "holds no photo"),
        ("photos", ASKS, {}, DataError, "a photo alone has no year"),
        ("photos/a.png", ASKS, {}, DataError, "a photo alone has no year"),
        ("photos", TASK, {"columns": {"photo": "x"}}, SettingsError, "columns are of a table"),
        ("photos", TASK, {"photos": Path("x")}, SettingsError, "photos is where a table"),
        ("t.csv", TASK, {"columns": {"photo": "y"}}, DataError, "has no column 'y'"),
        ("t.csv", TASK, {"columns": {"title": "x"}}, SettingsError, "--columns names 'title'"),
        ("t.csv", TASK, {}, DataError, "expected a column that names the photo"),
        ("rows.csv", TASK, {}, DataError, "has no rows"),
        ("unfinished", TASK, {}, DataError, "it was left unfinished"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_line(
    photos: Path, tmp_path: Path, name: str, task: Task, settings: dict[str, Any], error: type[SeeworthError], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / ".seeworth-unfinished").touch()
    (tmp_path / "unfinished" / "a.png").write_bytes(png())
    (tmp_path / "t.csv").write_text("x\na.png\n")
    (tmp_path / "rows.csv").write_text("photo\n")
    with pytest.raises(error, match=words):
        inputs(tmp_path / name, task, **settings)
