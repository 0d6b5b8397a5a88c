"""`seeworth sample`: a complete dataset folder and table, the same bytes whatever the processes."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image

from seeworth.data.dataset import Dataset
from seeworth.data.draw.catalogue import floor, plan
from seeworth.data.sample.packed import PackedPlan
from seeworth.data.sample.run import COLUMNS, run, task
from seeworth.errors import DataError, SettingsError
from seeworth.settings import SampleSettings

ROWS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sample") / "data"
    run(SampleSettings(output, rows=ROWS, seed=5, size=96, processes=1))
    return output


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "products.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_opens_as_a_dataset_with_every_photo(folder: Path) -> None:
    dataset = Dataset.open(folder)
    records = dataset.records()
    assert len(records) == ROWS
    for record in records:
        with Image.open(record.photo) as image:
            assert max(image.size) == 96
        assert set(record.values) == set(COLUMNS)
        assert isinstance(record.values["full_price"], Decimal)


def test_every_record_can_be_written_and_read_by_the_task(folder: Path) -> None:
    for record in Dataset.open(folder).records():
        values = {one.name: record.values[one.name] for one in task().answer_fields}
        assert task().read(task().write(record.values)).values == values


def test_a_group_never_crosses_a_split(folder: Path) -> None:
    records = Dataset.open(folder).records()
    splits = {(record.group, record.split) for record in records}
    assert len(splits) == len({record.group for record in records})
    assert all(record.group == record.values["product_code"] for record in records)


def test_the_table_has_the_cookbooks_17_columns_and_points_at_the_photos(folder: Path) -> None:
    rows = table(folder)
    assert len(COLUMNS) == 17
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == ROWS
    for row in rows:
        assert (folder / row["imageurl"]).is_file()
        assert (row["flg_discount"] == "1") == (Decimal(row["price"]) < Decimal(row["full_price"]))
        assert Decimal(row["full_price_eur"]) == Decimal(row["full_price"]) * Decimal("0.92")


def test_the_manifest_states_noise_and_floor(folder: Path) -> None:
    source = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["source"]
    assert source["floor"]["full_price_mae"] == pytest.approx(floor(plan(ROWS, 5)), abs=1e-4)
    assert source["noise"] == {"sigma": 0.05, "cut": 2.0}


def test_two_processes_and_another_folder_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    run(SampleSettings(again, rows=ROWS, seed=5, size=96, processes=2))
    assert hashes(again) == hashes(folder)


def test_another_seed_gives_other_photos(folder: Path, tmp_path: Path) -> None:
    run(SampleSettings(tmp_path / "other", rows=8, seed=6, size=96, processes=1))
    assert not {row["imageurl"] for row in table(tmp_path / "other")} & {row["imageurl"] for row in table(folder)}


def test_a_folder_that_is_there_is_replaced_only_when_asked(folder: Path, tmp_path: Path) -> None:
    settings = SampleSettings(tmp_path / "data", rows=3, size=64, processes=1)
    run(settings)
    with pytest.raises(SettingsError, match="overwrite"):
        run(settings)
    run(replace(settings, rows=2, overwrite=True))
    assert len(table(settings.output)) == 2


@pytest.mark.parametrize("change", [{"rows": 0}, {"size": 10}, {"processes": -1}, {"seed": -1}])
def test_a_setting_that_cannot_be_is_told_in_one_line(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(change))} is"):
        run(replace(SampleSettings(tmp_path / "data"), **change))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("photos", [-1, 4])
def test_more_photos_than_rows_are_refused(tmp_path: Path, photos: int) -> None:
    with pytest.raises(SettingsError, match=f"photos is {photos}: expected 0 to 3, the number of rows"):
        run(SampleSettings(tmp_path / "data", rows=3, photos=photos))


def test_with_fewer_photos_the_same_rows_are_there_and_the_same_photos(folder: Path, tmp_path: Path) -> None:
    run(SampleSettings(tmp_path / "fewer", rows=ROWS, seed=5, size=96, photos=7, processes=1))
    ids = [[record.id for record in Dataset.open(one).records()] for one in (tmp_path / "fewer", folder)]
    assert ids[0] == ids[1][:7]
    whole, fewer = table(folder), table(tmp_path / "fewer")
    assert fewer[:7] == whole[:7]
    assert fewer[7:] == [row | {"imageurl": ""} for row in whole[7:]]
    assert json.loads((tmp_path / "fewer" / "dataset.json").read_text(encoding="utf-8"))["source"]["photos"] == 7


def test_a_table_alone_is_no_dataset_and_says_so(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SampleSettings(tmp_path / "table", rows=ROWS, seed=5, photos=0)
    run(settings)
    assert table(settings.output) == [row | {"imageurl": ""} for row in table(folder)]
    assert json.loads((settings.output / "table.json").read_text(encoding="utf-8"))["rows"] == ROWS
    assert "a table alone" in capsys.readouterr().out
    with pytest.raises(DataError, match="expected a dataset folder"):
        Dataset.open(settings.output)
    run(replace(settings, rows=3, overwrite=True))
    assert len(table(settings.output)) == 3


def test_a_table_of_many_rows_is_the_same_in_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seeworth.data.sample.run._ALONE_ROWS", 100)
    for processes in (1, 2):
        run(SampleSettings(tmp_path / str(processes), rows=2500, photos=0, processes=processes))
    assert (tmp_path / "1" / "products.csv").read_bytes() == (tmp_path / "2" / "products.csv").read_bytes()


@pytest.mark.parametrize("rows", [1, 50, 700])
def test_a_packed_plan_is_the_plan(rows: int) -> None:
    packed, products = PackedPlan.of(rows, 9), plan(rows, 9)
    assert list(packed) == products
    assert list(packed[3:40]) == products[3:40]
    assert packed.floor() == pytest.approx(floor(products))
    assert packed.groups == len({product.code for product in products})


def test_a_packed_row_is_small() -> None:
    assert PackedPlan.of(100, 0)._rows.nbytes == 100 * 17


def test_progress_and_summary_are_plain_lines_off_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(SampleSettings(tmp_path / "data", rows=8, size=64, processes=1))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [f"drawing: {count} of 8 photos" for count in (2, 4, 6, 8)]
    assert "8 photos of" in lines[-1]
