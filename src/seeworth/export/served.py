"""What the server says of records, asked in this process as a client would ask it. Knows nothing of tolerances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..record import Record


def served_answers(run: Path, records: Sequence[Record]) -> tuple[list[str] | None, str]:
    """(the served words of each record, ""), or (None, why nobody could be asked)."""
    return None, "the server was not asked"
