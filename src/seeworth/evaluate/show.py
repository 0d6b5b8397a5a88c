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
from .words import interval, listed, number

T = TypeVar("T")
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
    """Print the figures beside the baselines, the ratios of errors, and the verdict; fits 80 columns."""
    console.print(_table(content))
    for field, ratios in content["ratios"].items():
        lines = [f"{_ratio(one)} x {name}" for name, one in ratios.items() if one["n"]]
        if lines:
            console.print(Text(f"{field}: mean error is {listed(lines)}"))
    for sentence in content["verdict"]:
        console.print(Text(f"- {sentence['text']}", style=STYLES[sentence["tone"]]))
    for warning in content["warnings"]:
        console.print(Text(f"Warning: {warning}", style="bold red"))


def _table(content: Mapping[str, Any]) -> Table:
    names = list(dict.fromkeys(name for one in content["figures"].values() for name in one["baselines"]))
    data = content["data"]
    table = Table(title=f"{data['records']} {data['split']} records, 95 % intervals", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", ratio=3, overflow="fold")
    for name in ("model", *names):
        table.add_column(Text(name), ratio=2, justify="right", overflow="fold")
    for one in content["figures"].values():
        found = [one["model"], *(one["baselines"].get(name) for name in names)]
        cells = [_cell(each, one["unit"], data["records"]) for each in found]
        table.add_row(Text(one["label"]), *cells)
    return table


def _cell(found: Mapping[str, Any] | None, unit: str, records: int) -> Text:
    """Value over interval, and n where not every record entered; a figure that a baseline was told is "given"."""
    if found is None:
        return Text("given", style="dim")
    estimate = Estimate.from_dict(found)
    entered = "" if estimate.n == records else f"\nn = {estimate.n}"
    return Text(number(estimate.value, unit)).append(f"\n{interval(estimate, unit)}{entered}", style="dim")


def _ratio(found: Mapping[str, Any]) -> str:
    estimate = Estimate.from_dict(found)
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
