"""The verb `predict`: a run and photos -> predictions.jsonl, one line a photo, the model's words verbatim."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import track as progress

from ..data.dataset import Dataset
from ..encode import photos_of
from ..errors import DataError, PhotoError, SettingsError
from ..intervals import NAME, Intervals, price_interval, read_intervals
from ..record import Prediction, Record, prediction_line
from ..settings import PredictSettings
from ..task import Task
from .vlm import load_run

PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif"}


def run(settings: PredictSettings) -> None:
    """Answer every photo and write the file. A photo that cannot be opened is told on stderr and left out.

    Raises SettingsError when the file is there already, DataError when no photo can be answered, RunError for a folder that is no run.
    """
    if settings.output.exists() and not settings.overwrite:
        raise SettingsError(f"output {settings.output} is there already: name another file, or add --overwrite")
    intervals = read_intervals(Path(settings.model)) if (Path(settings.model) / NAME).is_file() else None
    model = load_run(
        Path(settings.model),
        batch_size=settings.batch_size,
        max_new_tokens=settings.max_new_tokens,
        constrained=settings.constrained,
        free_categories=settings.free_categories,
        distribution=settings.distribution,
    )
    records = list(_readable(find_records(settings)))
    if not records:
        raise DataError(f"{settings.input} holds no photo that can be answered (split: {settings.split})")
    stream = progress(model(records), total=len(records), description="answering", disable=not sys.stderr.isatty())
    part = settings.output.with_name(settings.output.name + ".part")
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", encoding="utf-8") as file:
        for record, prediction in zip(records, stream, strict=True):
            file.write(json.dumps(line(record, prediction, model.encoder.task, intervals), ensure_ascii=False) + "\n")
    part.replace(settings.output)
    print(f"answered {len(records)} photos: {settings.output}")


def line(record: Record, prediction: Prediction, task: Task, intervals: Intervals | None = None) -> dict[str, Any]:
    """What predictions.jsonl holds for one photo: the words, what was read from them, and intervals around numbers where the run has such.

    An end that is infinite is null.
    """
    reading = task.read(prediction.text)
    values = {name: value if isinstance(value, str) else float(value) for name, value in reading.values.items()}
    photo = str(record.photo) if record.photo else None
    found = {**prediction_line(prediction), "photo": photo, "values": values, "problems": list(reading.problems)}
    if intervals is None:
        return found
    ends = {name: pair for name in intervals.fields if (pair := price_interval(intervals, prediction, name)) is not None}
    return {**found, "intervals": {name: [one if math.isfinite(one) else None for one in pair] for name, pair in ends.items()}}


def find_records(settings: PredictSettings) -> list[Record]:
    """Records of a dataset folder's split, of a folder of photos, or of one photo."""
    source = settings.input
    if (source / "dataset.json").is_file():
        return Dataset.open(source).records(None if settings.split == "all" else settings.split)
    if source.is_dir():
        photos = sorted(path for path in source.rglob("*") if path.suffix.lower() in PHOTO_ENDINGS)
        return [Record(str(path.relative_to(source)), path, {}, str(path)) for path in photos]
    if not source.exists():
        raise DataError(f"{source} is not there: give a photo, a folder of photos or a dataset folder")
    return [Record(source.name, source, {}, source.name)]


def _readable(records: list[Record]) -> Iterator[Record]:
    for record in records:
        try:
            photos_of(record)
        except PhotoError as problem:
            print(f"left out: {problem}", file=sys.stderr)
        else:
            yield record
