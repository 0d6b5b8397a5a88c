"""Folders of photos: classes, splits, and metadata tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seeworth.data.rows.reader import Columns
from seeworth.data.sources import ImageFolder, open_source
from seeworth.errors import DataError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_class_folders_are_categories(tmp_path: Path) -> None:
    hidden = (".DS_Store", "hats/._1.jpg", "__MACOSX/hats/1.jpg", "hats/Thumbs.db")
    root = tree(tmp_path / "p", "hats/1.jpg", "bags/b/2.jpg", "bags/1.jpg", "loose.jpg", *hidden)
    source = open_source(root)
    assert isinstance(source, ImageFolder)
    assert [(row.cells["file_name"], row.cells["category"], row.code) for row in source] == [
        ("bags/1.jpg", "bags", ""),
        ("bags/b/2.jpg", "bags", ""),
        ("hats/1.jpg", "hats", ""),
        ("loose.jpg", "", "no_class"),
    ]
    assert source.columns == ["file_name", "category"]
    assert (source.task.question, source.task.answer) == ("What is shown in this image?", "Category: {category}")


def test_a_first_level_of_splits_alone_is_a_split(tmp_path: Path) -> None:
    root = tree(tmp_path / "p", "train/hats/1.jpg", "val/hats/2.jpg", "test/bags/3.jpg", "test/loose.jpg")
    assert [(row.cells["split"], row.cells["category"], row.code) for row in open_source(root)] == [
        ("test", "bags", ""),
        ("test", "", "no_class"),
        ("train", "hats", ""),
        ("val", "hats", ""),
    ]


def test_a_class_named_test_among_others_is_a_class(tmp_path: Path) -> None:
    source = open_source(tree(tmp_path / "p", "test/1.jpg", "hats/1.jpg"))
    assert source.columns == ["file_name", "category"]
    assert [row.cells["category"] for row in source] == ["hats", "test"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    root = tree(tmp_path / "p", "hats/1.jpg")
    (root / "hats" / "round").symlink_to(root)
    assert [row.cells["file_name"] for row in open_source(root)] == ["hats/1.jpg", "hats/round"]


def test_one_split_folder_alone_is_no_split(tmp_path: Path) -> None:
    source = open_source(tree(tmp_path / "p", "train/hats/1.jpg", "train/bags/2.jpg"))
    assert "split" in source.columns
    assert Columns.of(source, source.task, None).split is None


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_flat_folder_is_read_by_its_metadata(tmp_path: Path, kind: str) -> None:
    root = tree(tmp_path / "p", "a.jpg", "deep/b.jpg", "unnamed.jpg")
    write_metadata(root, kind, ["a.jpg", "deep/b.jpg"])
    source = open_source(root)
    assert [(row.cells["file_name"], row.cells["text"]) for row in source] == [("a.jpg", "T0"), ("deep/b.jpg", "T1")]
    assert source.photos == root
    assert source.defaults["photo"] == "file_name"
    assert source.notices == ["the folder holds 3 photos, its metadata 2 rows: photos that no row names are left out"]


def test_metadata_in_each_split_folder_names_photos_from_there(tmp_path: Path) -> None:
    root = tree(tmp_path / "p", "train/a.jpg", "test/a.jpg")
    write_metadata(root / "train", "csv", ["a.jpg"])
    write_metadata(root / "test", "csv", ["a.jpg"])
    source = open_source(root)
    assert [(row.number, row.cells["file_name"], row.cells["split"]) for row in source] == [
        (1, "test/a.jpg", "test"), (2, "train/a.jpg", "train"),
    ]  # fmt: skip
    assert source.defaults["split"] == "split"
    assert source.notices == []


def test_a_metadata_table_needs_the_photos_name(tmp_path: Path) -> None:
    root = tree(tmp_path / "p", "a.jpg")
    (root / "metadata.csv").write_text("name,text\na.jpg,b\n")
    with pytest.raises(DataError, match="has no column 'file_name', which names the photo; its columns are name, text"):
        open_source(root)
    (root / "metadata.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"holds metadata.csv and metadata.jsonl: which one counts\?"):
        open_source(root)


def test_a_stray_table_among_class_folders_is_no_guess(tmp_path: Path) -> None:
    root = tree(tmp_path / "p", "hats/a.jpg")
    (root / "products.csv").write_text("title,photo\n")
    with pytest.raises(DataError, match=r"holds photos, and a table that names none of them, products.csv: which is meant\?"):
        open_source(root)
    (root / "products.csv").write_text("title,photo\nBag,hats/a.jpg\n")
    assert open_source(root).columns == ["title", "photo"]


def write_metadata(folder: Path, kind: str, names: list[str]) -> None:
    rows = {"file_name": names, "text": [f"T{number}" for number in range(len(names))]}
    path = folder / f"metadata.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(rows), path)
    elif kind == "csv":
        path.write_text("file_name,text\n" + "".join(f"{name},T{number}\n" for number, name in enumerate(names)))
    else:
        path.write_text("".join(f'{{"file_name": "{name}", "text": "T{number}"}}\n' for number, name in enumerate(names)))
