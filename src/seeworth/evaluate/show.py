"""What `evaluate` shows in a terminal: progress while it asks, and a table of figures beside the baselines at the end.

Takes the plain data of evaluation.json; measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .estimate import Estimate
from .slices import WEAK
from .words import absent, interval, listed, number

T = TypeVar("T")
BESIDE = 3  # baselines in the table: what 80 columns hold
LINES = 4  # on a log, instead of a bar
STYLES = {"good": "green", "mixed": "yellow", "bad": "bold red"}


def watched(items: Iterable[T], total: int, label: str, console: Console) -> Iterator[T]:
    """The items as they come, with a bar on a terminal and a plain line now and then elsewhere."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            yield from bar.track(items, total=total, description=label)
        return
    step = max(1, total // LINES)
    for count, item in enumerate(items, 1):
        yield item
        if count % step == 0 or count == total:
            console.print(f"{label}: {count} of {total}", markup=False, highlight=False)


def show(content: Mapping[str, Any], console: Console) -> None:
    """Print the figures beside the hardest baselines, the weak slices, and the verdict; fits 80 columns."""
    console.print(_table(content))
    for column in content["slices"]:
        if weak := [one["name"] for one in column["slices"] if one["weak"]]:
            words = f"{len(weak)} of {len(column['slices'])} are weak, of fewer than {WEAK} groups: {_few(weak)}."
            console.print(Text(f"Slices by {column['column']}: {words}", style="dim"))
    for sentence in content["verdict"]:
        console.print(Text(f"- {sentence['text']}", style=STYLES[sentence["tone"]]))
    for sentence in content["left_out"]:
        console.print(Text(f"- {sentence}", style="dim"))
    for warning in content["warnings"]:
        console.print(Text(f"Warning: {warning}", style="bold red"))


def hardest(content: Mapping[str, Any], most: int = BESIDE) -> list[str]:
    """The baselines that are hardest to beat in some main figure, then others in their order, at most so many."""
    best = [one["best"] for one in content["skill"].values() if one["best"]]
    every = [name for one in content["figures"].values() for name in one["baselines"]]
    kept = list(dict.fromkeys([*best, *every]))[:most]
    return [name for name in dict.fromkeys(every) if name in kept]


def _few(names: list[str], most: int = 6) -> str:
    return listed(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _table(content: Mapping[str, Any]) -> Table:
    names = hardest(content)
    data = content["data"]
    table = Table(title=f"{data['records']} {data['split']} records, 95 % intervals", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", ratio=3, overflow="fold")
    for name in ("model", *names):
        table.add_column(Text(name), ratio=2, justify="right", overflow="fold")
    for name, one in content["figures"].items():
        found = [("model", one["model"]), *((who, one["baselines"].get(who)) for who in names)]
        cells = [_cell(each, one["unit"], data["records"], absent(content["figures"], name, who)) for who, each in found]
        table.add_row(Text(one["label"]), *cells)
    return table


def _cell(found: Mapping[str, Any] | None, unit: str, records: int, absent: str) -> Text:
    """Value over interval, and n where not every record entered; for a figure that a baseline has not, the word `absent`."""
    if found is None:
        return Text(absent, style="dim")
    estimate = Estimate.from_dict(found)
    entered = "" if estimate.n == records else f"\nn = {estimate.n}"
    return Text(number(estimate.value, unit)).append(f"\n{interval(estimate, unit)}{entered}", style="dim")

