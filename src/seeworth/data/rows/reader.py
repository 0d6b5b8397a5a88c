"""From a source's row of cells to a draft of a record, or to the reason why it is refused.

Which column holds what is decided once (`columns`); then `RowReader.read` takes one row after the other. Knows
nothing of photos other than where one should lie, nor of groups and splits beyond the words in their cells.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...errors import PhotoError, TaskError
from ...record import Split, Value
from ...task import Field, Task, valid_value
from ..dataset import Rejected
from ..sources import Source, SourceRow
from .address import Address, EmbeddedPhoto, Home, LocalPhoto
from .cells import CellError, NumberFormat, clean_text, is_blank, shown
from .columns import Columns
from .photocell import first_photo

__all__ = ["Columns", "Draft", "RowReader", "Seen"]

MAX_CATEGORY = 300  # characters

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Draft:
    """A row whose cells are good: a Row but for its photos, its final group and, when the source has none, its split."""

    number: int
    id: str
    photo: Address | None  # None in a conversation of words alone
    photo_cell: str
    group: str  # "" when the row names none
    split: Split | None
    values: Mapping[str, Value]
    further: tuple[Address, ...] = ()

    @property
    def photos(self) -> tuple[Address, ...]:
        """All photos, in their order."""
        return () if self.photo is None else (self.photo, *self.further)


class RowReader:
    """Reads rows of one source with one task; `fields` are those of the task's that are read, all when left out."""

    def __init__(self, source: Source, task: Task, columns: Columns, fields: Iterable[Field] | None = None) -> None:
        self.task = task
        self.fields = task.fields if fields is None else tuple(fields)
        self.columns = columns
        self.home = Home(source.photos)
        self.formats = {one.name: self._format(source, columns.fields[one.name]) for one in self.fields if one.kind == "number"}
        self.max_text = source.max_text
        self._others = _others(source.columns, columns)
        self._several = 0  # rows whose cell names several photos
        self._last = 0  # the last row that was looked at for that: rows may be read twice

    @property
    def notices(self) -> list[str]:
        """What the reader should know of how cells were read; complete once all rows have been read."""
        words = [words for name, form in self.formats.items() if (words := form.notice(self.columns.fields[name]))]
        if self._several:
            words.append(f"{self._several} cells of column {self.columns.photo} name several photos: the first of each was taken")
        return words

    def read(self, row: SourceRow) -> Draft | Rejected:
        """A draft, or why there is none; the codes are listed in docs/data.md."""
        name = clean_text(row.cells.get(self.columns.id, "")) if self.columns.id else str(row.number)
        cell = row.cells.get(self.columns.photo, "")
        try:
            if row.code:
                raise CellError(row.code, row.problem)
            if not name:
                raise CellError("id_missing", f"expected an id in column {self.columns.id}, found an empty cell")
            values: dict[str, Value] = {one.name: self._value(one, row) for one in self.fields}
            values |= {other: clean_text(row.cells[column]) for column, other in self._others.items()}
            group = clean_text(row.cells[self.columns.group]) if self.columns.group else ""
            photo = None if row.photoless else self._address(row, cell)
            further = tuple(EmbeddedPhoto(data) if data is not None else self.home.address_of(one) for one, data in row.further)
            return Draft(row.number, name, photo, cell, group, self._split(row), values, further)
        except CellError as problem:
            return Rejected(row.number, name or None, _short(cell), problem.code, problem.words)
        except PhotoError as problem:
            return Rejected(row.number, name, _short(cell), problem.code, str(problem))

    def _value(self, one: Field, row: SourceRow) -> Value:
        column = self.columns.fields[one.name]
        value: Value
        try:
            value = self._number(one, row) if one.kind == "number" else self._text(one, row.cells[column])
        except CellError as problem:
            raise CellError(problem.code, f"{column}: {problem.words}") from problem
        try:
            return valid_value(one, value)
        except TaskError as problem:
            code = "number_too_long" if one.kind == "number" else "category_unknown"
            raise CellError(code, f"{column}: {problem}") from problem

    def _text(self, one: Field, cell: str) -> str:
        text = clean_text(cell)
        if is_blank(text):
            raise CellError(f"{one.kind}_missing", f"expected words, found {shown(cell)}")
        most = self.max_text if one.kind == "text" else MAX_CATEGORY
        if len(text) > most:
            raise CellError(f"{one.kind}_too_long", f"{len(text)} characters, expected at most {most}: {shown(text)}")
        return text

    def _number(self, one: Field, row: SourceRow) -> Value:
        """The number; one with a unit is an amount, so that zero and negative ones are mistakes, and its currency must be right."""
        column = self.columns.fields[one.name]
        number = self.formats[one.name].read(row.cells[column], one.unit)
        if one.unit is None:
            return number
        if number <= 0:
            code = "number_negative" if number < 0 else "number_zero"
            raise CellError(code, f"expected more than 0 {one.unit}, found {shown(row.cells[column])}")
        currency = clean_text(row.cells[self.columns.currency]) if self.columns.currency else ""
        says_its_own = column.lower().endswith("_" + one.unit.lower())  # full_price_eur holds EUR, whatever currency_code is
        if currency and currency.upper() != one.unit.upper() and not says_its_own:
            raise CellError("unit_differs", f"expected {one.unit}, found {shown(currency)} in column {self.columns.currency}")
        return number

    def _address(self, row: SourceRow, cell: str) -> Address:
        embedded = row.embedded.get(self.columns.photo)
        if embedded is not None:
            return EmbeddedPhoto(embedded)
        first, count = first_photo(cell)
        if count > 1 and self._is_file(cell):  # a name with a comma in it
            return self.home.address_of(cell)
        self._several += count > 1 and row.number > self._last
        self._last = max(self._last, row.number)
        return self.home.address_of(first)

    def _is_file(self, cell: str) -> bool:
        try:
            whole = self.home.address_of(cell)
        except PhotoError:
            return False
        return isinstance(whole, LocalPhoto) and whole.path.is_file()

    def _split(self, row: SourceRow) -> Split | None:
        if not self.columns.split or not (word := clean_text(row.cells[self.columns.split])):
            return None
        if word.lower() not in _SPLITS:
            raise CellError("split_unknown", f"expected train, validation or test in column {self.columns.split}, found {shown(word)}")
        return _SPLITS[word.lower()]

    @staticmethod
    def _format(source: Source, column: str) -> NumberFormat:
        return NumberFormat.of(row.cells.get(column, "") for row in source.only([column]) if not row.code)


class Seen:
    """Which rows were kept: no id twice, no row twice. Takes 24 to 48 bytes of memory a row."""

    def __init__(self) -> None:
        self._ids = _Numbers()
        self._rows = _Numbers()

    def take(self, draft: Draft, sha256: str) -> tuple[str, str] | None:
        """Remember a row and return None; or return the code and the words for refusing it, and forget it.

        `sha256` is that of its photo, of several one after the other. duplicate_row: every cell and the photo are those of an
        earlier row (where no column is the id, its number counts for nothing). duplicate_id: an earlier row has the id, with other
        cells or another photo.
        """
        cells = sorted((name, str(value)) for name, value in draft.values.items())
        row = _digest(repr((cells, draft.photo_cell, draft.group, draft.split, sha256)))
        if before := self._rows.get(row):
            return "duplicate_row", f"row {before} is the same in every cell and in its photo"
        name = _digest(draft.id)
        if before := self._ids.get(name):
            return "duplicate_id", f"row {before} has the id {shown(draft.id)} already"
        self._rows.put(row, draft.number)
        self._ids.put(name, draft.number)
        return None


class _Numbers:
    """A map from 64-bit digests to row numbers above 0, as two arrays with open addressing: a tenth of a dict's memory."""

    def __init__(self) -> None:
        self._count = 0
        self._keys, self._rows = array("Q", bytes(8 * 1024)), array("L", bytes(array("L").itemsize * 1024))

    def get(self, key: int) -> int:
        return self._rows[self._place(key)]

    def put(self, key: int, row: int) -> None:
        place = self._place(key)
        self._keys[place], self._rows[place] = key, row
        self._count += 1
        if 2 * self._count > len(self._keys):
            old = [(key, row) for key, row in zip(self._keys, self._rows, strict=True) if row]
            self._keys, self._rows = array("Q", bytes(16 * len(self._keys))), array("L", bytes(2 * self._rows.itemsize * len(self._rows)))
            for key, row in old:
                place = self._place(key)
                self._keys[place], self._rows[place] = key, row

    def _place(self, key: int) -> int:
        """Where the key stands, or the free place where it would."""
        place = key % len(self._keys)
        while self._rows[place] and self._keys[place] != key:
            place = (place + 1) % len(self._keys)
        return place


def _digest(words: str) -> int:
    return int.from_bytes(hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _others(columns: Iterable[str], used: Columns) -> dict[str, str]:
    """The columns that no field holds -> the names of their values; `source_` goes before a name that a field has."""
    names: dict[str, str] = {}
    for column in columns:
        if column not in used.fields.values():
            name = column
            while name in used.fields or name in names.values():
                name = f"source_{name}"
            names[column] = name
    return names


def _short(cell: str) -> str | None:
    return cell[:200] or None
