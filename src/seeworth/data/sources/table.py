"""A CSV or TSV file: quotes, line breaks in cells, any usual encoding and delimiter, plain or .gz.

Knows nothing of tasks, of what a cell means or of how a photo is decoded.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO

from ...errors import DataError
from ...task import Task
from .source import MAX_CELL, MAX_TEXT, SourceRow, column_names, proper_row
from .text import encoding_of, format_of, open_text, told

DELIMITERS = {".csv": None, ".txt": None, ".tsv": "\t", ".tab": "\t"}  # by suffix; None: found out from the first rows

_SAID = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # the first line that Excel writes and reads
MAX_LINE = 16 * 2**20  # characters
_LOOKED_AT = 20  # rows that the delimiter is judged by


class CsvTable:
    """One header line, then a row of cells each.

    The delimiter is the one of , ; tab | that cuts most of the first rows into as many cells as the header, then the one
    that gives more cells. A row of another length than the header's is marked; extra cells that are empty do no harm.
    """

    task = Task()
    defaults: Mapping[str, str] = {}
    max_text = MAX_TEXT
    conversations = False

    def __init__(self, path: Path, photos: Path) -> None:
        self.path = path
        self.photos = photos
        self.encoding, notice = encoding_of(path)
        self.notices = [notice] if notice else []
        self._said = self._first_line()
        self.delimiter = self._said or self._delimiter(DELIMITERS[format_of(path)])
        self.columns = self._header()

    def __iter__(self) -> Iterator[SourceRow]:
        rows = self._rows(self.delimiter)
        next(rows)
        for number, (start, end, is_open, cells) in enumerate(rows, 1):
            while len(cells) > len(self.columns) and not cells[-1].strip():
                cells.pop()
            named = dict(zip(self.columns, cells, strict=False))
            code, problem = self._fault(start, end, is_open, cells)
            yield SourceRow(number, named, code, problem) if code else proper_row(number, named)

    def only(self, columns: Collection[str]) -> Iterator[SourceRow]:
        return iter(self)

    def _fault(self, start: int, end: int, is_open: bool, cells: list[str]) -> tuple[str, str]:
        """(code, words) of a row that cannot be trusted."""
        if is_open:
            return "row_shape", f"lines {start} to {end} read as one row: is a quote left open? The file ends within it"
        if len(cells) != len(self.columns):
            words = f"expected {len(self.columns)} cells as in the header, found {len(cells)}"
            return "row_shape", words + (f" (lines {start} to {end} read as one row: is a quote left open?)" if end > start else "")
        if any("\0" in cell for cell in cells):
            return "row_unreadable", f"line {start} holds a NUL character: the file is damaged there"
        return "", ""

    def _rows(self, delimiter: str) -> Iterator[tuple[int, int, bool, list[str]]]:
        """(first line, last line, whether the file ends within its quotes, cells) of each row that is not blank, the header too."""
        csv.field_size_limit(MAX_CELL)
        with told(self.path), open_text(self.path, self.encoding) as file:
            lines = _Lines(file)
            first = 1 if self._said else 0
            reader = csv.reader(islice(lines, first, None), delimiter=delimiter)
            start = first + 1
            try:
                for cells in reader:
                    end = first + reader.line_num
                    if cells:
                        yield start, end, lines.ended, cells
                    start = end + 1
            except csv.Error as problem:
                raise DataError(f"{self.path}, from line {start} on: {problem}: is a quote left open?") from problem

    def _first_line(self) -> str | None:
        """The delimiter that a first line `sep=;` says."""
        with told(self.path), open_text(self.path, self.encoding) as file:
            said = _SAID.fullmatch(file.readline(16))
        return said[1] if said else None

    def _delimiter(self, usual: str | None) -> str:
        def merit(mark: str) -> tuple[bool, int, int]:
            try:
                lengths = [len(row[3]) for row in islice(self._rows(mark), _LOOKED_AT)] or [0]
            except DataError:  # with this mark a quote is left open
                lengths = [0]
            return lengths[0] > 1 and mark == usual, lengths.count(lengths[0]) if lengths[0] > 1 else 0, lengths[0]

        return max(",;\t|", key=merit)

    def _header(self) -> list[str]:
        header = next(self._rows(self.delimiter), None)
        if header is None:
            raise DataError(f"{self.path}: is empty; expected a header line with the names of the columns")
        if header[2]:
            raise DataError(f"{self.path}: a quote in the header, line {header[0]}, is never closed: close it")
        if any("\0" in cell for cell in header[3]):
            raise DataError(f"{self.path}: the header, line {header[0]}, holds a NUL character: save the table as CSV in UTF-8")
        return column_names(header[3], self.path)


class _Lines:
    """The lines of a file; `ended` once a reader asked for more than there are, as one does within open quotes."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline(MAX_LINE):
            if len(line) == MAX_LINE:
                raise csv.Error(f"a line has over {MAX_LINE} characters")
            yield line
        self.ended = True
