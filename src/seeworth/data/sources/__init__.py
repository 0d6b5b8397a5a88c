"""Where rows come from. Whatever the source, it becomes a table of text cells, streamed, one row at a time.

    source         the row and the protocol            columnar       Arrow columns -> cells and photos
    text           encodings, .gz                      conversations  LLaVA and chat messages
    table          CSV, TSV                            folder         class folders, or photos with a metadata table
    jsonl          JSONL, arrays of objects            shards         several files as one table; Hugging Face folders
    parquet        Parquet, Arrow                      hub            a Hugging Face data set by name

`open_source` tells which of them a path or a name is. A photo is still a cell here; `address` tells where it is. Nothing
here knows of tasks, of what a cell means or of how a photo is decoded.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError, told_as
from ..rows.cells import shown
from .columnar import holds_photos
from .conversations import ConversationTable, turns_key
from .folder import ImageFolder, PhotoTable, metadata_in, unnamed_photos
from .hub import fetch, hub_name
from .jsonl import JSON_SUFFIXES, JsonObjects, JsonTable, first_objects
from .parquet import ARROW_SUFFIXES, PARQUET_SUFFIXES, ColumnFile, ColumnObjects, ColumnTable
from .shards import Shards, data_files, need_its_photos, split_in
from .source import MAX_CELL, Source, SourceRow
from .table import DELIMITERS, CsvTable
from .text import format_of

__all__ = ["MAX_CELL", "ConversationTable", "CsvTable", "ImageFolder", "JsonTable", "Shards", "Source", "SourceRow", "open_source"]

SUFFIXES = (*DELIMITERS, *sorted(JSON_SUFFIXES), *sorted(PARQUET_SUFFIXES), *sorted(ARROW_SUFFIXES))


def open_source(path: Path | str, photos: Path | None = None) -> Source:
    """The table behind a path, or behind the name of a Hugging Face data set (owner/name, hf://datasets/...).

    `photos` is the folder that relative photo paths start from, by default the table's own. Raises DataError.
    """
    if photos is not None and not photos.is_dir():
        raise DataError(f"{photos}: expected the folder that photo paths start from, found {'a file' if photos.exists() else 'nothing'}")
    place = Path(path)
    with told_as(DataError, OSError, ValueError, where=shown(str(path))):
        there = place.exists()
    if not there:
        return _from_hub(str(path), photos)
    if place.is_dir():
        return _open_folder(place, photos)
    if not place.is_file():
        raise DataError(f"{path}: expected a table or a folder, found something else")
    return _open_file(place, photos or place.parent)


def _from_hub(text: str, photos: Path | None) -> Source:
    name = hub_name(text)
    if name is None:
        raise DataError(f"{text}: expected a table, a folder, or a Hugging Face data set as owner/name, found nothing")
    place, notice = fetch(name)
    return Shards(place, [open_source(place, photos)], [""], [notice])


def _open_file(path: Path, photos: Path) -> Source:
    form = format_of(path)
    if form in DELIMITERS:
        return CsvTable(path, photos)
    if form in JSON_SUFFIXES:
        return _open_json(path, photos)
    if path.suffix.lower() in PARQUET_SUFFIXES | ARROW_SUFFIXES:
        return _open_columns(path, photos)
    raise DataError(f"{path}: expected a {', '.join(SUFFIXES)} file or a folder of photos: save the table as .csv")


def _open_json(path: Path, photos: Path) -> Source:
    objects = JsonObjects(path)
    first = first_objects(objects)
    if key := turns_key(first):
        return ConversationTable(objects, key, photos)
    if not first and next(iter(objects), None):
        raise DataError(f"{path}: expected one JSON object a line, or one array of objects: none of its first 100 lines is an object")
    return JsonTable(objects, photos)


def _open_columns(path: Path, photos: Path) -> Source:
    file = ColumnFile(path)
    objects = ColumnObjects(file)
    nested = [one.name for one in file.schema if not holds_photos(one.type)]
    key = turns_key(first_objects(objects.some(nested)))
    return ConversationTable(objects, key, photos) if key else ColumnTable(file, photos)


def _open_folder(path: Path, photos: Path | None) -> Source:
    if (path / "dataset.json").exists():
        raise DataError(f"{path}: is a dataset folder already; expected a table or a folder of photos: train on it as it is")
    if metadata := metadata_in(path):
        _no_photos(path, photos)
        named = [PhotoTable(_open_file(file, path), path) for file in metadata]
        splits = [split_in(file.relative_to(path).as_posix()) for file in metadata]
        return Shards(path, named, splits, unnamed_photos(path, named))
    if files := data_files(path):
        tables = [_open_file(file, photos or path) for file, _ in files]
        shards = Shards(path, tables, [split for _, split in files])
        need_its_photos(shards, path)
        return shards
    _no_photos(path, photos)
    return ImageFolder(path)


def _no_photos(path: Path, photos: Path | None) -> None:
    if photos is not None:
        raise DataError(f"{path}: a folder of photos holds its photos itself: leave --photos out")
