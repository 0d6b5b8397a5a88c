"""Several files as one table, and the folders that Hugging Face data sets come in."""

from __future__ import annotations

import io
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seeworth.data.rows.reader import Columns
from seeworth.data.sources import Shards, Source, open_source
from seeworth.data.sources.shards import split_in
from seeworth.errors import DataError


def parquet(path: Path, *titles: str, **more: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"title": list(titles)} | more), path)


def text(path: Path, words: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words)


def read(source: Source) -> list[tuple[int, str, str]]:
    return [(row.number, row.cells["title"], row.cells.get("split", "-")) for row in source]


def test_shards_are_one_table_and_their_names_say_the_split(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train-00000-of-00002.parquet", "a", "b")
    parquet(tmp_path / "data" / "train-00001-of-00002.parquet", "c")
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", "d")
    text(tmp_path / "README.md", "---\nlicense: mit\n---\n# Set\n")
    text(tmp_path / "dataset_infos.json", "{}")
    text(tmp_path / ".git" / "x.csv", "y")
    source = open_source(tmp_path)
    assert read(source) == [(1, "d", "test"), (2, "a", "train"), (3, "b", "train"), (4, "c", "train")]
    assert source.defaults["split"] == "split"
    assert [row.number for row in source.only(["title"])] == [1, 2, 3, 4]


def test_one_split_alone_is_none(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train-00000-of-00001.parquet", "a")
    source = open_source(tmp_path)
    assert isinstance(source, Shards)
    assert source.columns == ["title"]
    assert "split" not in source.defaults


def test_a_file_that_says_no_split_switches_splits_off_and_is_told(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "more.csv"):
        text(tmp_path / name, "title\na\n")
    source = open_source(tmp_path)
    assert source.columns == ["title"]
    assert source.notices == ["more.csv says no split, others do: their splits were not used"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"), ("test/a.csv", "test"), ("data/test.csv", "test"), ("val_1.jsonl", "val"),
        ("default/validation/0000.parquet", "validation"), ("train_sft-00000-of-00001.parquet", "train"), ("contest.csv", ""),
        ("training-set.csv", "training"), ("part-00000-of-00002.csv", ""), ("products.csv", ""),
    ],
)  # fmt: skip
def test_the_split_in_a_name(name: str, split: str) -> None:
    assert split_in(name) == split


def test_a_table_with_a_split_of_its_own_keeps_it(tmp_path: Path) -> None:
    parquet(tmp_path / "train.parquet", "a", split=["old"])
    parquet(tmp_path / "test.parquet", "b", split=["older"])
    source = open_source(tmp_path)
    assert [(row.cells["split"], row.cells["file_split"]) for row in source] == [("older", "test"), ("old", "train")]
    assert source.defaults["split"] == "file_split"


def test_objects_of_all_files_have_all_their_keys_and_columns_must_agree(tmp_path: Path) -> None:
    text(tmp_path / "a.jsonl", '{"title": "a", "x": 1}\n')
    text(tmp_path / "b.jsonl", '{"title": "b", "y": 2}\nbroken\n')
    first, second, bad = open_source(tmp_path)
    assert (dict(first.cells), dict(second.cells)) == ({"title": "a", "x": "1", "y": ""}, {"title": "b", "x": "", "y": "2"})
    assert bad.problem.startswith("b.jsonl: line 2")
    parquet(tmp_path / "p" / "a.parquet", "a")
    parquet(tmp_path / "p" / "b.parquet", "a", price=["5"])
    with pytest.raises(DataError, match=r"b.parquet and a.parquet have other columns, e.g. 'price'"):
        open_source(tmp_path / "p")


def test_two_kinds_of_tables_are_no_guess(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", "a")
    text(tmp_path / "a.csv", "title\na\n")
    with pytest.raises(DataError, match=r"holds .csv and .parquet tables: import one of them"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "declared",
    [
        "[{config_name: default, data_files: [{split: train, path: 'x/*.csv'}, {split: test, path: [y.csv]}]}]",
        "[{config_name: other, data_files: z.csv}, {config_name: default, data_files: {train: 'x/*.csv', test: y.csv}}]",
        "[{config_name: a, data_files: z.csv}, {config_name: b, default: true, data_files: {train: 'x/*.csv', test: y.csv}}]",
    ],
)
def test_the_readme_says_which_files_count(tmp_path: Path, declared: str) -> None:
    for name, title in [("x/1.csv", "a"), ("x/2.csv", "b"), ("y.csv", "c"), ("z.csv", "d")]:
        text(tmp_path / name, f"title\n{title}\n")
    text(tmp_path / "README.md", f"---\nconfigs: {declared}\n---\n")
    assert read(open_source(tmp_path)) == [(1, "a", "train"), (2, "b", "train"), (3, "c", "test")]


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("[{config_name: a, data_files: x.csv}, {config_name: b, data_files: y.csv}]", "README names 2 subsets, a, b: which one"),
        ("[{data_files: ../*.csv}]", "which leaves the folder"),
        ("[{data_files: /etc/*.csv}]", "which leaves the folder"),
        ("[{data_files: lost-*.csv}]", "names data files that are not there"),
    ],
)
def test_a_readme_that_cannot_be_followed_is_told(tmp_path: Path, declared: str, words: str) -> None:
    text(tmp_path / "x.csv", "title\na\n")
    text(tmp_path / "README.md", f"---\nconfigs: {declared}\n---\n")
    with pytest.raises(DataError, match=words):
        open_source(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_among_the_tables_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "README.md")
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a.csv: expected a table, found no regular file"):
        open_source(tmp_path)


def test_what_datasets_saves_to_disk_is_read_with_photos_labels_and_splits(tmp_path: Path) -> None:
    photo = io.BytesIO()
    Image.new("RGB", (9, 9)).save(photo, "PNG")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["bag", "hat"])})
    made = {
        split: datasets.Dataset.from_dict({"image": [{"bytes": photo.getvalue(), "path": None}], "label": [1]}, features=features)
        for split in ("train", "test")
    }
    datasets.DatasetDict(made).save_to_disk(tmp_path / "set")
    source = open_source(tmp_path / "set")
    assert [(row.cells["label"], row.cells["split"], row.embedded["image"]) for row in source] == [
        ("hat", "test", photo.getvalue()), ("hat", "train", photo.getvalue()),
    ]  # fmt: skip
    assert Columns.of(source, source.task.from_dict({"answer": "{label}"}), None).photo == "image"
