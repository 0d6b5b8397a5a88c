"""metadata.parquet: what a row of it is, how its columns are named, and what is checked and counted while it is written.

Knows nothing of the folder round it; `dataset` writes and reads that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DataError, TaskError
from ..record import SPLITS, Split, Value
from ..task import Field, Task, valid_value

COLUMNS = ("id", "file_name", "group", "split", "width", "height", "sha256", "phash")
FURTHER = "further_photos"  # a column of conversations alone: what their photos after the first are
UNASSIGNED = "unassigned"  # how records without a split are counted

_BATCH = 4096  # rows held in memory while the table is written
_OF_PHOTO = ("file_name", "width", "height", "sha256", "phash")


@dataclass(frozen=True)
class Further:
    """A photo of a conversation after its first one; `source` is its URL, "" where it came from none. The rest is as in `Row`."""

    file_name: str
    width: int
    height: int
    sha256: str
    phash: str
    source: str = ""


@dataclass(frozen=True)
class Row:
    """One line of metadata.parquet.

    Args:
        file_name: path of the photo from the dataset folder, as `store_photo` returned it; "" for words alone, null in the file.
        width, height: of the photo as it is seen, in pixels.
        sha256: of the stored file. phash: 16 hex digits, see `look.phash`.
        values: every field of the task (Decimal for a number, str else), then any other column as str.
        further: the photos after the first, of a conversation that has several.
    """

    id: str
    file_name: str
    group: str
    split: Split | None
    width: int
    height: int
    sha256: str
    phash: str
    values: Mapping[str, Value]
    further: tuple[Further, ...] = ()

    @property
    def file_names(self) -> tuple[str, ...]:
        """Of all photos, in their order."""
        return (self.file_name, *(one.file_name for one in self.further)) if self.file_name else ()


_KIND_OF_FURTHER = pa.struct([(one.name, pa.int64() if one.name in ("width", "height") else pa.string()) for one in fields(Further)])


class Tally:
    """Counts and checks rows as they pass: `records` in all, `splits` by split, `categories` by field and value."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.records = 0
        self.splits: Counter[str] = Counter(dict.fromkeys((*SPLITS, UNASSIGNED), 0))
        self.categories: dict[str, Counter[str]] = {one.name: Counter() for one in task.fields if one.kind == "category"}
        self._ids: set[str] = set()

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows as they are. Raises DataError when an id stands twice or a value does not suit the task."""
        for row in rows:
            if row.id in self._ids:
                raise DataError(f"record {row.id!r} stands twice: an id names one record")
            self._ids.add(row.id)
            for one in self.task.fields:
                self._check(row, one)
            self.records += 1
            self.splits[row.split or UNASSIGNED] += 1
            for name, count in self.categories.items():
                count[str(row.values[name])] += 1
            yield row

    @staticmethod
    def _check(row: Row, one: Field) -> None:
        if one.name not in row.values:
            raise DataError(f"record {row.id!r}: has no {one.name}: every record has every field of the task")
        try:
            valid_value(one, row.values[one.name])
        except TaskError as problem:
            raise DataError(f"record {row.id!r}: {problem}") from problem


def write_metadata(path: Path, task: Task, rows: Iterator[Row], *, further: bool = False) -> dict[str, str]:
    """Write the table, a batch at a time; return which column holds which value, {} when there is no row.

    `further`: write the column FURTHER too, the last one.
    """
    first = next(rows, None)
    if first is None:
        return {}
    asked = [one.name for one in task.fields]
    names = [*asked, *(name for name in first.values if name not in asked)]
    columns = _column_names(names)
    numbers = {one.name for one in task.fields if one.kind == "number"}
    kinds = {name: pa.int64() if name in ("width", "height") else pa.string() for name in COLUMNS}
    kinds |= {column: pa.float64() if name in numbers else pa.string() for column, name in columns.items()}
    if further:
        kinds[FURTHER] = pa.list_(_KIND_OF_FURTHER)
    with pq.ParquetWriter(path, pa.schema(list(kinds.items())), compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in chain([first], rows):
            if strange := row.values.keys() - names:
                raise DataError(f"record {row.id!r}: has {some(sorted(strange))}, which the first record has not")
            line: dict[str, Any] = {name: getattr(row, name) for name in COLUMNS}
            if not row.file_name:
                line |= dict.fromkeys(_OF_PHOTO)
            if further:
                line[FURTHER] = [asdict(one) for one in row.further]
            for column, name in columns.items():
                value = row.values.get(name)
                line[column] = None if value is None else float(value) if name in numbers else str(value)
            batch.append(line)
            if len(batch) == _BATCH:
                writer.write_table(_table(batch, writer.schema))
                batch.clear()
        writer.write_table(_table(batch, writer.schema))
    return columns


def _table(lines: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """The same as Table.from_pylist, which loads pandas where it is installed: a quarter of a second, for nothing."""
    columns = []
    for one in schema:
        cells = [line[one.name] for line in lines]
        if one.type == pa.string():
            builder = pa.lib.StringBuilder()
            builder.append_values(cells)
            columns.append(builder.finish())
        elif pa.types.is_list(one.type):
            columns.append(pa.array(cells, one.type))
        else:
            there = np.array([cell is not None for cell in cells], dtype=np.bool_)
            values = np.array([0 if cell is None else cell for cell in cells], dtype=one.type.to_pandas_dtype())
            parts = [pa.py_buffer(np.packbits(there, bitorder="little")), pa.py_buffer(values)]
            columns.append(pa.Array.from_buffers(one.type, len(cells), parts))
    return pa.Table.from_arrays(columns, schema=schema)


def _column_names(names: Iterable[str]) -> dict[str, str]:
    """Column of metadata.parquet -> name of the value it holds.

    They are the same, but for a name that stands among the first eight columns, which gets `source_` before it, and
    for one that the Hugging Face image folder would take for a photo ("image", "..._file_name"), which is changed too.
    """
    columns: dict[str, str] = {}
    for name in names:
        column = re.sub(r"file_names?$", "file", name)
        if column != name or name in (*COLUMNS, FURTHER, "image", "images"):
            column = f"source_{column}"
        while column in columns or column in COLUMNS:
            column = f"source_{column}"
        columns[column] = name
    return columns


def some(names: list[str]) -> str:
    """The first three names, quoted, and how many more there are."""
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
