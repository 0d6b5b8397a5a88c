"""The dataset folder: how it is written, how it is read, and what makes a folder one.

    DIR/dataset.json               format version, task, source, counts; written last and atomically: it is there, so all is there
    DIR/metadata.parquet           one row a record: the eight columns of COLUMNS, then the task's fields, then the source's other columns
                                   (of conversations, `conversation` and, at the end, `further_photos`; file_name is null for words alone)
    DIR/photos/ab/<sha256>.<ext>   named by content: exact duplicates are stored once, a name can neither collide nor escape
    DIR/rejected.jsonl             every refused row, with its reason

The names follow the Hugging Face image folder, which reads a dataset folder as it is. This module decodes no photo,
knows no source and decides no split: `photo`, `sources`, `rows` and `split` do. The table itself is written by `metadata`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DataError, SettingsError, told_as
from ..files import DRAFT, write_whole
from ..record import Record, Split, Turn, Value, read_turns
from ..task import Task
from .intake.stored import PHOTOS, store_photo
from .metadata import COLUMNS, FURTHER, UNASSIGNED, Further, Row, Tally, some, write_metadata

__all__ = [
    "COLUMNS",
    "CONVERSATION",
    "FORMAT",
    "FORMAT_OF_CONVERSATIONS",
    "LEDGER",
    "MANIFEST",
    "METADATA",
    "PHOTOS",
    "REJECTED",
    "UNASSIGNED",
    "UNFINISHED",
    "Dataset",
    "Further",
    "Rejected",
    "Row",
    "clear_folder",
    "look_into",
    "prepare_folder",
    "read_manifest",
    "store_photo",
    "write_dataset",
    "write_rejected",
    "write_table_note",
]

FORMAT, FORMAT_OF_CONVERSATIONS = 1, 2  # of a dataset.json; the second one's records may have several photos, or none
CONVERSATION = "conversation"  # the value that holds the turns of a conversation

MANIFEST, METADATA, REJECTED = "dataset.json", "metadata.parquet", "rejected.jsonl"
TABLE_NOTE = "table.json"  # in the place of dataset.json when products.csv stands alone
UNFINISHED = ".seeworth-unfinished"  # stands in the folder from its first moment until dataset.json is written; an import's ledger
LEDGER = {UNFINISHED, f"{UNFINISHED}-wal", f"{UNFINISHED}-journal"}
_OURS = {MANIFEST, METADATA, REJECTED, PHOTOS, *LEDGER, TABLE_NOTE}
_OURS |= {"products.csv", "twin.html"}  # what `seeworth sample` puts beside: the whole table, and a twin's page


@dataclass(frozen=True)
class Rejected:
    """One refused row. `row` counts from 1, the first row under the table's header; `code` is short and stable, `reason` is in words."""

    row: int
    id: str | None
    photo: str | None
    code: str
    reason: str


def prepare_folder(folder: Path, overwrite: bool) -> None:
    """Make `folder` ready to be written: there, empty, and marked as unfinished.

    With `overwrite` an earlier dataset folder, finished or not, is deleted first. Nothing else ever is: a folder that
    is no dataset folder, or one that also holds foreign files, is refused. Raises SettingsError.
    """
    look_into(folder, overwrite)
    with told_as(SettingsError, OSError, where=folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / UNFINISHED).touch()
        clear_folder(folder, {UNFINISHED})


def look_into(folder: Path, may_hold_ours: bool) -> set[str]:
    """The names in a folder that is to be written. Raises SettingsError when it holds anything, or anything but ours."""
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder}: is a file; expected a folder to make: choose another name")
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    drafts = {name for name in found if DRAFT.fullmatch(name)}
    if found and not may_hold_ours:
        raise SettingsError(f"{folder}: is there already and not empty: add --overwrite to replace it, or choose another folder")
    if found and UNFINISHED not in found and not any(_is_ours(folder / name) for name in (MANIFEST, TABLE_NOTE)):
        raise SettingsError(f"{folder}: is not a dataset folder, so --overwrite does not delete it: choose another folder")
    if strange := sorted(found - _OURS - drafts):
        raise SettingsError(f"{folder}: holds {some(strange)}, which seeworth did not write: move it away, or choose another folder")
    return found


def clear_folder(folder: Path, keep: Collection[str]) -> None:
    """Delete all that is in a dataset folder but what `keep` names. Raises OSError."""
    names = {path.name for path in folder.iterdir()} - set(keep)
    for name in sorted(names, key=lambda name: name not in (MANIFEST, TABLE_NOTE)):  # first what says "finished"
        path = folder / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def write_dataset(
    folder: Path,
    task: Task,
    rows: Iterable[Row],
    *,
    source: Mapping[str, Any],
    rejected: Iterable[Rejected] = (),
    unmark: bool = True,
    conversations: bool = False,
    turns: bool = False,
) -> None:
    """Write metadata.parquet, rejected.jsonl and, last and atomically, dataset.json.

    Args:
        folder: prepared by `prepare_folder`, with every row's photo stored by `store_photo`.
        rows: taken one by one; all have the same names in `values`, in any order.
        source: JSON-able account of where the rows come from and how they were made.
        unmark: take the mark of the unfinished folder away; an import does so itself when all is told.
        conversations: rows may have several photos, or none. turns: and are trained on the turns in their value CONVERSATION, not on
            the task's question and answer.

    A category without choices is given those found in the rows, sorted. Raises DataError when a row does not suit
    the task, an id stands twice or there is no row.
    """
    tally = Tally(task)
    columns = write_metadata(folder / METADATA, task, tally.watch(rows), further=conversations)
    if not tally.records:
        raise DataError(f"{folder}: no record to write: a dataset has at least one")
    codes = write_rejected(folder, rejected)
    categories = {name: dict(sorted(count.items())) for name, count in tally.categories.items()}
    fields = [
        replace(one, choices=tuple(categories[one.name])) if one.kind == "category" and one.choices is None else one for one in task.fields
    ]
    manifest = {
        "format": FORMAT_OF_CONVERSATIONS if conversations else FORMAT,
        **({"turns": turns} if conversations else {}),
        "seeworth": version("seeworth"),
        "records": tally.records,
        "counts": dict(tally.splits),
        "categories": categories,
        "rejected": codes,
        "task": replace(task, fields=tuple(fields)).to_dict(),
        "columns": columns,
        "source": dict(source),
        "fingerprint": _sha256(folder / METADATA),
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    if unmark:
        (folder / UNFINISHED).unlink(missing_ok=True)


def write_table_note(folder: Path, rows: int, columns: Sequence[str], source: Mapping[str, Any]) -> None:
    """Write table.json, last: `folder` holds products.csv alone, which is no dataset folder, and is finished."""
    note = {"format": FORMAT, "seeworth": version("seeworth"), "records": 0, "rows": rows, "columns": list(columns), "source": dict(source)}
    write_whole(folder / TABLE_NOTE, json.dumps(note, indent=2, ensure_ascii=False) + "\n")
    (folder / UNFINISHED).unlink(missing_ok=True)


def write_rejected(folder: Path, rejected: Iterable[Rejected]) -> dict[str, int]:
    """Write rejected.jsonl, one JSON object a line; return how many rows each code refused."""
    codes: Counter[str] = Counter()
    with (folder / REJECTED).open("w", encoding="utf-8") as file:
        for one in rejected:
            codes[one.code] += 1
            file.write(json.dumps(asdict(one), ensure_ascii=True) + "\n")  # ASCII: a cell may hold half a surrogate pair
    return dict(sorted(codes.items()))


class Dataset:
    """An opened dataset folder.

    Attributes:
        folder: where it is. task: question, answer and fields, categories with their choices. manifest: dataset.json.
        counts: records by split, with "unassigned" for those that have none.
        fingerprint: sha256 of metadata.parquet, 64 hex digits.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.task = Task.from_dict(manifest["task"], folder / MANIFEST)
        self.counts: dict[str, int] = dict(manifest["counts"])

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open a dataset folder that `write_dataset` finished, and see that its files are there.

        Raises DataError when it is no dataset folder, an unfinished one, one of a foreign format version, or one whose
        table or photos are missing. Photos are looked for by listing the folder, not opened.
        """
        dataset = cls(folder, read_manifest(folder))
        table = dataset._table(["file_name", *([FURTHER] if dataset.conversations else [])])
        names = table.column("file_name").to_pylist()
        if len(names) != (expected := dataset.manifest["records"]):
            raise DataError(f"{folder / METADATA}: holds {len(names)} records, dataset.json says {expected}: import again")
        if dataset.conversations:
            names = [name for name in names if name] + [one["file_name"] for more in table.column(FURTHER).to_pylist() for one in more]
        missing = sorted(set(names) - set(_stored(folder)))
        if missing:
            raise DataError(
                f"{folder}: {len(missing)} of the photos in {METADATA} are not there, the first is {missing[0]!r}: "
                "copy the whole folder, or import again"
            )
        return dataset

    @property
    def conversations(self) -> bool:
        """Whether records may have several photos, or none."""
        return bool(self.manifest["format"] == FORMAT_OF_CONVERSATIONS)

    @cached_property
    def fingerprint(self) -> str:
        return _sha256(self.folder / METADATA)

    def records(self, split: Split | None = None) -> list[Record]:
        """The records of one split, or with None all of them (the unassigned too), in the order of the source."""
        return list(self.stream(split))

    def stream(self, split: Split | None = None) -> Iterator[Record]:
        """The same, one at a time."""
        return (self._record(row) for row in self.rows() if split is None or row.split == split)

    def rows(self) -> Iterator[Row]:
        """Every line of metadata.parquet, values under the names they have in the task and in the source."""
        names: Mapping[str, str] = self.manifest["columns"]
        kinds = {one.name: one.kind for one in self.task.fields}
        for line in self._lines():
            values: dict[str, Value] = {}
            for column, name in names.items():
                if line[column] is not None:
                    values[name] = Decimal(repr(line[column])) if kinds.get(name) == "number" else line[column]
            of_row = {name: line[name] for name in COLUMNS}
            if self.conversations and not line["file_name"]:
                of_row |= {"file_name": "", "width": 0, "height": 0, "sha256": "", "phash": ""}
            yield Row(**of_row, values=values, further=tuple(Further(**one) for one in line.get(FURTHER) or ()))

    def _record(self, row: Row) -> Record:
        with told_as(DataError, ValueError, where=f"{self.folder}, record {row.id}"):
            turns = read_turns(str(row.values.get(CONVERSATION, ""))) if self.manifest.get("turns") else None
        photos = [self.folder / name for name in row.file_names]
        seen = [(row.width, row.height), *((one.width, one.height) for one in row.further)][: len(row.file_names)]
        sizes = tuple(seen) if all(width and height for width, height in seen) else ()
        values = row.values if turns is None else self._spoken(row.values, turns)
        return Record(row.id, photos[0] if photos else None, values, row.group, row.split, tuple(photos[1:]), turns, sizes)

    def _spoken(self, values: Mapping[str, Value], turns: Sequence[Turn]) -> Mapping[str, Value]:
        """The values with question and answer as they were said, in lines: in a column a line's end is a space."""
        said = dict(zip(("question", "answer"), turns[-2:], strict=False))  # fewer are an error that Record raises
        free = [one.name for one in self.task.fields if one.kind == "text" and one.name in said]
        return {**values, **{name: " ".join(part for part in said[name].parts if isinstance(part, str)) for name in free}}

    def _lines(self) -> Iterator[dict[str, Any]]:
        with told_as(DataError, OSError, pa.ArrowException, where=self.folder / METADATA):
            for batch in self._file(None).iter_batches(4096):
                yield from batch.to_pylist()

    def _table(self, columns: list[str] | None) -> Any:
        with told_as(DataError, OSError, pa.ArrowException, where=self.folder / METADATA):
            return self._file(columns).read(columns)  # not read_table, which loads pandas where it is installed

    def _file(self, columns: list[str] | None) -> Any:
        path = self.folder / METADATA
        with told_as(DataError, OSError, pa.ArrowException, where=path):
            expected = columns or (*COLUMNS, *self.manifest["columns"], *([FURTHER] if self.conversations else []))
            if lost := set(expected) - set(pq.read_schema(path).names):
                raise DataError(f"{path}: has no column {some(sorted(lost))}: import again")
            return pq.ParquetFile(path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """dataset.json of a finished dataset folder, its table and photos not looked at. Raises DataError, see `Dataset.open`."""
    path = folder / MANIFEST
    if not path.is_file():
        advice = "make one with `seeworth import`"
        if (folder / UNFINISHED).exists():
            advice = "it was left unfinished: make it again with --overwrite (an import goes on when its command is given again)"
        found = f"no {MANIFEST} in it" if folder.is_dir() else "a file" if folder.exists() else "nothing"
        raise DataError(f"{folder}: expected a dataset folder, found {found}: {advice}")
    with told_as(DataError, OSError, ValueError, where=path):
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    form = manifest.get("format") if isinstance(manifest, dict) else None
    if form not in (FORMAT, FORMAT_OF_CONVERSATIONS):
        known = f"{FORMAT} or {FORMAT_OF_CONVERSATIONS}"
        raise DataError(f"{path}: expected format {known}, found {form!r}: import again with this seeworth, or use the one that wrote it")
    kinds = {"task": dict, "counts": dict, "columns": dict, "records": int, "source": dict}
    if broken := [key for key, kind in kinds.items() if not isinstance(manifest.get(key), kind)]:
        raise DataError(f"{path}: has no {some(broken)}: it was changed by hand or damaged: import again")
    return manifest


def _is_ours(manifest: Path) -> bool:
    """Whether this is a dataset.json of ours, of whatever format version."""
    try:
        data = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "format" in data and "seeworth" in data and "records" in data


def _stored(folder: Path) -> Iterator[str]:
    """The file_name of every photo in the folder. Links are left out: a photo of a dataset is a file in it."""
    if not (folder / PHOTOS).is_dir():
        return
    with os.scandir(folder / PHOTOS) as shelves:
        for shelf in shelves:
            if shelf.is_dir(follow_symlinks=False):
                with os.scandir(shelf) as files:
                    yield from (f"{PHOTOS}/{shelf.name}/{file.name}" for file in files if file.is_file(follow_symlinks=False))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
