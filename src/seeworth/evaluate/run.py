"""The verb `evaluate`: ask the run, the baselines and the run again without photos; measure; write the evaluation folder.

The measuring is in `core`, which asks nobody. A run's model is loaded by `predict.vlm` when a run folder is given, so that
a predictions.jsonl is measured without torch. The page is drawn by `report`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from ..data.check.table import refused
from ..data.dataset import Dataset
from ..data.photo.decode import open_photo
from ..errors import DataError, RunError, SettingsError
from ..predict.predictor import Predictor
from ..record import Prediction, Record, read_predictions, read_unanswered, write_predictions
from ..run_folder import read_run
from ..samples import told_by_samples
from ..settings import EvaluateSettings, to_plain
from ..task import Task
from .asked import Asker, Rivals, ask_baselines, ask_modes, modes_of
from .core import Answers, evaluate
from .folder import check_output, evaluation_folder, file_hash, write_manifest, write_thumbnail
from .occlusion import check_occlusion, occlusion_step
from .show import show
from .slices import column_of
from .steps import add_unsure, check_settings, comparison_step, intervals_step, keep_with_run, say, shown_ids

RUN_FILES = ("run.json", "task.yaml", "log.jsonl", "*.safetensors")  # hashed into evaluation.json


@dataclass(frozen=True)
class Inputs:
    """What is measured: the records and their task, and either a run that can be asked or answers given long ago.

    `trained_on` is the dataset of the run, where that is another one than `data` and can still be opened.
    """

    task: Task
    data: Dataset
    records: Sequence[Record]
    run: Path | None
    warnings: tuple[str, ...]
    trained_on: Dataset | None = None


def run(
    settings: EvaluateSettings, *, predictor: Predictor | None = None, rivals: Rivals | None = None, console: Console | None = None
) -> Path:
    """Make an evaluation folder; return its path. `predictor` and `rivals` stand in for the run's own model, as tests do.

    Raises RunError, DataError or SettingsError in one line for whatever cannot be used. Faults that the evaluation finds raise
    nothing: see `demand`.
    """
    console = console or Console()
    output = output_of(settings)
    modes_of(settings.grounding_modes)
    inputs = read_inputs(settings)
    check_output(output, overwrite=settings.overwrite)
    other = check_settings(settings, inputs.task, inputs.records)
    check_occlusion(settings.occlusion)
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
            samples=settings.samples,
            seed=settings.seed,
        )
        rivals = _rivals(settings, inputs.run, predictor)
    rivals = rivals or Rivals()
    train = _trained_on(settings, inputs)
    with evaluation_folder(output, overwrite=settings.overwrite) as folder:
        started = time.perf_counter()
        answers = _answers(settings, inputs, predictor, rivals, Asker(folder, console))
        if (kept := getattr(predictor, "features", None)) is not None:
            console.print(kept.words(), highlight=False, markup=False)
        measured = evaluate(
            inputs.task, inputs.records, answers,
            train=train, slices=_listed(settings.slices), resamples=settings.bootstrap, seed=settings.seed,
        )  # fmt: skip
        known = (settings, inputs.task, inputs.data, inputs.records, answers.model)
        measured["comparison"] = comparison_step(*known, other)
        measured["intervals"] = intervals_step(*known, ask=_validation(predictor, Asker(folder, console)), folder=folder, run=inputs.run)
        add_unsure(measured, inputs.task, inputs.records, answers.model, folder)
        measured["occlusion"] = occlusion_step(
            settings.occlusion, inputs.task, inputs.records, measured["gallery"], rivals.cover, folder=folder, console=console
        )
        _thumbnails(inputs.records, shown_ids(measured), folder)
        if inputs.run and (inputs.run / "log.jsonl").exists():
            (folder / "log.jsonl").write_bytes((inputs.run / "log.jsonl").read_bytes())
        name = predictor.name if predictor else settings.run.name
        about = _about(settings, inputs, answers, name, time.perf_counter() - started)
        write_manifest(folder, {**about, **measured})
        keep_with_run(folder, inputs.run)
    show({**about, **measured}, console)
    say(measured, console)
    return output


def demand(content: Mapping[str, Any], output: Path, *, allow_ungrounded: bool) -> None:
    """Raise RunError, in a line, for the first fault of an evaluation.json that is not allowed."""
    for fault in content["faults"]:
        if not (allow_ungrounded and fault["ungrounded"]):
            hint = " (--allow_ungrounded accepts it)" if fault["ungrounded"] else ""
            raise RunError(f"{fault['text']} The evaluation is in {output}{hint}")


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
    unanswered = {} if manifest else {one.record_id: one.code for one in read_unanswered(settings.run)}
    records, told = _answerable(settings, records, unanswered)
    task = _task(settings.run, manifest, data) if manifest else data.task
    for name in _listed(settings.slices):
        column_of(records, name)
    warnings = (*_warnings(settings.split, manifest, data), *told)
    return Inputs(task, data, records, settings.run if manifest else None, warnings, _other_data(manifest, data))


def _answerable(
    settings: EvaluateSettings, records: list[Record], unanswered: Mapping[str, str]
) -> tuple[list[Record], tuple[str, ...]]:
    """The records but for those whose line says why there is no answer, and a warning of these. Raises DataError when none is left."""
    found = [record for record in records if record.id not in unanswered]
    if not found:
        raise DataError(f"{settings.run} answers none of the {len(records)} {settings.split} records: each line says why")
    codes = Counter(unanswered[record.id] for record in records if record.id in unanswered)
    if not codes:
        return found, ()
    reasons = ", ".join(f"{count} {code}" for code, count in codes.most_common())
    they = "it is" if codes.total() == 1 else "they are"
    words = f"{codes.total()} of {len(records)} {settings.split} records could not be answered ({reasons}): {they} in no figure."
    return found, (words,)


def _rivals(settings: EvaluateSettings, run: Path, model: Any) -> Rivals:
    """What the loaded model gives besides its answers; torch is loaded already."""
    from ..encode import photo_of
    from ..predict.occlusion import occlude

    def cover(record: Record) -> dict[str, Any]:
        return occlude(model, photo_of(record), record=record).to_dict()

    if settings.baselines == "cheap":
        return Rivals(left_out=("Baselines that ask the model were left out: baselines is cheap.",), cover=cover)
    from ..predict.own_eyes import before, sees

    (see, blind), (untuned, tuned_only) = sees(model, run), before(model, run)
    return Rivals(see, untuned, tuple(why for why in (blind, tuned_only) if why), cover)


def _trained_on(settings: EvaluateSettings, inputs: Inputs) -> list[Record]:
    """Train records of the data, and of the dataset that the run was trained on where that is another one and still there."""
    found = [] if settings.split == "train" else inputs.data.records("train")
    if inputs.trained_on is not None:
        found = found + inputs.trained_on.records("train")
    return found


def _listed(words: str) -> list[str]:
    return [one.strip() for one in words.split(",") if one.strip()]


def _task(run: Path, manifest: Mapping[str, Any], data: Dataset) -> Task:
    """The task the run was trained on. Raises RunError when the data is for another one."""
    task = Task.from_dict(manifest.get("task", {}), where=run / "run.json")
    ours, theirs = ([(one.name, one.kind, one.unit) for one in each.answer_fields] for each in (task, data.task))
    if ours != theirs:
        names = [", ".join(name for name, *_ in fields) for fields in (ours, theirs)]
        raise RunError(f"{run} answers {names[0]}, but {data.folder} holds {names[1]}: evaluate on data of the same task")
    return task


def _warnings(split: str, manifest: Mapping[str, Any], data: Dataset) -> tuple[str, ...]:
    trained = manifest.get("data_fingerprint")
    if split == "train" and (not manifest or trained == data.fingerprint):
        return ("These are train records, which the model has learnt by heart or might have: the figures say nothing about new photos.",)
    if not manifest or trained == data.fingerprint:
        return ()
    return (
        f"{data.folder} is not the data the run was trained on (fingerprint {data.fingerprint[:12]}, the run's is {str(trained)[:12]}): "
        "its test records may have been train records.",
    )


def _other_data(manifest: Mapping[str, Any], data: Dataset) -> Dataset | None:
    if not manifest or manifest.get("data_fingerprint") == data.fingerprint:
        return None
    try:
        other = Dataset.open(Path(str(manifest["data"])))
    except DataError:
        return None  # it is gone: the warning stands
    return other if other.fingerprint == manifest.get("data_fingerprint") else None


def _answers(settings: EvaluateSettings, inputs: Inputs, predictor: Predictor | None, rivals: Rivals, ask: Asker) -> Answers:
    """Ask everyone, writing each one's words as they come."""
    modes: dict[str, list[Prediction]] = {}
    if predictor:
        model = ask(predictor, inputs.records, f"answering {settings.split} photos")
        modes, lacks = ask_modes(
            ask, predictor, inputs.task, inputs.records,
            modes=modes_of(settings.grounding_modes), many=settings.grounding_records, seed=settings.seed,
        )  # fmt: skip
    else:
        model = [told_by_samples(inputs.task, one) for one in read_predictions(settings.run)]
        write_predictions(ask.folder / "predictions.jsonl", model)
        lacks = ["The grounding check was left out: a predictions file cannot be asked again without its photos."]
    train, validation = inputs.data.records("train"), inputs.data.records("validation")
    beside = ask_baselines(
        ask, inputs.task, inputs.records,
        train=train, validation=validation if settings.split != "validation" else [], answered=model, rivals=rivals, seed=settings.seed,
    )  # fmt: skip
    why = " ".join(lacks) if not modes else ""
    return Answers(model, beside, modes, [*(lacks if modes else []), *rivals.left_out], why)


def _validation(predictor: Predictor | None, ask: Asker) -> Callable[[Sequence[Record]], list[Prediction]] | None:
    """How the validation split is answered; None when nobody can be asked."""
    if predictor is None:
        return None
    return lambda records: ask(predictor, records, "answering validation photos", "validation")


def _thumbnails(records: Sequence[Record], wanted: set[str], folder: Path) -> None:
    """thumbnails/N.jpg for the N-th record of the split, for those that are shown: no id becomes a path."""
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
            "refused": refused(inputs.data.folder),
        },
        "hashes": {path.name: file_hash(path) for path in files},
        "seconds": {"evaluation": round(seconds, 1), "answer": spent / len(answers.model)},
        "warnings": list(inputs.warnings),
    }
