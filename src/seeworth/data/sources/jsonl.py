"""JSON: one object a line (JSONL, NDJSON), or one array of objects; which of the two it is, the file's first sign says.

`JsonObjects` streams the objects, numbers as they are written; `JsonTable` makes rows of cells of them. Knows nothing of
tasks and photos, nor of conversations, which `conversations` reads out of the same objects.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ...errors import DataError
from ...task import Task
from ..photo.decode import MAX_BYTES
from ..rows.cells import shown
from .source import MAX_COLUMNS, MAX_TEXT, BadCell, SourceRow, column_names, proper_row
from .text import marked_encoding, open_text, told

JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
MAX_OBJECT = MAX_BYTES * 4 // 3 + 2**22  # characters of one object: the heaviest photo in base64, and words

_CHUNK = 2**20  # characters of an array read at a time
_BETWEEN = re.compile(r"[\s,]*")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are no UTF-8
_DEEP = "objects are nested too deeply in it"


class Literal(str):
    """A number as the file writes it: 1290.50 stays 1290.50."""


class JsonObjects:
    """The objects of a file, each with its number, counted from 1, and the line it stands on; or what is wrong with it.

    A damaged line is one bad object; an array that is damaged cannot be read on and raises DataError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.encoding = marked_encoding(path) or "utf-8-sig"
        with told(self.path), self._open() as file:
            self.is_array = _first_sign(file) == "["
        self._twice = ""
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_float=Literal, parse_int=Literal, parse_constant=_constant, strict=False
        )

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any] | BadCell]]:
        with told(self.path), self._open() as file:
            yield from enumerate(self._elements(file) if self.is_array else self._lines(file), 1)

    def keys(self) -> list[str]:
        """Every key that an object has, in the order in which they first stand. Raises DataError for more than MAX_COLUMNS."""
        keys: dict[str, None] = {}
        for _, one in self:
            if not isinstance(one, BadCell):
                keys.update(dict.fromkeys(one))
                if len(keys) > MAX_COLUMNS:
                    raise DataError(f"{self.path}: its objects have over {MAX_COLUMNS} different keys: are data written as keys?")
        return list(keys)

    def _open(self) -> IO[str]:
        return open_text(self.path, self.encoding, newline="\n", errors="surrogateescape" if self.encoding == "utf-8-sig" else "strict")

    def _lines(self, file: IO[str]) -> Iterator[dict[str, Any] | BadCell]:
        number = 0
        while line := file.readline(MAX_OBJECT):
            number += 1
            if len(line) == MAX_OBJECT and not line.endswith("\n"):
                while (rest := file.readline(MAX_OBJECT)) and not rest.endswith("\n"):
                    pass
                yield BadCell("row_unreadable", f"line {number}: over {MAX_OBJECT} characters")
            elif line.strip():
                yield self._line(line, number)

    def _line(self, line: str, number: int) -> dict[str, Any] | BadCell:
        if _NOT_UTF8.search(line):
            return BadCell("row_unreadable", f"line {number} is not UTF-8: save the file as UTF-8")
        try:
            return self._checked(self._decoder.decode(line.rstrip()), f"line {number}")
        except json.JSONDecodeError as problem:
            return BadCell("row_unreadable", f"line {number}, character {problem.pos + 1}: {problem.msg}: {shown(line.strip())}")
        except RecursionError:
            return BadCell("row_unreadable", f"line {number}: {_DEEP}")

    def _elements(self, file: IO[str]) -> Iterator[dict[str, Any] | BadCell]:
        _first_sign(file)
        buffer, at, number, ended = file.read(_CHUNK), 0, 1, False
        while True:
            start = _BETWEEN.match(buffer, at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if buffer.startswith("]", start):
                return
            try:
                value, at = self._decoder.raw_decode(buffer, start)
                whole = at < len(buffer) or isinstance(value, dict) or ended
            except json.JSONDecodeError as problem:
                self._may_be_cut(problem, buffer, start, number, ended)
                whole = False
            except RecursionError as problem:
                raise DataError(f"{self.path}, row {number}: {_DEEP}") from problem
            if whole:
                bad = _NOT_UTF8.search(buffer, start, at)
                yield BadCell("row_unreadable", f"object {number} is not UTF-8") if bad else self._checked(value, f"object {number}")
                number += 1
            else:
                more = file.read(max(_CHUNK, len(buffer) - start))
                buffer, at, ended = buffer[start:] + more, 0, not more

    def _may_be_cut(self, problem: json.JSONDecodeError, buffer: str, start: int, number: int, ended: bool) -> None:
        """Raise DataError unless more text could still make the object at `start` whole."""
        certain = problem.pos < len(buffer) - 16 and not problem.msg.startswith("Unterminated")
        if ended or certain or len(buffer) - start > MAX_OBJECT:
            found = shown(buffer[problem.pos : problem.pos + 80]) if certain else "the end of the file" if ended else "too large a row"
            raise DataError(f"{self.path}, row {number}: {problem.msg}, found {found}: mend the array, or save one object a line (.jsonl)")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self._twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        return found

    def _checked(self, value: Any, where: str) -> dict[str, Any] | BadCell:
        twice, self._twice = self._twice, ""
        if twice:
            return BadCell("duplicate_key", f"{where} says {shown(twice)} twice")
        if not isinstance(value, dict):
            return BadCell("row_unreadable", f"{where}: expected an object, found {shown(text_of(value))}")
        return value


class JsonTable:
    """Objects as rows: a column for each key that any of them has; a key that is missing, null or NaN is an empty cell.

    Objects and lists in an object are kept as JSON.
    """

    task = Task()
    defaults: Mapping[str, str] = {}
    max_text = MAX_TEXT
    conversations = False

    def __init__(self, objects: JsonObjects, photos: Path) -> None:
        self.path = objects.path
        self.photos = photos
        self.notices: list[str] = []
        self._objects = objects
        keys = objects.keys()
        self.columns = column_names(keys, self.path)
        self._names = dict(zip(keys, self.columns, strict=True))

    def __iter__(self) -> Iterator[SourceRow]:
        return self._rows(self._names)

    def only(self, columns: Collection[str]) -> Iterator[SourceRow]:
        return self._rows({key: column for key, column in self._names.items() if column in columns})

    def _rows(self, names: Mapping[str, str]) -> Iterator[SourceRow]:
        for number, found in self._objects:
            yield SourceRow(number, {}, found.code, found.words) if isinstance(found, BadCell) else _row(number, found, names)


def _row(number: int, found: Mapping[str, Any], names: Mapping[str, str]) -> SourceRow:
    try:
        return proper_row(number, {column: text_of(found.get(key)) for key, column in names.items()})
    except RecursionError:
        return SourceRow(number, {}, "row_unreadable", _DEEP)


def text_of(value: Any) -> str:
    """A value as a cell: text as it is, numbers as they were written, true and false, null as nothing, the rest as JSON."""
    if value is None or isinstance(value, str):
        return str(value or "")
    return json_text(value)


def json_text(value: Any) -> str:
    """A value as JSON, numbers as they were written. Raises RecursionError."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key), ensure_ascii=False)}: {json_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(json_text, value)) + "]"
    if isinstance(value, Literal):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps("(bytes)" if isinstance(value, bytes | memoryview) else str(value), ensure_ascii=False)


def first_objects(objects: Iterable[tuple[int, dict[str, Any] | BadCell]]) -> list[dict[str, Any]]:
    """Those of the first hundred rows that are objects."""
    return [one for _, one in islice(objects, 100) if not isinstance(one, BadCell)]


def _first_sign(file: IO[str]) -> str:
    """Read up to the first character that is not white space."""
    while (sign := file.read(1)) and sign.isspace():
        pass
    return sign


def _constant(word: str) -> Literal | None:
    """NaN is no value; Infinity stays a word that no reader of numbers takes."""
    return None if word == "NaN" else Literal(word.lower().replace("infinity", "inf"))
