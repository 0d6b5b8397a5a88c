from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seeworth.data.dataset import COLUMNS, Dataset, Rejected, Row, prepare_folder, store_photo, write_dataset
from seeworth.errors import DataError, SettingsError
from seeworth.record import Record, Split
from seeworth.task import Field, Task

TASK = Task()
VALUES = {"title": "Bag, red", "category3_code": "BAGS", "full_price": Decimal("1290.5"), "brand": "Ada"}
SPLITS: tuple[Split | None, ...] = ("train", "validation", "test", None, "train")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare_folder(tmp_path / "data", overwrite=False)
    return tmp_path / "data"


@pytest.fixture
def rows(folder: Path, photo_bytes: Callable[..., bytes]) -> list[Row]:
    """Five rows whose photos are stored: one for each split, one without, and a second in train with the first's photo."""
    found = []
    for number, split in enumerate(SPLITS):
        file_name, sha256 = store_photo(folder, photo_bytes(number % 4), "jpg")
        values = VALUES | {"category3_code": "SHOES" if number else "BAGS"}
        found.append(Row(f"r{number}", file_name, f"g{number}", split, 40, 30, sha256, "0123456789abcdef", values))
    return found


@pytest.fixture
def dataset(folder: Path, rows: list[Row]) -> Path:
    rejected = [Rejected(6, None, None, "text_missing", "no title"), Rejected(7, "x\ud800", "a.jpg", "damaged", "b")]
    write_dataset(folder, TASK, iter(rows), source={"verb": "test"}, rejected=rejected)
    return folder


def test_what_is_written_is_read(dataset: Path, rows: list[Row]) -> None:
    opened = Dataset.open(dataset)
    assert list(opened.rows()) == rows
    assert opened.counts == {"train": 2, "validation": 1, "test": 1, "unassigned": 1}
    assert opened.records("test") == [Record("r2", dataset / rows[2].file_name, rows[2].values, "g2", "test")]
    assert [record.id for record in opened.records()] == ["r0", "r1", "r2", "r3", "r4"]
    assert all(record.photo.is_file() for record in opened.records())


def test_the_manifest_tells_counts_categories_and_refusals(dataset: Path) -> None:
    manifest = Dataset.open(dataset).manifest
    assert manifest["records"] == 5
    assert manifest["categories"] == {"category3_code": {"BAGS": 1, "SHOES": 4}}
    assert manifest["rejected"] == {"damaged": 1, "text_missing": 1}
    assert manifest["source"] == {"verb": "test"}
    refused = [json.loads(line) for line in (dataset / "rejected.jsonl").read_text().splitlines()]
    assert refused[0] == {"row": 6, "id": None, "photo": None, "code": "text_missing", "reason": "no title"}


def test_open_categories_get_the_choices_found_and_given_ones_stay(dataset: Path, tmp_path: Path, rows: list[Row]) -> None:
    assert Dataset.open(dataset).task.fields[1].choices == ("BAGS", "SHOES")
    closed = replace(TASK, fields=(TASK.fields[0], Field("category3_code", "category", choices=("SHOES", "BAGS", "HATS")), TASK.fields[2]))
    write_dataset(dataset, closed, rows, source={})
    assert Dataset.open(dataset).task.fields[1].choices == ("SHOES", "BAGS", "HATS")


def test_the_columns_stand_in_the_order_of_the_contract(dataset: Path) -> None:
    schema = pq.read_schema(dataset / "metadata.parquet")
    assert schema.names == [*COLUMNS, "title", "category3_code", "full_price", "brand"]
    assert [str(schema.field(name).type) for name in ("id", "width", "full_price", "brand")] == ["string", "int64", "double", "string"]


def test_the_fingerprint_is_of_the_table_and_the_same_each_time(dataset: Path, rows: list[Row]) -> None:
    first = Dataset.open(dataset).fingerprint
    assert first == hashlib.sha256((dataset / "metadata.parquet").read_bytes()).hexdigest()
    write_dataset(dataset, TASK, rows, source={})
    assert Dataset.open(dataset).fingerprint == first
    write_dataset(dataset, TASK, rows[::-1], source={})
    assert Dataset.open(dataset).fingerprint != first


def test_names_that_collide_come_back_as_they_were(folder: Path, rows: list[Row]) -> None:
    task = Task(answer="{width} {image}", fields=(Field("width", "number"), Field("image")))
    names = ("id", "file_name", "source_id", "group", "file_names", "thumb_file_name", "images", "thumb_file", "source_source_id", "")
    values = {"width": Decimal(3), "image": "a bag"} | {name: f"was {name}" for name in names}
    write_dataset(folder, task, [replace(rows[0], values=values)], source={})
    assert next(Dataset.open(folder).rows()).values == values
    columns = pq.read_schema(folder / "metadata.parquet").names
    assert len(set(columns)) == len(columns)
    assert [name for name in columns if name.endswith(("file_name", "file_names")) or name in ("image", "images")] == ["file_name"]
    assert {"source_width", "source_id", "source_group"} <= set(columns)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip), st.decimals(-(10**9), 10**9, places=4))
def test_any_words_and_numbers_survive(folder: Path, rows: list[Row], title: str, price: Decimal) -> None:
    values = VALUES | {"title": title, "full_price": price, "brand": title}
    write_dataset(folder, TASK, [replace(rows[0], values=values)], source={})
    assert next(Dataset.open(folder).rows()).values == values


def test_many_rows_are_written_in_batches_in_their_order(folder: Path, rows: list[Row]) -> None:
    write_dataset(folder, TASK, (replace(rows[0], id=str(number)) for number in range(10_000)), source={})
    assert [row.id for row in Dataset.open(folder).rows()] == [str(number) for number in range(10_000)]


def test_the_hugging_face_image_folder_opens_it_as_it_is(
    folder: Path, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    extra = {"image": "i", "file_name": "f", "group": "g", "split": "s", "thumb_file_name": "t", "label": "l"}
    write_dataset(folder, TASK, [replace(row, values={**row.values, **extra}) for row in rows], source={}, rejected=[])
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"), split="train")
    assert len(loaded) == 5
    assert loaded[0]["image"].size == (40, 30)
    assert (loaded[0]["title"], loaded[0]["full_price"], loaded[3]["split"]) == ("Bag, red", 1290.5, None)
    assert loaded[0]["source_thumb_file"] == "t"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "r1"}, "'r1' stands twice"),
        ({"values": {"title": "Bag"}}, "'r0': has no category3_code"),
        ({"values": VALUES | {"full_price": "12"}}, "'r0': full_price: expected a number"),
        ({"values": VALUES | {"title": " "}}, "'r0': title: is empty"),
    ],
)
def test_a_row_that_does_not_suit_the_task_is_refused(folder: Path, rows: list[Row], change: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        write_dataset(folder, TASK, [replace(rows[0], **change), *rows[1:]], source={})
    assert not (folder / "dataset.json").exists()


def test_a_later_row_with_a_column_of_its_own_is_refused(folder: Path, rows: list[Row]) -> None:
    with pytest.raises(DataError, match="'r1': has 'colour', which the first record has not"):
        write_dataset(folder, TASK, [rows[0], replace(rows[1], values=VALUES | {"colour": "red"})], source={})


def test_a_missing_extra_value_is_absent(folder: Path, rows: list[Row]) -> None:
    without = {name: value for name, value in VALUES.items() if name != "brand"}
    write_dataset(folder, TASK, [rows[0], replace(rows[1], values=without)], source={})
    assert [dict(row.values).get("brand") for row in Dataset.open(folder).rows()] == ["Ada", None]


def test_no_row_is_no_dataset(folder: Path) -> None:
    with pytest.raises(DataError, match="no record"):
        write_dataset(folder, TASK, [], source={})


def test_a_photo_is_stored_once_whole_and_under_its_content(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(lambda _: store_photo(folder, b"x" * 100_000, "jpg"), range(40)))
    sha256 = hashlib.sha256(b"x" * 100_000).hexdigest()
    assert names == {(f"photos/{sha256[:2]}/{sha256}.jpg", sha256)}
    assert [path.name for path in (folder / "photos").rglob("*") if path.is_file()] == [f"{sha256}.jpg"]
    with pytest.raises(ValueError, match="letters and digits"):
        store_photo(folder, b"x", "../sh")


def damage(folder: Path, how: str) -> None:
    manifest = json.loads((folder / "dataset.json").read_text())
    if how == "newer format":
        (folder / "dataset.json").write_text(json.dumps(manifest | {"format": 3}))
    elif how == "no task":
        (folder / "dataset.json").write_text(json.dumps(manifest | {"task": None}))
    elif how == "broken json":
        (folder / "dataset.json").write_text("{")
    elif how == "a list":
        (folder / "dataset.json").write_text("[]")
    elif how == "no manifest":
        (folder / "dataset.json").unlink()
    elif how == "unfinished":
        (folder / "dataset.json").unlink()
        (folder / ".seeworth-unfinished").touch()
    elif how == "no table":
        (folder / "metadata.parquet").unlink()
    elif how == "broken table":
        (folder / "metadata.parquet").write_bytes(b"PAR1")
    elif how == "fewer records":
        (folder / "dataset.json").write_text(json.dumps(manifest | {"records": 9}))
    elif how == "lost column":
        table = pq.read_table(folder / "metadata.parquet")
        pq.write_table(table.drop_columns(["file_name"]), folder / "metadata.parquet")
    else:
        photo = next(path for path in (folder / "photos").rglob("*.jpg"))
        photo.unlink()
        if how == "photo is a link":
            photo.symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("newer format", "expected format 1 or 2, found 3"),
        ("no task", "has no 'task'"),
        ("broken json", "dataset.json: "),
        ("a list", "expected format 1 or 2, found None"),
        ("no manifest", "expected a dataset folder, found no dataset.json in it: make one with `seeworth import`"),
        ("unfinished", "left unfinished: make it again with --overwrite"),
        ("no table", "metadata.parquet"),
        ("broken table", "metadata.parquet"),
        ("fewer records", "holds 5 records, dataset.json says 9"),
        ("lost column", "has no column 'file_name'"),
        ("lost photo", "photos in metadata.parquet are not there, the first is 'photos/"),
        ("photo is a link", "are not there"),
    ],
)
def test_what_is_no_whole_dataset_folder_is_told_in_one_line(dataset: Path, how: str, words: str) -> None:
    damage(dataset, how)
    with pytest.raises(DataError) as problem:
        Dataset.open(dataset)
    assert words in str(problem.value)
    assert str(dataset) in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_file_or_nothing_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="found a file"):
        Dataset.open(tmp_path / "file")
    with pytest.raises(DataError, match="found nothing: make one"):
        Dataset.open(tmp_path / "nowhere")


def test_a_table_changed_by_hand_cannot_point_outside(dataset: Path) -> None:
    table = pq.read_table(dataset / "metadata.parquet")
    names = ["../../../etc/hostname", *table.column("file_name").to_pylist()[1:]]
    pq.write_table(table.set_column(1, "file_name", [names]), dataset / "metadata.parquet")
    with pytest.raises(DataError, match="are not there"):
        Dataset.open(dataset)


def test_nothing_is_overwritten_unasked(dataset: Path) -> None:
    with pytest.raises(SettingsError, match="--overwrite"):
        prepare_folder(dataset, overwrite=False)
    assert Dataset.open(dataset).records()


def test_overwrite_clears_a_finished_and_an_unfinished_dataset(dataset: Path) -> None:
    prepare_folder(dataset, overwrite=True)
    assert [path.name for path in dataset.iterdir()] == [".seeworth-unfinished"]
    store_photo(dataset, b"x", "jpg")
    (dataset / ".metadata.parquet.12.0123abcd").touch()  # a draft that a killed process left
    prepare_folder(dataset, overwrite=True)
    assert [path.name for path in dataset.iterdir()] == [".seeworth-unfinished"]


def test_overwrite_deletes_nothing_but_datasets_of_ours(dataset: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "photos").mkdir(parents=True)
    (home / "photos" / "holiday.jpg").touch()
    with pytest.raises(SettingsError, match="is not a dataset folder"):
        prepare_folder(home, overwrite=True)
    (home / "dataset.json").write_text('{"name": "of another program"}')
    with pytest.raises(SettingsError, match="is not a dataset folder"):
        prepare_folder(home, overwrite=True)
    assert (home / "photos" / "holiday.jpg").exists()

    (dataset / "thesis.tex").touch()
    with pytest.raises(SettingsError, match=r"holds 'thesis.tex', which seeworth did not write"):
        prepare_folder(dataset, overwrite=True)
    assert Dataset.open(dataset).records()


def test_overwrite_follows_no_link_out_of_the_folder(dataset: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (dataset / "photos").rename(outside)
    (dataset / "photos").symlink_to(outside)
    prepare_folder(dataset, overwrite=True)
    assert any(outside.rglob("*.jpg"))


def test_an_empty_folder_is_used_and_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    prepare_folder(tmp_path / "empty", overwrite=False)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="is a file"):
        prepare_folder(tmp_path / "file", overwrite=True)
