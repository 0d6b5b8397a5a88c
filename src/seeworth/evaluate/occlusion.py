"""Occlusion maps of some records, for the report: which part of a photo an answer hangs on.

The records are of the gallery, evenly spread from the best answer to the worst. What covers photos and asks is handed in; how it is done
is told in `predict.occlusion`. All maps go into one file beside evaluation.json:

    OUT/occlusion.json   {"format", "fields": {name: {"kind", "unit"}}, "records": {id: {"rows", "columns", "words", "base", "changes"}}}

`changes` is {field: [row][column] of numbers or null}: of a number covered / base - 1, of a category the fall of the probability of
its answer. Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..errors import SettingsError
from ..files import write_whole
from ..record import Record
from ..task import Task
from .show import watched

FORMAT = "seeworth-occlusion/1"
FILE = "occlusion.json"
LEFT_OUT = "Occlusion maps were left out: "
MOST = 24  # records: as many as the gallery has

Cover = Callable[[Record], Mapping[str, Any]]
"""A record of one photo -> the plain data of its map."""


def check_occlusion(many: int) -> None:
    """Raise SettingsError for a number of records that there cannot be."""
    if not 0 <= many <= MOST:
        raise SettingsError(f"occlusion is {many}, expected 0 to {MOST} records")


def occlusion_step(
    many: int,
    task: Task,
    records: Sequence[Record],
    gallery: Mapping[str, Sequence[str]],
    cover: Cover | None,
    folder: Path,
    console: Console,
) -> dict[str, Any]:
    """Make the maps and write folder/occlusion.json; for evaluation.json {"why_not", "file", "records"}, the last two without a reason.

    Args:
        gallery: ids of the best answers, best first, and of the worst, worst first.
        cover: None where nobody can be asked.
    """
    fields = {one.name: {"kind": one.kind, "unit": one.unit} for one in task.answer_fields if one.kind != "text"}
    chosen = _chosen(many, records, gallery)
    if many and (why_not := _why_not(fields, cover, chosen)):
        console.print(f"- {LEFT_OUT}{why_not}.", markup=False, style="dim")
        return {"why_not": f"{LEFT_OUT}{why_not}."}
    if not many or cover is None:
        return {"why_not": f"{LEFT_OUT}--occlusion N makes N of them."}
    maps: dict[str, Mapping[str, Any]] = {}
    for record in watched(chosen, len(chosen), "covering parts of photos", console):
        maps[record.id] = cover(record)
    content = {"format": FORMAT, "fields": fields, "records": maps}
    write_whole(folder / FILE, (json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return {"why_not": "", "file": FILE, "records": list(maps)}


def _why_not(fields: Mapping[str, object], cover: Cover | None, chosen: Sequence[Record]) -> str:
    if cover is None:
        return "nobody can be asked again with parts of the photos covered"
    if not fields:
        return "the task has neither a number nor a category"
    return "" if chosen else "no record of the gallery has just one photo"


def _chosen(many: int, records: Sequence[Record], gallery: Mapping[str, Sequence[str]]) -> list[Record]:
    by_id = {record.id: record for record in records}
    ordered = [by_id[one] for one in (*gallery["best"], *reversed(gallery["worst"]))]
    single = [record for record in ordered if len(record.all_photos) == 1 and record.turns is None]
    places: list[int] = np.linspace(0, len(single) - 1, min(many, len(single))).round().astype(int).tolist() if single else []
    return [single[place] for place in places]
