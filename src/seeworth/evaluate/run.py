"""The verb `evaluate`: ask the run, the baselines and the run again without photos; measure; write the evaluation folder.

The measuring is in `core`, which asks nobody. A run's model is loaded by `predict.vlm` when a run folder is given, so that
a predictions.jsonl is measured without torch. The page is drawn by `report`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..data.ablate import blank, swap
from ..data.dataset import Dataset
from ..data.photo.decode import open_photo
from ..errors import DataError, RunError, SettingsError
from ..predict.baselines import baselines
from ..predict.predictor import Predictor
from ..record import Prediction, Record, read_predictions, write_predictions
from ..run_folder import read_run
from ..settings import EvaluateSettings, to_plain
from ..task import Task
from .core import Ablated, Answers, Baseline, evaluate
from .folder import check_output, evaluation_folder, file_hash, write_manifest, write_thumbnail
from .show import show, watched

RUN_FILES = ("run.json", "task.yaml", "log.jsonl", "*.safetensors")  # hashed into evaluation.json


@dataclass(frozen=True)
class Inputs:
    """What is measured: the records and their task, and either a run that can be asked or answers given long ago."""

    task: Task
    data: Dataset
    records: Sequence[Record]
    run: Path | None
    warnings: tuple[str, ...]


def run(settings: EvaluateSettings, *, predictor: Predictor | None = None, console: Console | None = None) -> Path:
    """Make an evaluation folder; return its path. `predictor` stands in for the run's own model, as tests do.

    Raises RunError, DataError or SettingsError in one line for whatever cannot be used.
    """
    console = console or Console()
    output = output_of(settings)
    check_output(output, overwrite=settings.overwrite)
    inputs = read_inputs(settings)
    for warning in inputs.warnings:
        console.print(f"Warning: {warning}", style="bold red", markup=False)
    if inputs.run and predictor is None:
        from ..predict.vlm import load_run

        predictor = load_run(
            inputs.run,
            batch_size=settings.batch_size,
            max_new_tokens=settings.max_new_tokens,
            keep_features=True,
            constrained=settings.constrained,
            free_categories=settings.free_categories,
            distribution=settings.distribution,
        )
    with evaluation_folder(output, overwrite=settings.overwrite) as folder:
        started = time.perf_counter()
        answers = _answers(settings, inputs, predictor, folder, console)
        if (kept := getattr(predictor, "features", None)) is not None:
            console.print(kept.words(), highlight=False, markup=False)
        measured = evaluate(inputs.task, inputs.records, answers, resamples=settings.bootstrap, seed=settings.seed)
        _thumbnails(inputs.records, measured["gallery"], folder)
        if inputs.run and (inputs.run / "log.jsonl").exists():
            (folder / "log.jsonl").write_bytes((inputs.run / "log.jsonl").read_bytes())
        name = predictor.name if predictor else settings.run.name
        about = _about(settings, inputs, answers, name, time.perf_counter() - started)
        write_manifest(folder, {**about, **measured})
    show({**about, **measured}, console)
    return output


def output_of(settings: EvaluateSettings) -> Path:
    """Where the evaluation goes: --output, else RUN/evaluation, else `evaluation` beside a predictions file."""
    if settings.output:
        return settings.output
    return (settings.run if settings.run.is_dir() else settings.run.parent) / "evaluation"


def read_inputs(settings: EvaluateSettings) -> Inputs:
    """Open the run or the predictions file, and its data. Raises RunError, DataError or SettingsError."""
    if not settings.run.exists():
        raise RunError(f"{settings.run} is not there: give a run folder or a predictions.jsonl file")
    if settings.run.is_file():
        if settings.data is None:
            raise SettingsError(f"{settings.run} is a predictions file, which does not say what it answers: add --data DATASET")
        manifest, where = {}, settings.data
    else:
        manifest = read_run(settings.run)
        where = settings.data or Path(str(manifest["data"]))
    data = Dataset.open(where)
    records = list(data.records(settings.split))
    if not records:
        raise DataError(f"{where} has 0 {settings.split} records: choose another --split")
    task = _task(settings.run, manifest, data) if manifest else data.task
    return Inputs(task, data, records, settings.run if manifest else None, _warnings(manifest, data))


def _task(run: Path, manifest: Mapping[str, Any], data: Dataset) -> Task:
    """The task the run was trained on. Raises RunError when the data is for another one."""
    task = Task.from_dict(manifest.get("task", {}), where=run / "run.json")
    ours, theirs = ([(one.name, one.kind, one.unit) for one in each.answer_fields] for each in (task, data.task))
    if ours != theirs:
        names = [", ".join(name for name, *_ in fields) for fields in (ours, theirs)]
        raise RunError(f"{run} answers {names[0]}, but {data.folder} holds {names[1]}: evaluate on data of the same task")
    return task


def _warnings(manifest: Mapping[str, Any], data: Dataset) -> tuple[str, ...]:
    trained = manifest.get("data_fingerprint")
    if not manifest or trained == data.fingerprint:
        return ()
    return (
        f"{data.folder} is not the data the run was trained on (fingerprint {data.fingerprint[:12]}, the run's is {str(trained)[:12]}): "
        "its test records may have been train records.",
    )


def _answers(settings: EvaluateSettings, inputs: Inputs, predictor: Predictor | None, folder: Path, console: Console) -> Answers:
    """Ask everyone, writing each one's words as they come."""
    if predictor:
        model = _ask(predictor, inputs.records, folder / "predictions.jsonl", f"answering {settings.split} photos", console)
        ablated, why = _ablated(settings, inputs, predictor, folder, console)
    else:
        model = list(read_predictions(settings.run))
        write_predictions(folder / "predictions.jsonl", model)
        ablated, why = None, "The grounding check was left out: a predictions file cannot be asked again without its photos."
    console.print("fitting the baselines on the train photos", highlight=False)
    beside = {}
    for one in baselines(inputs.task, list(inputs.data.records("train"))):
        beside[one.name] = Baseline(list(one(inputs.records)), one.given)
        write_predictions(folder / f"predictions-{one.name.replace(' ', '-')}.jsonl", beside[one.name].predictions)
    return Answers(model, beside, ablated, why)


def _ablated(
    settings: EvaluateSettings, inputs: Inputs, predictor: Predictor, folder: Path, console: Console
) -> tuple[Ablated | None, str]:
    """Ask again with blank and with swapped photos; None and the reason when that is not wanted or cannot be."""
    left_out = "The grounding check was left out: "
    if not settings.grounding_records:
        return None, f"{left_out}grounding_records is 0."
    single = [record for record in inputs.records if len(record.all_photos) == 1]  # what can be exchanged one for one
    if not (many := min(settings.grounding_records, len(single))):
        return None, f"{left_out}no record has just one photo."
    chosen = sorted(np.random.default_rng(settings.seed).choice(len(single), many, replace=False))
    records = [single[index] for index in chosen]
    categories = inputs.task.of_kind("category")
    try:
        swapped = swap(records, settings.seed, categories[0].name if categories else None)
    except DataError as problem:
        return None, f"{left_out}{problem}."
    greys = folder / "blank"
    on_blank = _ask(predictor, blank(records, greys), folder / "predictions-blank.jsonl", "answering blank photos", console)
    on_swapped = _ask(predictor, swapped, folder / "predictions-swapped.jsonl", "answering swapped photos", console)
    return Ablated([record.id for record in records], on_blank, on_swapped), ""


def _ask(predictor: Predictor, records: Sequence[Record], path: Path, label: str, console: Console) -> list[Prediction]:
    predictions: list[Prediction] = []

    def kept() -> Any:
        for prediction in watched(predictor(records), len(records), label, console):
            predictions.append(prediction)
            yield prediction

    write_predictions(path, kept())
    return predictions


def _thumbnails(records: Sequence[Record], gallery: Mapping[str, Sequence[str]], folder: Path) -> None:
    """thumbnails/N.jpg for the N-th record of the split, for those in the gallery: no id becomes a path."""
    wanted = {one for ids in gallery.values() for one in ids}
    for number, record in enumerate(records):
        if record.id in wanted and record.photo:
            write_thumbnail(open_photo(record.photo), folder / "thumbnails" / f"{number}.jpg")


def _about(settings: EvaluateSettings, inputs: Inputs, answers: Answers, model: str, seconds: float) -> dict[str, Any]:
    """Where the figures come from: settings, data, hashes of inputs."""
    source = inputs.run or settings.run
    files = [path for pattern in RUN_FILES for path in sorted(source.glob(pattern))] if inputs.run else [source]
    spent = sum(one.seconds for one in answers.model)
    return {
        "seeworth": version("seeworth"),
        "settings": to_plain(settings),
        "model": {"name": model, "run": str(inputs.run) if inputs.run else None},
        "task": inputs.task.to_dict(),
        "data": {
            "folder": str(inputs.data.folder),
            "fingerprint": inputs.data.fingerprint,
            "split": settings.split,
            "records": len(inputs.records),
            "groups": len({record.group for record in inputs.records}),
        },
        "hashes": {path.name: file_hash(path) for path in files},
        "seconds": {"evaluation": round(seconds, 1), "answer": spent / len(answers.model)},
        "warnings": list(inputs.warnings),
    }
