"""Groups and splits through `seeworth import` as a whole: from files on disk to the dataset folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import ImageEnhance

from seeworth.data.dataset import Dataset
from seeworth.data.run import run
from seeworth.errors import DataError, SettingsError
from seeworth.settings import ImportSettings

from ..scenes import jpeg, png, scene

HEADER = "title,category3_code,full_price,photo,product_code"


def table(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    """A CSV file with photos 0.png to 29.png beside it, and of the first ten a copy as copy0.jpg and so on."""
    folder.mkdir(exist_ok=True)
    for number in range(30):
        picture = scene(number, (90, 70))
        (folder / f"{number}.png").write_bytes(png(picture))
        if number < 10:
            ImageEnhance.Brightness(jpeg(picture.crop((2, 1, 89, 69)), 80)).enhance(1.05).save(folder / f"copy{number}.jpg")
    (folder / "table.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "table.csv"


def take(source: Path, output: Path, **changes: Any) -> Dataset:
    run(ImportSettings(source, output, **({"processes": 1} | changes)))
    return Dataset.open(output)


def splits(dataset: Dataset) -> dict[str, Any]:
    """By title."""
    return {str(record.values["title"]): record.split for record in dataset.records()}


def test_an_altered_copy_stands_in_the_group_and_split_of_its_photo(tmp_path: Path) -> None:
    rows = [f"Bag {n},BAGS,5,{n}.png," for n in range(30)] + [f"Copy {n},HATS,5,copy{n}.jpg,Q{n}" for n in range(10)]
    dataset = take(table(tmp_path / "source", rows), tmp_path / "out")
    records = dataset.records()
    assert [one.group for one in records[30:]] == [one.group for one in records[:10]]
    assert [one.split for one in records[30:]] == [one.split for one in records[:10]]
    assert len({one.group for one in records}) == 30
    account = dataset.manifest["source"]
    assert (account["groups"], account["near_identical"], account["strata"]) == (30, 10, "category3_code")


def test_a_source_split_that_leaks_through_an_altered_copy_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"Bag {n},BAGS,5,{n}.png,,train" for n in range(30)] + ["Copy,BAGS,5,copy3.jpg,,test"]
    dataset = take(table(tmp_path / "source", rows, HEADER + ",part"), tmp_path / "out", columns={"split": "part"})
    assert splits(dataset)["Copy"] == "test"
    leaked = dataset.manifest["source"]["leaks"]
    assert (leaked["groups"], leaked["records"], leaked["cells"], leaked["photos"]) == (1, 2, 0, 1)
    assert any("leaky: 1 groups (2 records)" in notice for notice in dataset.manifest["source"]["notices"])
    assert "(0 group cells and 1 near-identical photos do)" in capsys.readouterr().out


def test_a_giant_group_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take(table(tmp_path / "source", [f"Bag {n},BAGS,5,{n}.png,N/A" for n in range(30)]), tmp_path / "out")
    assert "note: the group 'N/A' holds 30 of 30 records" in capsys.readouterr().out


def test_with_an_earlier_folder_reordered_rows_keep_their_split(tmp_path: Path) -> None:
    rows = [f"Bag {n},{'BAGS' if n % 2 else 'HATS'},5,{n}.png,P{n // 2}" for n in range(30)]
    first = splits(take(table(tmp_path / "source", rows[:20]), tmp_path / "first"))
    assert set(first.values()) == {"train", "validation", "test"}
    again = splits(take(table(tmp_path / "source", rows[::-1]), tmp_path / "again", seed=9, earlier=tmp_path / "first"))
    assert len(again) == 30
    assert first.items() <= again.items()
    with pytest.raises(SettingsError, match="lie in one another"):  # a kill half-way would lose both
        take(table(tmp_path / "source", rows), tmp_path / "again", earlier=tmp_path / "again", overwrite=True)


def test_an_id_names_a_record_of_the_earlier_folder_and_a_row_number_does_not(tmp_path: Path) -> None:
    rows = [f"Bag {n},BAGS,5,{n}.png,,k{n}" for n in range(20)]
    source = table(tmp_path / "source", rows, HEADER + ",id")
    first = take(source, tmp_path / "first").records()
    named = {record.id: record.split for record in first}
    swapped = [f"Bag {n},BAGS,5,{(n + 7) % 20}.png,,k{n}" for n in range(20)]  # each photo under another id
    again = take(table(tmp_path / "source", swapped, HEADER + ",id"), tmp_path / "named", earlier=tmp_path / "first").records()
    assert {record.id: record.split for record in again} == named
    by_photo = {record.photo.name: record.split for record in first}
    again = take(source.parent / "table.csv", tmp_path / "numbered", earlier=tmp_path / "first", columns={"id": ""}).records()
    assert {record.photo.name: record.split for record in again} == by_photo


def test_an_earlier_folder_that_is_none_costs_nothing(tmp_path: Path) -> None:
    source = table(tmp_path / "source", ["Bag,BAGS,5,0.png,"])
    take(source, tmp_path / "out")
    with pytest.raises(DataError, match="expected a dataset folder"):
        take(source, tmp_path / "out", earlier=tmp_path / "nowhere", overwrite=True)
    assert len(Dataset.open(tmp_path / "out").records()) == 1
