"""predictions.jsonl -> the same as CSV or Parquet, one row a line and one column a value, a few thousand rows at a time.

The columns hang on the task alone, so that the tables of any two runs of it can be laid together. Knows nothing of models.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from ..task import Task
from .journal import replaced

ROWS = 4096  # of a row group
SUFFIXES = (".csv", ".parquet")

Cell: TypeAlias = Callable[[Mapping[str, Any]], Any]


def write_table(jsonl: Path, path: Path, task: Task) -> None:
    """Write the table that `path` ends like, whole or not at all. Raises OSError."""
    columns = columns_of(task)
    with replaced(path) as draft:
        if path.suffix.lower() == ".csv":
            _write_csv(jsonl, draft, columns)
        else:
            _write_parquet(jsonl, draft, columns)


def columns_of(task: Task) -> dict[str, tuple[Any, Cell]]:
    """Name -> (Arrow type, what the column holds of a line). A field that is called like another column gets `_value` behind its name."""
    text, number = pa.string(), pa.float64()
    columns: dict[str, tuple[Any, Cell]] = {name: (text, _at(name)) for name in ("record_id", "photo", "text")}
    last: dict[str, tuple[Any, Cell]] = {
        "problems": (text, lambda line: "; ".join(line.get("problems", ())) or None),
        "seconds": (number, _at("seconds")),
        "error_code": (text, _at("error", "code")),
        "error": (text, _at("error", "message")),
    }
    for one in task.answer_fields:
        own = {"": (number if one.kind == "number" else text, _at("values", one.name))}
        if one.kind == "number":
            own |= {"_low": (number, _at("intervals", one.name, 0)), "_high": (number, _at("intervals", one.name, 1))}
        if one.kind != "text":
            own |= {"_confidence": (number, _at("confidence", one.name)), "_abstain": (pa.bool_(), _at("abstain", one.name))}
        for ending, column in own.items():
            name = one.name + ending
            while name in columns or name in last:
                name += "_value"
            columns[name] = column
    return columns | last


def _at(*keys: Any) -> Cell:
    """What stands under these keys, None where there is nothing."""

    def cell(line: Mapping[str, Any]) -> Any:
        found: Any = line
        for key in keys:
            if found is None:
                return None
            found = found[key] if isinstance(found, list) else found.get(key)
        return found

    return cell


def _rows(jsonl: Path, columns: Mapping[str, tuple[Any, Cell]]) -> Iterator[list[Any]]:
    with jsonl.open("rb") as file:
        for line in file:
            found = json.loads(line)
            yield [_clean(cell(found)) for _, cell in columns.values()]


def _clean(value: Any) -> Any:
    """Text without halves of surrogate pairs, as names of files may have them: tables hold none."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) and not value.isascii() else value


def _write_csv(jsonl: Path, path: Path, columns: Mapping[str, tuple[Any, Cell]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in _rows(jsonl, columns):
            writer.writerow([str(one).lower() if isinstance(one, bool) else one for one in row])


def _write_parquet(jsonl: Path, path: Path, columns: Mapping[str, tuple[Any, Cell]]) -> None:
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    rows = _rows(jsonl, columns)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, ROWS)):
            arrays = [pa.array(cells, kind) for cells, kind in zip(zip(*batch, strict=True), schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
