"""Several files as one table: shards, splits, and the folders that Hugging Face data sets come in.

Which files belong to it, the README's `configs`, `data/` or the folder itself say; which split a file holds, its name says
(`train-00000-of-00002.parquet`, `data/test.csv`). Knows nothing of how a file is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import yaml

from ...errors import DataError
from .folder import PHOTO_SUFFIXES, files_in
from .jsonl import JSON_SUFFIXES
from .parquet import ARROW_SUFFIXES, PARQUET_SUFFIXES
from .source import SPLIT_WORDS, Source, SourceRow
from .table import DELIMITERS
from .text import format_of

_ACCOUNTS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "dataset.json"}  # of a set, not its rows
_TABLES = (DELIMITERS.keys() - {".txt"}) | JSON_SUFFIXES | PARQUET_SUFFIXES | ARROW_SUFFIXES
_README_BYTES = 2**20
_LOOKED_AT = 20  # rows


class Shards:
    """Tables of the same columns, one after the other.

    When each file says its split, and they say two or more, `split` is a column of the table, and the split it is read with.
    """

    def __init__(self, path: Path, tables: Sequence[Source], splits: Sequence[str], notices: Sequence[str] = ()) -> None:
        first = tables[0]
        self.path = path
        self.photos = first.photos
        self.task = first.task
        self.max_text = min(table.max_text for table in tables)
        self.conversations = all(table.conversations for table in tables)
        self.columns = list(first.columns)
        self._tables = tables
        self._notices = list(notices)
        self._splits = splits if len(set(splits)) > 1 and all(splits) else []
        if any(splits) and not all(splits):
            self._notices.append(f"{tables[splits.index('')].path.name} says no split, others do: their splits were not used")
        for table in tables[1:]:
            if format_of(table.path) in JSON_SUFFIXES:
                self.columns += [name for name in table.columns if name not in self.columns]
            elif set(table.columns) != set(first.columns):
                strange = sorted(set(table.columns) ^ set(first.columns))[0]
                raise DataError(f"{path}: {table.path.name} and {first.path.name} have other columns, e.g. {strange!r}: import one of them")
        self._split = "file_split" if "split" in self.columns else "split"
        if self._splits:
            self.columns.append(self._split)
        own_ids = all(table.defaults.get("id", "id") for table in tables)
        self.defaults: Mapping[str, str] = (
            dict(first.defaults) | ({} if own_ids else {"id": ""}) | ({"split": self._split} if self._splits else {})
        )

    @property
    def notices(self) -> list[str]:
        return [*self._notices, *(self._named(table) + notice for table in self._tables for notice in table.notices)]

    def __iter__(self) -> Iterator[SourceRow]:
        return self._rows(lambda table: iter(table), self.columns)

    def only(self, columns: Collection[str]) -> Iterator[SourceRow]:
        return self._rows(lambda table: table.only(columns), [name for name in self.columns if name in columns])

    def _rows(self, rows_of: Callable[[Source], Iterator[SourceRow]], columns: Sequence[str]) -> Iterator[SourceRow]:
        number = 0
        for place, table in enumerate(self._tables):
            empty = dict.fromkeys(columns, "")
            if self._splits:
                empty[self._split] = self._splits[place]
            for row in rows_of(table):
                number += 1
                problem = self._named(table) + row.problem
                cells = row.cells if row.code else {**empty, **row.cells}
                yield replace(row, number=number, cells=cells, problem=problem)

    def _named(self, table: Source) -> str:
        """How words on one of several tables begin."""
        return f"{table.path.name}: " if len(self._tables) > 1 else ""


def data_files(folder: Path) -> list[tuple[Path, str]]:
    """(file, its split or "") of the table files of a folder, [] when it is no folder of tables.

    Raises DataError when it cannot be told which of its tables are meant.
    """
    if declared := _declared(folder):
        return declared
    files = [file for file in files_in(folder) if is_table(file)]
    if not files:
        return []
    if strange := [file for file in files if not file.is_file()]:  # a FIFO would be waited for without end
        raise DataError(f"{strange[0]}: expected a table, found no regular file: remove it")
    kinds = sorted({format_of(file) for file in files})
    if len(kinds) > 1:
        raise DataError(f"{folder}: holds {kinds[0]} and {kinds[1]} tables: import one of them, or a folder that holds one kind")
    return [(file, split_in(file.relative_to(folder).as_posix())) for file in files]


def need_its_photos(source: Source, folder: Path) -> None:
    """Raise DataError when a folder holds photos, and a table of text whose first rows name none of them: either may be meant."""
    is_text = any(format_of(file) not in PARQUET_SUFFIXES | ARROW_SUFFIXES for file, _ in data_files(folder))
    if not is_text or not any(file.suffix.lower() in PHOTO_SUFFIXES for file in files_in(folder)):
        return
    for row in islice(source, _LOOKED_AT):
        for cell in row.cells.values():
            if PurePath(cell.strip()).suffix.lower() in PHOTO_SUFFIXES and _is_file(source.photos, cell.strip()):
                return
    raise DataError(
        f"{folder}: holds photos, and a table that names none of them, {data_files(folder)[0][0].relative_to(folder)}: which is meant? "
        "Import the table itself, or leave --photos out and move the table away"
    )


def _is_file(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):
        return False


def is_table(path: PurePath) -> bool:
    """Whether a file in a folder is a table, by its name; what only describes a data set is none."""
    return format_of(path) in _TABLES and path.name not in _ACCOUNTS


def split_in(name: str) -> str:
    """The split that a file's path says, "" when it says none: `data/train-00000-of-00002.parquet`, `test/a.csv`."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_WORDS]
    return words[-1] if words else ""


def _declared(folder: Path) -> list[tuple[Path, str]]:
    """The files that the README's `configs` name, as Hugging Face data sets do; [] when it names none."""
    configs = [one for one in _front_matter(folder / "README.md").get("configs") or [] if isinstance(one, dict) and one.get("data_files")]
    chosen = [one for one in configs if one.get("default") is True or one.get("config_name") == "default"] or configs
    if len(chosen) > 1:
        names = ", ".join(str(one.get("config_name")) for one in chosen[:20])
        raise DataError(f"{folder}: its README names {len(chosen)} subsets, {names}: which one is meant? Import its folder or its file")
    found: list[tuple[Path, str]] = []
    for split, pattern in _patterns(chosen[0]["data_files"]) if chosen else []:
        if pattern.startswith("/") or ".." in Path(pattern).parts or "://" in pattern:
            raise DataError(f"{folder}/README.md: data_files names {pattern!r}, which leaves the folder")
        found += [(file, split_in(split)) for file in sorted(folder.glob(pattern)) if file.is_file() and is_table(file)]
    if chosen and not found:
        raise DataError(f"{folder}: its README names data files that are not there: fetch the whole data set")
    return found


def _patterns(declared: Any) -> Iterator[tuple[str, str]]:
    """(split, pattern) pairs of `data_files` in its four forms: text, list of text, list of {split, path}, {split: path}."""
    if isinstance(declared, dict):
        declared = [{"split": split, "path": path} for split, path in declared.items()]
    for one in declared if isinstance(declared, list) else [declared]:
        split, paths = (str(one.get("split") or ""), one.get("path")) if isinstance(one, dict) else ("", one)
        for path in paths if isinstance(paths, list) else [paths]:
            if isinstance(path, str) and path:
                yield split, path


def _front_matter(readme: Path) -> dict[str, Any]:
    """The YAML at the top of a README.md, {} when there is none."""
    if not readme.is_file():
        return {}
    try:
        with readme.open("rb") as file:
            text = file.read(_README_BYTES).decode("utf-8", errors="replace")
        top = re.match(r"---\r?\n(.*?)\n---", text, re.DOTALL)
        data = yaml.safe_load(top[1]) if top else None
    except (OSError, yaml.YAMLError, RecursionError, ValueError):
        return {}
    return data if isinstance(data, dict) and isinstance(data.get("configs"), list) else {}
