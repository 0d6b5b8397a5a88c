"""What metadata.parquet and rejected.jsonl of a dataset folder say: counts, categories, numbers, answers, photo tokens.

Plain figures from plain rows; no photo is opened here and nothing is judged.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import TaskError
from ...record import SPLITS
from ...task import Task
from ..dataset import REJECTED, UNASSIGNED, Further, Row
from ..split.divide import stratum_field

NUM_CROPS = (1, 4, 16)  # the tiny model's, Phi-3.5-vision's for many photos, the published default
LONG = 480  # bytes; a longer answer may take more than the 160 tokens that `predict` writes at most
EXAMPLES = 3


@dataclass
class Table:
    """The columns of the table that a check needs, row by row, and what was counted on the way."""

    task: Task
    ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    file_names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    further: list[tuple[str, ...]] = field(default_factory=list)  # the file_names after the first
    photos: dict[str, Row | Further] = field(default_factory=dict)  # file_name -> what the first row that has it says of it
    categories: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)  # field -> value -> split -> records
    numbers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    unwritable: list[str] = field(default_factory=list)  # records whose answer the task cannot write, and why
    long: list[str] = field(default_factory=list)  # ids of records with a long answer
    longest: int = 0  # bytes of the longest answer

    @classmethod
    def of(cls, task: Task, rows: Iterable[Row]) -> Table:
        table = cls(task)
        title = next((one.name for one in task.fields if one.kind == "text"), task.fields[0].name)
        for row in rows:
            table.ids.append(str(row.id))  # str: an empty cell of a table that was changed is None
            table.titles.append(str(row.values.get(title, "")))
            table.file_names.append(str(row.file_name))
            table.groups.append(str(row.group))
            table.splits.append(row.split or UNASSIGNED)
            table.further.append(tuple(one.file_name for one in row.further))
            photos: tuple[Row | Further, ...] = (row, *row.further) if row.file_name != "" else ()
            for one in photos:
                table.photos.setdefault(str(one.file_name), one)
            table._count(row)
        return table

    def _count(self, row: Row) -> None:
        for one in self.task.fields:
            if one.name not in row.values:
                continue
            if one.kind == "category":
                values = self.categories.setdefault(one.name, {})
                values.setdefault(str(row.values[one.name]), Counter())[row.split or UNASSIGNED] += 1
            elif one.kind == "number" and math.isfinite(row.values[one.name]):  # type: ignore[arg-type]
                self.numbers[one.name].append(float(row.values[one.name]))
        try:
            size = len(self.task.write(row.values).encode("utf-8", "replace"))
        except TaskError as problem:
            self.unwritable.append(f"record {row.id!r}: {problem}")
            return
        self.longest = max(self.longest, size)
        if size > LONG:
            self.long.append(row.id)

    def twice(self) -> list[str]:
        return [name for name, count in Counter(self.ids).items() if count > 1]

    def strata(self) -> dict[str, Counter[str]]:
        """Value -> split -> records of the field that splits are stratified by; {} when there is none."""
        name = stratum_field(self.task)
        return self.categories.get(name, {}) if name else {}


def never_trained(values: Mapping[str, Counter[str]]) -> list[str]:
    """Categories that stand in validation or test and never in train."""
    return [value for value, counts in values.items() if not counts["train"] and any(counts[split] for split in SPLITS)]


def refused(folder: Path) -> dict[str, dict[str, Any]]:
    """Code -> count and first examples of the refused rows, the most frequent first. {} when there is no rejected.jsonl."""
    path = folder / REJECTED
    found: dict[str, dict[str, Any]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                one = _parsed(line)
                entry = found.setdefault(str(one.get("code", "unreadable line")), {"count": 0, "examples": []})
                entry["count"] += 1
                if len(entry["examples"]) < EXAMPLES:
                    entry["examples"].append({key: str(one.get(key) or "")[:300] for key in ("row", "id", "photo", "reason")})
    return dict(sorted(found.items(), key=lambda item: -item[1]["count"]))


def token_costs(sizes: Iterable[tuple[int | None, int | None]]) -> list[dict[str, int]]:
    """For each of NUM_CROPS, the photo tokens of the median photo, of one in twenty (95 %), and the most. [] for no photo."""
    counts = Counter((width, height) for width, height in sizes if width and height and min(width, height) > 0)
    if not counts:
        return []
    plan, weights = _plan(), np.array(list(counts.values()))
    costs = []
    for num_crops in NUM_CROPS:
        tokens = np.repeat([plan(width, height, num_crops=num_crops).num_tokens for width, height in counts], weights)
        low, high, most = (int(np.quantile(tokens, share, method="inverted_cdf")) for share in (0.5, 0.95, 1))
        costs.append({"num_crops": num_crops, "median": low, "high": high, "most": most})
    return costs


def _plan() -> Callable[..., Any]:
    """`phi3v.tiling.plan`, from its own file: the package round it loads torch, which this pure geometry does not need."""
    name = "seeworth.phi3v.tiling"
    if name not in sys.modules:
        name = "seeworth_tiling"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "phi3v" / "tiling.py")
        if spec is None or spec.loader is None:
            raise ImportError("seeworth/phi3v/tiling.py is not there: install seeworth again")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    plan: Callable[..., Any] = sys.modules[name].plan
    return plan


def _parsed(line: str) -> dict[str, Any]:
    try:
        one = json.loads(line)
    except ValueError:
        return {}
    return one if isinstance(one, dict) else {}
