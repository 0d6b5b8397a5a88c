"""Probe records: what run and export are both asked, so that it is seen whether they answer alike. Knows nothing of models."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.draw.catalogue import plan
from ..data.draw.scene import draw
from ..encode import photos_of
from ..errors import DataError, PhotoError, SettingsError, TaskError
from ..predict.run import find_records
from ..record import Record, Split
from ..settings import PredictSettings
from ..task import Task

DRAWN = 336  # pixels of the longer side of a drawn photo


@dataclass(frozen=True)
class Probes:
    """Records, and in a few words where they come from."""

    records: list[Record]
    source: str


def find_probes(about: Mapping[str, Any], task: Task, *, count: int, photos: Path | None, scratch: Path) -> Probes:
    """`count` records, evenly spread: of the photos given, else of the run's test split (validation where it has none), else drawn here.

    Args:
        about: what run.json says. scratch: folder for drawn photos.

    Raises SettingsError for fewer than one, DataError when the photos given cannot be read, TaskError when the question needs more
    than a photo.
    """
    if count < 1:
        raise SettingsError(f"probes is 1 or more, found {count}: without one nothing is proven")
    if photos is not None:
        found = find_records(PredictSettings(model="", input=photos, split="test"))
        return Probes(_readable(spread(_askable(found, task), count), photos), "the photos given")
    try:
        dataset = Dataset.open(Path(str(about["data"])))
        splits: tuple[Split, ...] = ("test", "validation")
        for split in splits:
            if records := dataset.records(split):
                return Probes(_readable(spread(records, count), dataset.folder), f"the {split} split of the run's dataset")
    except (DataError, OSError) as problem:
        print(f"photos are drawn for the proof, the run's dataset is not there: {problem}", file=sys.stderr)
    return Probes(_askable(drawn(count, scratch), task), "photos drawn for the proof")


def spread(records: Sequence[Record], count: int) -> list[Record]:
    """At most `count` of them, the first and the last among them, evenly spread."""
    if len(records) <= count:
        return list(records)
    return [records[round(place)] for place in np.linspace(0, len(records) - 1, count)]


def drawn(count: int, folder: Path) -> list[Record]:
    """Product photos that no model has seen, the same for each call."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, product in enumerate(plan(count, seed=0)):
        path = folder / f"{number}.jpg"
        path.write_bytes(draw(product.traits, DRAWN, np.random.default_rng([0, number])))
        found.append(Record(f"drawn-{number}", path, {}, str(number)))
    return found


def _askable(records: list[Record], task: Task) -> list[Record]:
    """The records, when the question can be asked of them. Raises TaskError."""
    for record in records:
        if record.turns is None:
            try:
                task.prompt(record.values)
            except TaskError as problem:
                raise TaskError(f"the question needs more than a photo ({problem}): give --photos a dataset folder") from problem
    return records


def _readable(records: list[Record], where: Path) -> list[Record]:
    """Those whose photos can be opened; the others are told. Raises DataError when there is none."""
    found = []
    for record in records:
        try:
            photos_of(record)
            found.append(record)
        except PhotoError as problem:
            print(f"left out of the proof: {problem}", file=sys.stderr)
    if not found:
        raise DataError(f"{where} holds no photo that can be opened: the export cannot be proven on it; name others with --photos")
    return found
