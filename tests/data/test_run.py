"""`seeworth import` as a whole: what a person gets from a table or a folder."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import seeworth.data.workers as workers_module
from seeworth.data.dataset import Dataset
from seeworth.data.photo.decode import open_photo
from seeworth.data.run import run
from seeworth.errors import DataError, SeeworthError, SettingsError
from seeworth.settings import ImportSettings
from seeworth.task import Task

HEADER = "title,category3_code,full_price,photo"
REPOSITORY = Path(__file__).resolve().parents[2]


def take(source: Path, output: Path, **changes: Any) -> Dataset:
    run(ImportSettings(source, output, **({"processes": 1} | changes)))
    return Dataset.open(output)


def lines(count: int) -> list[str]:
    return [f"Bag {number},{'BAGS' if number % 2 else 'HATS'},{number + 10},{number % 10}.jpg" for number in range(count)]


def refusals(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_row_is_kept_or_refused_with_a_reason(
    table: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], photo_bytes: Callable[..., bytes]
) -> None:
    source = table(
        HEADER, *lines(10), "no price,BAGS,,1.jpg", ",BAGS,5,1.jpg", "web,BAGS,5,http://127.0.0.1/a.jpg", "lost,BAGS,5,lost.jpg",
        "page,BAGS,5,page.jpg", "cut,BAGS,5,cut.jpg", "pipe,BAGS,5,pipe.jpg",
    )  # fmt: skip
    (source.parent / "page.jpg").write_text("<!doctype html><title>404</title>")
    (source.parent / "cut.jpg").write_bytes(photo_bytes(1, size=(200, 200))[:600])
    os.mkfifo(source.parent / "pipe.jpg")
    dataset = take(source, tmp_path / "out")
    assert [record.id for record in dataset.records()] == [str(number) for number in range(1, 11)]
    codes = ["number_missing", "text_missing", "address_refused", "missing", "not_a_photo", "damaged", "not_a_file"]
    assert [(one["row"], one["code"]) for one in refusals(dataset.folder)] == list(enumerate(codes, 11))
    assert all(one["reason"] for one in refusals(dataset.folder))
    assert dataset.manifest["rejected"] == Counter(codes)
    printed = capsys.readouterr().out
    assert "10 of 17 rows kept: train" in printed
    assert "7 refused: 1 address_refused, 1 damaged" in printed
    assert str(tmp_path / "out") in printed


def test_the_stored_photo_is_the_source_photo(table: Callable[..., Path], tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    source = table(HEADER, *lines(2), "web,HATS,5,9.webp")
    (source.parent / "9.webp").write_bytes(photo_bytes(9, "WEBP"))
    first, _, last = take(source, tmp_path / "out").records()
    assert first.photo.read_bytes() == photo_bytes(0)
    assert last.photo.suffix == ".png"
    assert open_photo(last.photo).tobytes() == open_photo(photo_bytes(9, "WEBP")).tobytes()


def test_one_or_many_processes_give_the_same_dataset(
    table: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = []
    monkeypatch.setattr(workers_module, "ProcessPoolExecutor", lambda *a, **k: pools.append(ProcessPoolExecutor(*a, **k)) or pools[-1])
    source = table(HEADER, *lines(40), "bad,BAGS,,0.jpg", "lost,BAGS,5,lost.jpg")
    one, two = take(source, tmp_path / "one"), take(source, tmp_path / "two", processes=2)
    assert len(pools) == 1
    assert one.fingerprint == two.fingerprint
    assert refusals(one.folder) == [one | {"reason": one["reason"].replace("/two/", "/one/")} for one in refusals(two.folder)]
    photos = [sorted(path.relative_to(data.folder) for path in (data.folder / "photos").rglob("*")) for data in (one, two)]
    assert photos[0] == photos[1]


def test_a_second_use_of_an_id_is_refused_and_leaves_no_photo(table: Callable[..., Path], tmp_path: Path) -> None:
    rows = ("Bag,BAGS,5,0.jpg,a", "Hat,HATS,5,1.jpg,a", "Cap,HATS,,2.jpg,b", "Cap,HATS,7,2.jpg,b", "Bag,BAGS,5,0.jpg,a")
    dataset = take(table(HEADER + ",id", *rows), tmp_path / "out")
    assert [(record.id, record.values["title"]) for record in dataset.records()] == [("a", "Bag"), ("b", "Cap")]
    refused = [(one["row"], one["code"]) for one in refusals(dataset.folder)]
    assert refused == [(2, "duplicate_id"), (3, "number_missing"), (5, "duplicate_row")]
    assert len(list((dataset.folder / "photos").rglob("*.jpg"))) == 2


def test_a_group_never_crosses_a_split(table: Callable[..., Path], tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    rows = [f"Bag,BAGS,5,p{number % 150}.jpg,{f'P{number % 90}' if number % 4 else ''}" for number in range(199)]
    source = table(HEADER + ",product_code", *rows)
    for seed in range(150):
        (source.parent / f"p{seed}.jpg").write_bytes(photo_bytes(seed))
    splits, photos = defaultdict(set), defaultdict(set)
    records = take(source, tmp_path / "out").records()
    for record in records:
        splits[record.group].add(record.split)
        photos[record.photo].add(record.split)
        if record.values["product_code"]:
            splits[f"code {record.values['product_code']}"].add(record.split)
    assert {len(found) for found in (*splits.values(), *photos.values())} == {1}
    assert {record.split for record in records} == {"train", "validation", "test"}


def test_rows_added_later_move_no_old_record(table: Callable[..., Path], tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    source = table(HEADER, *(f"Bag,BAGS,5,p{number}.jpg" for number in range(60)))
    for seed in range(120):
        (source.parent / f"p{seed}.jpg").write_bytes(photo_bytes(seed))
    before = {record.id: (record.group, record.split) for record in take(source, tmp_path / "out").records()}
    with source.open("a") as file:
        file.writelines(f"Bag,BAGS,5,p{number}.jpg\n" for number in range(60, 120))
    after = {record.id: (record.group, record.split) for record in take(source, tmp_path / "out", overwrite=True).records()}
    assert len(after) == 120
    assert before.items() <= after.items()


def test_the_seed_draws_another_split(table: Callable[..., Path], tmp_path: Path) -> None:
    source = table(HEADER, *lines(10))
    splits = [[record.split for record in take(source, tmp_path / f"{seed}", seed=seed).records()] for seed in (0, 1, 2)]
    assert splits[0] != splits[1] or splits[0] != splits[2]


def test_a_source_split_is_kept_and_its_leaks_are_told(
    table: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ("0.jpg,P1,train", "1.jpg,P1,test", "2.jpg,P2,train", "2.jpg,P3,test", "3.jpg,P4,train", "4.jpg,P5,")
    source = table(HEADER + ",product_code,part", *(f"Bag,BAGS,5,{row}" for row in rows))
    dataset = take(source, tmp_path / "out", columns={"split": "part"})
    assert [record.split for record in dataset.records()] == ["train", "test", "train", "test", "train", None]
    assert dataset.manifest["source"]["leaks"] == {"groups": 2, "records": 4, "examples": ["P1", "P2"], "cells": 1, "photos": 1}
    printed = capsys.readouterr().out
    assert "note: the source's own split is leaky: 2 groups (4 records) stand in more than one split" in printed
    assert "note: no record is in the validation split" in printed
    assert "note: 1 records have no split" in printed
    assert "train 3, validation 0, test 2, unassigned 1" in printed


def test_an_ambiguous_price_column_is_told(table: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = take(table(HEADER, 'Bag,BAGS,"1,290",0.jpg'), tmp_path / "out")
    assert dataset.records()[0].values["full_price"] == 1290
    assert "note: column full_price: 1 cells such as 1,290" in capsys.readouterr().out
    assert any("full_price" in notice for notice in dataset.manifest["source"]["notices"])


def test_the_account_says_how_the_dataset_was_made(table: Callable[..., Path], tmp_path: Path) -> None:
    source = table(HEADER, *lines(3))
    account = take(source, tmp_path / "out", seed=5).manifest["source"]
    assert (account["verb"], account["rows"], account["split"]) == ("import", 3, "80/10/10 by group, seed 5")
    assert account["settings"]["source"] == str(source)
    assert len(account["sha256"]) == 64
    assert account["columns"]["fields"]["title"] == "title"


def test_an_image_folder_becomes_a_dataset_of_its_classes(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    for number, name in enumerate(["train/hats/a.jpg", "train/bags/a.jpg", "val/hats/b.png", "test/bags/c", "train/hats/notes.txt"]):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"see the wiki" if name.endswith("txt") else photo_bytes(number, "PNG" if "png" in name else "JPEG"))
    dataset = take(tmp_path / "photos", tmp_path / "out")
    assert [(record.id, record.values["category"], record.split) for record in dataset.records()] == [
        ("test/bags/c", "bags", "test"),
        ("train/bags/a.jpg", "bags", "train"),
        ("train/hats/a.jpg", "hats", "train"),
        ("val/hats/b.png", "hats", "validation"),
    ]
    assert [(one["id"], one["code"]) for one in refusals(dataset.folder)] == [("train/hats/notes.txt", "not_a_photo")]
    assert dataset.task.write(dataset.records()[0].values) == "Category: bags"
    assert dataset.task.fields[0].choices == ("bags", "hats")


def test_an_image_folder_takes_a_task_of_its_own(tmp_path: Path, photo_bytes: Callable[..., bytes]) -> None:
    (tmp_path / "photos" / "hats").mkdir(parents=True)
    (tmp_path / "photos" / "hats" / "1.jpg").write_bytes(photo_bytes(1))
    (tmp_path / "task.yaml").write_text("question: What is it?\nanswer: 'A {kind}.'\n")
    dataset = take(tmp_path / "photos", tmp_path / "out", task=tmp_path / "task.yaml", columns={"kind": "category"})
    assert dataset.task.write(dataset.records()[0].values) == "A hats."


def test_when_nothing_can_be_used_the_reasons_are_counted(table: Callable[..., Path], tmp_path: Path) -> None:
    source = table(HEADER, "Bag,BAGS,5,lost.jpg", "Hat,HATS,5,lost.jpg", ",BAGS,5,0.jpg")
    with pytest.raises(DataError) as problem:
        take(source, tmp_path / "out")
    assert "none of 3 rows can be used: 2 missing, 1 text_missing; row 1: there is no file" in str(problem.value)
    assert len(refusals(tmp_path / "out")) == 3
    with pytest.raises(DataError, match="left unfinished"):
        Dataset.open(tmp_path / "out")
    with pytest.raises(DataError, match="has no rows"):
        take(table(HEADER), tmp_path / "other")


def test_a_mistake_in_the_settings_costs_no_old_dataset(table: Callable[..., Path], tmp_path: Path) -> None:
    source = table(HEADER, *lines(3))
    old = take(source, tmp_path / "out").fingerprint
    (tmp_path / "task.yaml").write_text("answer: '{colour}'\n")
    mistakes = ({"columns": {"photo": "pic"}}, {"task": tmp_path / "task.yaml"}, {"task": tmp_path / "none"}, {"photos": tmp_path / "none"})
    for changes in mistakes:
        with pytest.raises(SeeworthError):
            take(source, tmp_path / "out", overwrite=True, **changes)
    with pytest.raises(SettingsError, match="--overwrite"):
        take(source, tmp_path / "out", seed=3)
    assert Dataset.open(tmp_path / "out").fingerprint == old


def test_source_and_dataset_may_not_lie_in_one_another(table: Callable[..., Path], tmp_path: Path) -> None:
    source = table(HEADER, *lines(3))
    for output in (source.parent, tmp_path):
        with pytest.raises(SettingsError, match="lie in one another"):
            take(source, output, overwrite=True)
    (tmp_path / "photos" / "hats").mkdir(parents=True)
    with pytest.raises(SettingsError, match="lie in one another"):
        take(tmp_path / "photos", tmp_path / "photos" / "out")
    assert take(source, source.parent / "out").counts["train"] > 0
    assert source.exists()


def test_a_killed_import_is_made_again_with_overwrite(
    table: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = table(HEADER, *lines(5))
    with monkeypatch.context() as patch:
        patch.setattr("seeworth.data.run.write_dataset", lambda *_, **__: os.kill(os.getpid(), 2))  # Ctrl-C at the worst moment
        with pytest.raises(KeyboardInterrupt):
            take(source, tmp_path / "out")
    with pytest.raises(DataError, match="left unfinished"):
        Dataset.open(tmp_path / "out")
    assert len(take(source, tmp_path / "out", overwrite=True).records()) == 5


def test_the_groceries_come_in_with_their_own_split(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = take(
        shared / "data" / "groceries" / "groceries.csv",
        tmp_path / "out",
        task=REPOSITORY / "recipes" / "groceries-task.yaml",
        columns={"photo": "file_name", "id": "file_name", "group": "file_name", "split": "split"},
    )
    assert dataset.counts == {"train": 648, "validation": 120, "test": 486, "unassigned": 81}
    assert refusals(dataset.folder) == []
    assert len({record.group for record in dataset.records()}) == 1334  # of two products, pack shots of two soy milks, are near-identical
    title, category = dataset.task.fields
    assert (title.choices, len(category.choices or ())) == (None, 43)
    apple = dataset.records("test")[0].values
    assert dataset.task.write(apple) == "Product: Golden Delicious, Category: Apple"
    assert apple["group"] == "Fruit"
    assert dataset.manifest["source"]["leaks"]["groups"] == 0
    assert "1335 of 1335 rows kept" in capsys.readouterr().out


def test_the_groceries_task_loads() -> None:
    task = Task.load(REPOSITORY / "recipes" / "groceries-task.yaml")
    assert task.question == "What is shown in this image?"
    assert task.answer == "Product: {title}, Category: {category}"
    assert [one.kind for one in task.fields] == ["text", "category"]


def test_every_code_of_a_refusal_stands_in_the_docs() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "src/seeworth/data").rglob("*.py"))
    codes = set(re.findall(r'(?:Cell|Photo)Error\(\s*"(\w+)"', source)) | set(re.findall(r'code(?:, \w+)? = "(\w+)"', source))
    codes |= set(re.findall(r'(?:Failure\("\w+", |Stored\(code=)"(\w+)"', source))
    codes |= {"duplicate_id", "no_class", "row_shape", "number_zero", "number_unreadable", "category_unknown", "category_missing"}
    assert len(codes) > 35
    page = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []
