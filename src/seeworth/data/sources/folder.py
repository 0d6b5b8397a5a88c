"""A folder of photos: class folders, or a metadata table (metadata.csv, .jsonl or .parquet) that names each photo.

Both may stand below train/, validation/ and test/. Knows nothing of how a photo is decoded.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import DataError, told_as
from ...task import Field, Task
from .source import MAX_TEXT, SPLIT_WORDS, Source, SourceRow

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif"})
METADATA_NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"


class ImageFolder:
    """A folder with one sub-folder of photos for each class, or train/, validation/ and test/ with the classes below.

    Its columns are file_name, category (the class folder's name) and, when the first level is all splits, split (which is
    used when there are two or more). Hidden files are left out; any other file is a row: what is no photo is told, not lost.
    """

    task = Task(answer="Category: {category}", fields=(Field("category", "category"),))
    max_text = MAX_TEXT
    conversations = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.photos = path
        self.notices: list[str] = []
        folders = folders_in(path)
        if not folders:
            raise DataError(
                f"{path}: expected one sub-folder of photos for each class, found none: put the photos into class folders, "
                f"or add a metadata.csv with a column {FILE_NAME} and what is known of each photo"
            )
        self.has_splits = all(folder.name.lower() in SPLIT_WORDS for folder in folders)
        self.columns = [FILE_NAME, "category", *(["split"] if self.has_splits else [])]
        self.defaults: Mapping[str, str] = {"id": FILE_NAME} | ({"split": "split"} if self.has_splits and len(folders) > 1 else {})

    def __iter__(self) -> Iterator[SourceRow]:
        for number, file in enumerate(files_in(self.path), 1):
            split, *parts = file.relative_to(self.path).parts if self.has_splits else ("", *file.relative_to(self.path).parts)
            cells = {FILE_NAME: file.relative_to(self.path).as_posix(), "category": parts[0] if len(parts) > 1 else "", "split": split}
            code, problem = ("", "") if len(parts) > 1 else ("no_class", "the file stands in no class folder")
            yield SourceRow(number, {name: cells[name] for name in self.columns}, code, problem)

    def only(self, columns: Collection[str]) -> Iterator[SourceRow]:
        return iter(self)


class PhotoTable:
    """The rows of a metadata table, whose photos are named from the folder that the table stands in.

    `home` is the whole folder of photos; file_name becomes a path from there.
    """

    def __init__(self, table: Source, home: Path) -> None:
        if FILE_NAME not in table.columns:
            raise DataError(
                f"{table.path}: has no column {FILE_NAME!r}, which names the photo; its columns are {', '.join(table.columns[:40])}: "
                "rename the column that does"
            )
        if table.conversations:
            raise DataError(f"{table.path}: holds conversations, which name their photos themselves: import this file, not its folder")
        self.path = table.path
        self.photos = home
        self.columns = table.columns
        self.task = table.task
        self.max_text = table.max_text
        self.conversations = False
        self.defaults: Mapping[str, str] = {**table.defaults, "photo": FILE_NAME}
        self._table = table
        self._below = table.path.parent.relative_to(home).as_posix()

    @property
    def notices(self) -> list[str]:
        return self._table.notices

    def __iter__(self) -> Iterator[SourceRow]:
        return map(self._placed, self._table)

    def only(self, columns: Collection[str]) -> Iterator[SourceRow]:
        return self._table.only(columns)

    def _placed(self, row: SourceRow) -> SourceRow:
        name = row.cells.get(FILE_NAME, "")
        if not name.strip() or self._below == "." or "://" in name:
            return row
        return replace(row, cells={**row.cells, FILE_NAME: posixpath.join(self._below, name)})


def metadata_in(path: Path) -> list[Path]:
    """The metadata tables of a photo folder: its own, or one in each split folder. Raises DataError for two in one place."""
    splits = (folder for folder in folders_in(path) if folder.name.lower() in SPLIT_WORDS)
    return _metadata_at(path) or [table for folder in splits for table in _metadata_at(folder)]


def unnamed_photos(home: Path, tables: Sequence[Source]) -> list[str]:
    """A notice when the folder holds more photos than its metadata has rows."""
    photos = sum(file.suffix.lower() in PHOTO_SUFFIXES for file in files_in(home))
    rows = sum(1 for table in tables for _ in table.only([]))
    return [f"the folder holds {photos} photos, its metadata {rows} rows: photos that no row names are left out"] if photos > rows else []


def folders_in(path: Path) -> list[Path]:
    """The folders right below a folder, by name; hidden ones and links are left out."""
    with told_as(DataError, OSError, where=path), os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "__"))]
    return [path / name for name in sorted(names)]


def files_in(path: Path) -> Iterator[Path]:
    """Every file below a folder, in a fixed order, hidden ones left out; links to folders are not followed."""
    with told_as(DataError, OSError, where=path), os.scandir(path) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if not entry.name.startswith((".", "__")))
    for name, is_folder in found:
        if is_folder:
            yield from files_in(path / name)
        elif name not in ("Thumbs.db", "desktop.ini"):
            yield path / name


def _metadata_at(folder: Path) -> list[Path]:
    found = [folder / name for name in METADATA_NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder}: holds {found[0].name} and {found[1].name}: which one counts? remove the other")
    return found
