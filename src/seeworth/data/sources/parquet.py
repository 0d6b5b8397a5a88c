"""Parquet and Arrow files, read a batch at a time: numbers, dates, nested columns, and photos that stand in the table.

`ColumnFile` opens one of either kind; `ColumnTable` makes rows of cells of it, as `columnar` says. Knows nothing of tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from ...errors import DataError, told_as
from ...task import Task
from .columnar import class_names, holds_photos, is_words, rows_of
from .jsonl import Literal
from .source import MAX_TEXT, BadCell, SourceRow, column_names

PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
ARROW_SUFFIXES = frozenset({".arrow", ".feather"})

_ROWS = 1024  # in a batch of cells alone
_PHOTO_ROWS = 64  # in a batch that holds photos


class ColumnFile:
    """A Parquet or Arrow file as record batches; `columns` are its columns' names, cleaned, as `schema` has them in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_arrow = path.suffix.lower() in ARROW_SUFFIXES
        self._words: list[str] = []
        _need_whole(path)
        with self.opened() as file:
            self.schema = file.schema if self.is_arrow else file.schema_arrow
            # read as dictionaries: a value of 100 MB that the file holds once, for a million rows, is in memory once too
            self._words = [one.name for one in self.schema if is_words(one.type)]
        self.columns = column_names(self.schema.names, path)
        if len(set(self.schema.names)) < len(self.columns):
            raise DataError(f"{path}: two of its columns have no name: name them")

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Record batches with these columns, with None all. Raises DataError where the file is damaged."""
        wanted = self.schema.names if columns is None else list(columns)
        size = _PHOTO_ROWS if any(holds_photos(self.schema.field(name).type) for name in wanted) else _ROWS
        with self.opened() as file:
            yield from _arrow_batches(file, wanted) if self.is_arrow else file.iter_batches(size, columns=wanted, use_threads=False)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        kind = "Arrow" if self.is_arrow else "Parquet"
        with told_as(DataError, OSError, pa.ArrowException, ValueError, where=f"{self.path}: expected a whole {kind} file"):
            if not self.is_arrow:
                with pq.ParquetFile(self.path, pre_buffer=False, read_dictionary=self._words) as file:
                    yield file
                return
            with pa.memory_map(str(self.path)) as memory, _arrow_reader(memory) as file:
                yield file


class ColumnTable:
    """The rows of a ColumnFile. Hugging Face class labels are given their names."""

    task = Task()
    defaults: Mapping[str, str] = {}
    max_text = MAX_TEXT
    conversations = False

    def __init__(self, file: ColumnFile, photos: Path) -> None:
        self.path = file.path
        self.photos = photos
        self._file = file
        self._several: Counter[str] = Counter()
        self.columns = file.columns
        self._names = dict(zip(file.schema.names, file.columns, strict=True))
        self._classes = class_names(file.schema)

    @property
    def notices(self) -> list[str]:
        found = {name: count for name, count in self._several.items() if count}
        return [f"{count} rows hold several photos in column {name}: the first of each was taken" for name, count in found.items()]

    def __iter__(self) -> Iterator[SourceRow]:
        return self._rows(self._names)

    def only(self, columns: Collection[str]) -> Iterator[SourceRow]:
        return self._rows({name: column for name, column in self._names.items() if column in columns})

    def _rows(self, names: Mapping[str, str]) -> Iterator[SourceRow]:
        start = 1
        several: Counter[str] = Counter()
        for batch in self._file.batches(list(names)):
            yield from rows_of(batch, start, names, self._classes, several)
            start += batch.num_rows
        self._several |= several


class ColumnObjects:
    """The rows of a ColumnFile as nested Python values, as `conversations` reads them."""

    def __init__(self, file: ColumnFile) -> None:
        self.path = file.path
        self._file = file

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any] | BadCell]]:
        return self.some(None)

    def keys(self) -> list[str]:
        return list(self._file.schema.names)

    def some(self, columns: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any] | BadCell]]:
        """The rows with these columns alone."""
        number = 0
        for batch in self._file.batches(columns):
            for place in range(batch.num_rows):
                number += 1
                try:
                    yield number, _literal(batch.slice(place, 1).to_pylist()[0])
                except (ValueError, RecursionError):
                    yield number, BadCell("row_unreadable", "its text is not UTF-8, or nested too deeply")


def _literal(row: dict[str, Any]) -> dict[str, Any]:
    """Numbers at the top as the objects of a JSON file have them."""
    return {key: Literal(one) if isinstance(one, int | float) and not isinstance(one, bool) else one for key, one in row.items()}


def _arrow_batches(file: Any, wanted: list[str]) -> Iterator[Any]:
    batches = file if hasattr(file, "read_next_batch") else (file.get_batch(place) for place in range(file.num_record_batches))
    for batch in batches:
        batch.validate()
        yield batch.select(wanted)


def _arrow_reader(memory: Any) -> Any:
    """save_to_disk writes streams, others write files."""
    try:
        return pa.ipc.open_file(memory)
    except pa.ArrowInvalid:
        memory.seek(0)
        return pa.ipc.open_stream(memory)


def _need_whole(path: Path) -> None:
    with told_as(DataError, OSError, where=path), path.open("rb") as file:
        start = file.read(24)
    if start.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`")
