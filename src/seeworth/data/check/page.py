"""What `seeworth check` shows: a summary in the terminal, and one HTML page with charts and the photos that matter.

Takes a finished `Check`; finds and judges nothing itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ...errors import PhotoError, SettingsError, told_as
from ...files import write_whole
from ...page import charts
from ...page.picture import data_uri, thumbnail
from ...page.render import render
from ...record import SPLITS
from ..photo.decode import open_photo
from .run import CLUSTERS, MEMBERS, Check
from .table import never_trained

STYLES = {"good": "green", "mixed": "yellow", "bad": "bold red"}
MARKS = {"good": "ok", "mixed": "note", "bad": "bad"}
VALUES = 40  # of a category, in the page's table
LISTED = 20  # bad photos

_WHAT = {"near": "near-identical photos", "same": "the very same photo", "group": "one group"}


def show(check: Check, page: Path) -> None:
    """Print the summary; readable at 60 columns."""
    console = Console(highlight=False, soft_wrap=False)
    console.print(Text(f"{len(check.table.ids):,} records of {check.folder}", style="bold"))
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("split")
    for name in ("records", "groups", "categories"):
        grid.add_column(name, justify="right")
    for split in _splits(check):
        counts = _of_split(check, split)
        grid.add_row(split, *(f"{count:,}" if count is not None else "" for count in counts))
    console.print(grid)
    if check.tokens:
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("photo tokens", "median", "95 %", "most"):
            grid.add_column(name, justify="left" if name == "photo tokens" else "right")
        for one in check.tokens:
            grid.add_row(f"num_crops {one['num_crops']}", *(f"{one[name]:,}" for name in ("median", "high", "most")))
        console.print(grid)
    for code, entry in check.refused.items():
        console.print(Text(f"refused at import: {entry['count']:,} {code}"))
    for tone, text in check.findings:
        line = Grid.grid(padding=(0, 1))
        line.add_row(Text(MARKS[tone], style=STYLES[tone]), Text(text, overflow="fold"))
        console.print(line)
    console.print(Text(f"page: {page}"), soft_wrap=True)


def write_page(check: Check, path: Path) -> None:
    """Write the page. Raises SettingsError when it cannot be written there."""
    page = render("seeworth.data.check", "check.html", **_content(check))
    with told_as(SettingsError, OSError, where=path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page)


def _content(check: Check) -> dict[str, Any]:
    counts = [{"split": split, "counts": _of_split(check, split)} for split in _splits(check)]
    copies = [one for one in check.copies if not one["leak"]]
    return {
        "name": check.folder.resolve().name,
        "records": len(check.table.ids),
        "task": check.table.task,
        "findings": check.findings,
        "first": _verdict(check),
        "counts": counts,
        "splits": _splits(check),
        "categories": [_category(check, name, values) for name, values in check.table.categories.items()],
        "histograms": list(_histograms(check)),
        "tokens": check.tokens,
        "refused": check.refused,
        "leaks": _drawn(check, check.leaks),
        "leak_count": len(check.leaks),
        "copies": _drawn(check, copies),
        "copy_count": len(copies),
        "bad": [{"file_name": name, "code": one.code, "reason": one.reason} for name, one in check.bad[:LISTED]],
        "bad_count": len(check.bad),
        "looked": check.looked,
        "photos": len(check.table.photos),
        "source": {**check.manifest["source"], "settings": None},
        "notices": check.manifest["source"].get("notices") or [],
        "fingerprint": check.manifest.get("fingerprint"),
        "seeworth": version("seeworth"),
    }


def _verdict(check: Check) -> tuple[str, str]:
    problems, notes = len(check.problems), sum(tone == "mixed" for tone, _ in check.findings)
    if problems:
        return "bad", f"This would not train well: {problems} {'problem' if problems == 1 else 'problems'} to mend first."
    if notes:
        return "mixed", f"This will train; {notes} {'thing' if notes == 1 else 'things'} to know."
    return "good", "This will train."


def _splits(check: Check) -> list[str]:
    """The three, then any other that stands in the table."""
    return list(dict.fromkeys([*SPLITS, *sorted(set(check.table.splits))]))


def _of_split(check: Check, split: str) -> tuple[int, int, int | None]:
    """(records, groups, categories that stand in it, None when the task has none)."""
    own = [number for number, one in enumerate(check.table.splits) if one == split]
    strata = check.table.strata()
    categories = sum(counts[split] > 0 for counts in strata.values()) if strata else None
    return len(own), len({check.table.groups[number] for number in own}), categories


def _category(check: Check, name: str, values: Mapping[str, Counter[str]]) -> dict[str, Any]:
    """Values and their records by split: first those that are never trained on, then the most frequent."""
    lost, splits = set(never_trained(values)), _splits(check)
    by_size = sorted(values.items(), key=lambda item: (item[0] not in lost, -item[1].total(), item[0]))
    rows = [{"value": value, "counts": [counts[split] for split in splits], "lost": value in lost} for value, counts in by_size]
    return {"field": name, "rows": rows[:VALUES], "more": max(0, len(rows) - VALUES)}


def _histograms(check: Check) -> list[dict[str, Any]]:
    units = {one.name: one.unit or "" for one in check.table.task.fields}
    found = []
    for name, values in check.table.numbers.items():
        ordered = sorted(values)
        axis = f"{name}, {units[name]}" if units[name] else name
        chart = charts.histogram(values, title=f"Histogram of {name}", axis=axis, unit=units[name])
        ends = [f"{ordered[at]:,.10g}" for at in (0, len(ordered) // 2, -1)]
        found.append({"chart": chart, "words": f"{len(values):,} records, {ends[0]} to {ends[2]}, median {ends[1]} {units[name]}".strip()})
    return found


def _drawn(check: Check, clusters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first clusters of each kind with thumbnails."""
    return [_cluster(check, one) for kind in _WHAT for one in [each for each in clusters if each["kind"] == kind][:CLUSTERS]]


def _cluster(check: Check, cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Of each split one record first, then the others."""
    table, numbers = check.table, cluster["numbers"]
    first = {table.splits[number]: number for number in reversed(numbers)}
    order = [*first.values(), *(number for number in numbers if number not in first.values())][:MEMBERS]
    cards = [
        {
            "id": table.ids[one],
            "title": _short(table.titles[one]),
            "split": table.splits[one],
            "photo": _thumbnail(check, table.file_names[one]),
        }
        for one in order
    ]
    what = f"{len(numbers)} records of {_WHAT[cluster['kind']]}"
    return {"what": what, "leak": cluster["leak"], "cards": cards, "more": len(numbers) - len(order)}


def _short(words: str) -> str:
    return words if len(words) <= 90 else words[:89] + "…"


def _thumbnail(check: Check, file_name: str) -> str | None:
    """A data URI; None for a photo that cannot be used, which is told elsewhere."""
    if any(name == file_name for name, _ in check.bad):
        return None
    try:
        return data_uri(thumbnail(open_photo(check.folder / file_name)))
    except PhotoError:
        return None

