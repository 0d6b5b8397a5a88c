"""The table of all records: what was read beside what is true, for a script that filters, sorts and pages.

The rows stand in the page as JSON; the first ones stand there as a table too, for a page without script and on paper. Words alone, no
photos: 5,000 records take about 2 MB. Every number comes from evaluation.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ..evaluate.gallery import sureness
from ..evaluate.words import number
from .cards import compared, units_of

Content: TypeAlias = Mapping[str, Any]

PAGE = 50  # rows at a time
MOST = 10_000  # records; beyond them the worst are listed, and that is said
LETTERS = 160  # of a value; what is longer is cut, and evaluation.json holds it whole
CATEGORIES = 200  # to choose from


def table(content: Content) -> dict[str, Any]:
    """Columns, the rows as plain data, the first of them, and how many records there are."""
    names = [one["name"] for one in content["task"]["fields"] if content["scores"] and one["name"] in content["scores"][0]["fields"]]
    units = units_of(content)
    worst = sorted(content["scores"], key=lambda score: -score["badness"])[:MOST]
    rows = [_row(score, names, units) for score in worst]
    kinds = {one["name"]: one.get("kind") or "text" for one in content["task"]["fields"]}
    category = next((name for name in names if kinds[name] == "category"), None)
    known = sorted({_cut(score["fields"][category]["truth"]) for score in worst}) if category else []
    return {
        "fields": names,
        "rows": rows,
        "first": rows[:PAGE],
        "records": len(content["scores"]),
        "category": category,
        "categories": known if len(known) <= CATEGORIES else [],
        "data": {"fields": names, "page": PAGE, "category": names.index(category) if category else None, "rows": rows},
    }


def _row(score: Content, names: Sequence[str], units: Mapping[str, str]) -> list[Any]:
    """[id, badness, cell of each field]; a cell: see `_cell`."""
    return [_cut(score["record_id"]), score["badness"], *(_cell(score["fields"][name], units.get(name, "")) for name in names)]


def _cell(data: Content, unit: str) -> list[Any]:
    """[true, read (0: the same, None: nothing), in words how far off, error to sort by, in words how sure, certainty to sort by].

    The error: of a number in its unit, of a text 1 - similarity, of a category 0 or 1; None where nothing was read.
    """
    found = compared(data, unit)
    same = found["right"] and found["answer"] == found["truth"]
    read = None if found["answer"] is None else 0 if same else _cut(found["answer"])
    sure, certainty = _sure(data, unit)
    return [_cut(found["truth"]), read, "" if found["right"] else found["off"], _error(data), sure, certainty]


def _error(data: Content) -> float | None:
    if data["answer"] is None:
        return None
    if "absolute_error" in data:
        return float(data["absolute_error"])
    return 1 - float(data.get("similarity", data.get("correct", 0.0)))


def _sure(data: Content, unit: str) -> tuple[str, float | None]:
    if "confidence" in data:
        return f"{sureness(data['confidence'])} sure", float(data["confidence"])
    if "low" in data:
        return f"own 90 %: {number(data['low'])} to {number(data['high'], unit)}", None
    return "", None


def _cut(words: str) -> str:
    return words if len(words) <= LETTERS else words[: LETTERS - 1] + "…"
