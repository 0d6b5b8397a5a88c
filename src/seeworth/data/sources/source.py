"""What every source is: a table of text cells, streamed, that gives the same rows in the same order each time it is read.

Here are the row, the protocol, and what all kinds of source share. Knows nothing of files and formats.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...errors import DataError
from ...task import Task
from ..photo.decode import MAX_BYTES
from ..rows.cells import clean_text, shown

MAX_CELL = 1_000_000  # characters of a cell
MAX_COLUMNS = 1_000  # more of them are data that was written as names
MAX_TEXT = 300  # characters of a text field in a table; a longer one is a description, not a title
MAX_FREE_TEXT = 4_000  # characters of a question or an answer in a conversation

SPLIT_WORDS = frozenset({"train", "training", "validation", "valid", "val", "dev", "test", "testing"})


@dataclass(frozen=True)
class SourceRow:
    """One row as the source has it: `number` counts from 1. When it is no proper row, `code` and `problem` say why.

    `embedded` holds the bytes of a photo that stands in the row itself, under the name of its column. Of a conversation,
    `further` holds each photo after the first, as (path or URL, bytes), and `photoless` says that it has none at all.
    """

    number: int
    cells: Mapping[str, str]
    code: str = ""
    problem: str = ""
    embedded: Mapping[str, bytes] = field(default_factory=dict)
    further: tuple[tuple[str, bytes | None], ...] = ()
    photoless: bool = False


class Source(Protocol):
    """A table of text cells that can be read more than once."""

    path: Path
    columns: list[str]
    photos: Path  # the folder that photo cells start from, and may not leave
    task: Task  # when the user gives none
    defaults: Mapping[str, str]  # role -> column, when the user maps none; "" switches a role off
    max_text: int  # characters of a text field
    conversations: bool  # rows are conversations: turns in the column `conversation`, about any number of photos

    @property
    def notices(self) -> list[str]:
        """What the reader should know of how it was read; complete once all rows have been read."""

    def __iter__(self) -> Iterator[SourceRow]: ...

    def only(self, columns: Collection[str]) -> Iterator[SourceRow]:
        """The same rows with at least these cells: cheaper than whole rows where the format allows it."""


class BadCell(Exception):
    """A value that makes its row unusable; `code` and `words` for rejected.jsonl."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


def column_names(names: Collection[str], where: object) -> list[str]:
    """The names as columns have them: cleaned, each once, unnamed ones by place. Raises DataError."""
    columns = [clean_text(name) or f"column_{place}" for place, name in enumerate(names, 1)]
    if len(columns) > MAX_COLUMNS:
        raise DataError(f"{where}: has {len(columns)} columns, expected at most {MAX_COLUMNS}: are its rows and columns swapped?")
    seen: set[str] = set()
    for name in columns:
        if name in seen:
            raise DataError(f"{where}: the header names {shown(name)} twice: rename one of them")
        seen.add(name)
    return columns


def proper_row(number: int, cells: dict[str, str], embedded: dict[str, bytes] | None = None) -> SourceRow:
    """A row whose data URIs are photos in it; one whose cells no reader can trust is marked as such."""
    embedded = embedded or {}
    for name, cell in cells.items():
        if len(cell) > 5 and cell[:5].lower() == "data:":
            try:
                embedded[name] = bytes_of_uri(cell)
            except BadCell as problem:
                return SourceRow(number, cells | {name: cell[:60]}, problem.code, f"{name}: {problem.words}")
            cells[name] = ""
        elif len(cell) > MAX_CELL:
            words = f"{name}: {len(cell)} characters, expected at most {MAX_CELL}"
            return SourceRow(number, {key: value[:200] for key, value in cells.items()}, "cell_too_long", words)
    return SourceRow(number, cells, "", "", embedded)


def bytes_of_uri(text: str) -> bytes:
    """The bytes behind `data:image/...;base64,...`. Raises BadCell (bad_data_uri, too_heavy)."""
    head, comma, body = text.partition(",")
    if not comma or not re.fullmatch(r"(?i)data:image/[\w.+-]+(;[\w=.+-]+)*;base64", head):
        raise BadCell("bad_data_uri", f"expected data:image/...;base64,..., found {shown(text)}")
    if len(body) > MAX_BYTES * 4 // 3 + 4:
        raise BadCell("too_heavy", f"a photo over {MAX_BYTES // 2**20} MB stands in the row")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise BadCell("bad_data_uri", f"{shown(text)} is no proper base64: {problem}") from problem
