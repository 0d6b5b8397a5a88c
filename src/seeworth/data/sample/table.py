"""products.csv: the raw table beside sample data, as a shop would hand it over; also when it stands alone.

Rows are written as they come, so that a table may be longer than memory. Knows nothing of what a row says.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import SettingsError, told_as

TABLE = "products.csv"


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as lines of CSV, without a header."""
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue()


class TableFile:
    """The table being written; use it in a `with`. Raises SettingsError when it cannot be written."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.path = folder / TABLE
        self.columns = columns
        with told_as(SettingsError, OSError, where=self.path):
            self._file = self.path.open("w", encoding="utf-8", newline="")
        csv.writer(self._file, lineterminator="\n").writerow(columns)

    def add(self, lines: str) -> None:
        """Lines as `as_csv` makes them."""
        with told_as(SettingsError, OSError, where=self.path):
            self._file.write(lines)

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
