"""Where rows come from: a CSV or TSV file, or a folder of photos. Both become a table of text cells, read one row at a time.

Tells a file's encoding and delimiter. Knows nothing of tasks, of what a cell means or of how a photo is decoded; a photo
is still a cell here; `address` tells where it is.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..errors import DataError, told_as
from ..task import Field, Task
from .cells import clean_text, shown

TABLE_SUFFIXES = {".csv": None, ".txt": None, ".tsv": "\t", ".tab": "\t"}  # to the delimiter; None: found out from the header
MAX_CELL = 1_000_000  # characters; a longer one is a quote that was never closed

_SPLIT_FOLDERS = {"train", "training", "validation", "valid", "val", "dev", "test"}


@dataclass(frozen=True)
class SourceRow:
    """One row as the source has it: `number` counts from 1. When it is no proper row, `code` and `problem` say why.

    `embedded` holds the bytes of a photo that stands in the row itself, under the name of its column.
    """

    number: int
    cells: Mapping[str, str]
    code: str = ""
    problem: str = ""
    embedded: Mapping[str, bytes] = field(default_factory=dict)


class Source(Protocol):
    """A table of text cells that can be read more than once."""

    path: Path
    columns: list[str]
    photos: Path  # the folder that photo cells start from, and may not leave
    notices: list[str]  # what the reader should know of how it was read
    task: Task  # when the user gives none
    defaults: Mapping[str, str]  # role -> column, when the user maps none

    def __iter__(self) -> Iterator[SourceRow]: ...


def open_source(path: Path, photos: Path | None = None) -> Source:
    """The table behind a path: a .csv, .tsv or .txt file, or a folder with one sub-folder of photos for each class.

    `photos` is the folder that relative photo paths start from, by default the table's own. Raises DataError.
    """
    if photos is not None and not photos.is_dir():
        raise DataError(f"{photos}: expected the folder that photo paths start from, found {'a file' if photos.exists() else 'nothing'}")
    if path.is_dir():
        if (path / "dataset.json").exists():
            raise DataError(f"{path}: is a dataset folder already; expected a table or a folder of photos: train on it as it is")
        if photos is not None:
            raise DataError(f"{path}: a folder of photos holds its photos itself: leave --photos out")
        return ImageFolder(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a table or a folder, found {'something else' if path.exists() else 'nothing'}")
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(f"{path}: expected a {', '.join(TABLE_SUFFIXES)} file or a folder of photos: save the table as .csv")
    return CsvTable(path, photos or path.parent)


class CsvTable:
    """A CSV or TSV file: quotes, line breaks in cells, UTF-8 with or without BOM, UTF-16, else Windows-1252 with a notice."""

    task = Task()
    defaults: Mapping[str, str] = {}

    def __init__(self, path: Path, photos: Path) -> None:
        self.path = path
        self.photos = photos
        self.notices: list[str] = []
        self.encoding = self._encoding()
        self.delimiter = TABLE_SUFFIXES[path.suffix.lower()] or self._delimiter()
        self.columns = self._header()

    def __iter__(self) -> Iterator[SourceRow]:
        rows = self._cells(self.delimiter)
        next(rows)
        for number, (start, end, cells) in enumerate(rows, 1):
            code, problem = "", ""
            if len(cells) != len(self.columns):
                code = "row_shape"
                problem = f"expected {len(self.columns)} cells as in the header, found {len(cells)}"
                if end > start:
                    problem += f" (lines {start} to {end} read as one row: is a quote left open?)"
            yield SourceRow(number, dict(zip(self.columns, cells, strict=False)), code, problem)

    def _cells(self, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
        """(first line, last line, cells) of each row that is not blank, the header too."""
        csv.field_size_limit(MAX_CELL)
        with self.path.open(encoding=self.encoding, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            start = 1
            try:
                for cells in reader:
                    if cells:
                        yield start, reader.line_num, cells
                    start = reader.line_num + 1
            except csv.Error as problem:
                raise DataError(f"{self.path}, from line {start} on: {problem}: is a quote left open?") from problem

    def _encoding(self) -> str:
        with told_as(DataError, OSError, where=self.path), self.path.open("rb") as file:
            start = file.read(4096)
        if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
            raise DataError(f"{self.path}: expected text, found a spreadsheet or an archive: save the table as CSV")
        encodings = ("utf-16",) if start.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252", "latin-1")
        if b"\0" in start and encodings != ("utf-16",):
            raise DataError(f"{self.path}: expected text, found binary data: save the table as CSV in UTF-8")
        for encoding in encodings:
            try:
                with self.path.open(encoding=encoding, newline="") as file:
                    while file.read(1 << 20):
                        pass
            except UnicodeError:
                continue
            if encoding in ("cp1252", "latin-1"):
                self.notices.append("the table is not UTF-8; it was read as Windows-1252 (latin-1): check its accents and currency signs")
            return encoding
        raise DataError(f"{self.path}: its text is damaged: save the table as CSV in UTF-8")

    def _delimiter(self) -> str:
        """The one of , ; tab that gives the header most cells."""
        return max(",;\t", key=lambda mark: len(next(self._cells(mark), (0, 0, []))[2]))

    def _header(self) -> list[str]:
        header = next(self._cells(self.delimiter), None)
        if header is None:
            raise DataError(f"{self.path}: is empty; expected a header line with the names of the columns")
        columns = [clean_text(name) or f"column_{place}" for place, name in enumerate(header[2], 1)]
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            raise DataError(f"{self.path}: the header names {shown(twice[0])} twice: rename one of them")
        return columns


class ImageFolder:
    """A folder with one sub-folder of photos for each class, or train/, validation/ and test/ with the classes below.

    Its columns are file_name, category (the class folder's name) and, when the first level is all splits, split.
    Hidden files are left out; any other file is a row, so that what is no photo is told, not lost.
    """

    task = Task(answer="Category: {category}", fields=(Field("category", "category"),))

    def __init__(self, path: Path) -> None:
        self.path = path
        self.photos = path
        self.notices: list[str] = []
        folders = _folders(path)
        if not folders:
            raise DataError(f"{path}: expected one sub-folder of photos for each class, found none")
        self.has_splits = all(folder.name.lower() in _SPLIT_FOLDERS for folder in folders)
        self.columns = ["file_name", "category", *(["split"] if self.has_splits else [])]
        self.defaults: Mapping[str, str] = {"id": "file_name"} | ({"split": "split"} if self.has_splits else {})

    def __iter__(self) -> Iterator[SourceRow]:
        for number, file in enumerate(_files(self.path), 1):
            split, *parts = file.relative_to(self.path).parts if self.has_splits else ("", *file.relative_to(self.path).parts)
            cells = {"file_name": file.relative_to(self.path).as_posix(), "category": parts[0] if len(parts) > 1 else "", "split": split}
            code, problem = ("", "") if len(parts) > 1 else ("no_class", "the file stands in no class folder")
            yield SourceRow(number, {name: cells[name] for name in self.columns}, code, problem)


def _folders(path: Path) -> list[Path]:
    with told_as(DataError, OSError, where=path), os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "__"))]
    return [path / name for name in sorted(names)]


def _files(path: Path) -> Iterator[Path]:
    """Every file below a folder, in a fixed order, hidden ones left out; links to folders are not followed."""
    with told_as(DataError, OSError, where=path), os.scandir(path) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if not entry.name.startswith((".", "__")))
    for name, is_folder in found:
        if is_folder:
            yield from _files(path / name)
        elif name not in ("Thumbs.db", "desktop.ini"):
            yield path / name
