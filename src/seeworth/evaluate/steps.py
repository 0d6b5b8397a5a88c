"""What the verb `evaluate` does beside its figures: intervals from answers to the validation split, and a comparison with another model.

Both give plain data for evaluation.json, or None with the reason why not. `run` lends the asking; the measuring is in `conformal`,
`calibration` and `compare`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ..data.dataset import Dataset
from ..errors import SettingsError
from ..files import write_whole
from ..intervals import NAME, Intervals, read_intervals, write_intervals
from ..record import Prediction, Record, read_predictions, read_unanswered
from ..samples import told_by_samples
from ..settings import EvaluateSettings
from ..task import Task
from .calibration import Draws, answered, reliability
from .compare import Other, compare, read_other
from .conformal import calibrate, measure, sentence
from .estimate import Estimate
from .folder import file_hash
from .gallery import Galleries, unsure
from .score import Score, scores
from .show import STYLES
from .words import interval, number, points

ANSWERS = "predictions-validation.jsonl"
MADE_FROM = ("run.json", "*.safetensors")

Ask = Callable[[Sequence[Record]], Sequence[Prediction]]


def check_settings(settings: EvaluateSettings, task: Task, records: Sequence[Record]) -> Other | None:
    """What is compared with, read before anybody is asked. Raises SettingsError, RunError or DataError for what cannot be."""
    if not 0.5 <= settings.coverage < 1:
        raise SettingsError(f"coverage is {settings.coverage}, expected 0.5 or more and less than 1")
    if not 0 <= settings.abstain_error < 1:
        raise SettingsError(f"abstain_error is {settings.abstain_error}, expected 0 or more and less than 1")
    if settings.calibration is not None and not settings.calibration.is_file():
        raise SettingsError(f"calibration {settings.calibration} is not there: give a predictions.jsonl of the validation split")
    return None if settings.against is None else read_other(settings.against, task, {record.id for record in records})


def intervals_step(
    settings: EvaluateSettings,
    task: Task,
    data: Dataset,
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    *,
    ask: Ask | None,
    folder: Path,
    run: Path | None,
) -> dict[str, Any]:
    """Calibrate on the validation split, write folder/intervals.json, and measure on `records`; {"why_not": ...} where that cannot be.

    Args:
        ask: answers records and writes them to folder/predictions-validation.jsonl; None where nobody can be asked.
        run: the run folder, whose files are named in intervals.json by their hashes.
    """
    why_not, validation, answers = _calibration_answers(settings, task, data, ask)
    if why_not:
        return {"why_not": f"Intervals were left out: {why_not}."}
    made_from = {"data fingerprint": data.fingerprint, **_hashes(settings, folder, run)}
    own = calibrate(
        task, data.records("train"), validation, answers,
        coverage=settings.coverage, abstain_error=settings.abstain_error, made_from=made_from,
    )  # fmt: skip
    write_intervals(folder, own)
    marks = scores(task, records, predictions, "the model's predictions")
    return measured(own, marks, {one.record_id: one for one in predictions}, resamples=settings.bootstrap, seed=settings.seed)


def measured(
    own: Intervals, marks: Sequence[Score], predictions: Mapping[str, Prediction], *, resamples: int, seed: int
) -> dict[str, Any]:
    """How intervals, confidence and abstaining do on the records measured, as plain data:

    coverage, smallest      what was promised, and the groups a category needs for its own quantile
    fields                  number field -> see `conformal.measure`, with its unit
    reliability             category field -> see `calibration.reliability`; None where no confidence is told
    abstain                 field -> see `calibration.answered`
    sentences               what all that says, with tones
    """
    draws: Draws = {"resamples": resamples, "seed": seed}
    units = {one.name: one.unit or "" for one in own.task.answer_fields}
    scales = {name: one.scale for name, one in own.fields.items()}
    fields = {name: {"unit": units[name], **one} for name, one in measure(own, marks, predictions, **draws).items()}
    reliable = {one.name: reliability(one.name, marks, predictions, **draws) for one in own.task.of_kind("category")}
    abstain = {
        one.name: answered(one, own.abstain[one.name], marks, predictions, scales, **draws)
        for one in own.task.answer_fields
        if one.name in own.abstain
    }
    said = [sentence(name, one, own.coverage, one["unit"]) for name, one in fields.items()]
    said += [_reliability_sentence(name, one) for name, one in reliable.items()]
    said += [_abstain_sentence(name, one) for name, one in abstain.items()]
    about = {"why_not": "", "coverage": own.coverage, "smallest": own.smallest, "category": own.category}
    return {**about, "fields": fields, "reliability": reliable, "abstain": abstain, "sentences": said}


def comparison_step(
    settings: EvaluateSettings, task: Task, data: Dataset, records: Sequence[Record], predictions: Sequence[Prediction], other: Other | None
) -> dict[str, Any] | None:
    """The comparison with `other`; None where none was asked for. Raises DataError when no record is in both."""
    if other is None:
        return None
    return compare(task, records, predictions, other, fingerprint=data.fingerprint, resamples=settings.bootstrap, seed=settings.seed)


def add_unsure(
    content: dict[str, Any], task: Task, records: Sequence[Record], predictions: Sequence[Prediction], folder: Path
) -> None:
    """Add to an evaluation's galleries the answers that folder/intervals.json would rather not give; nothing where there is none."""
    if not (folder / NAME).is_file():
        return
    found = unsure(scores(task, records, predictions), {one.record_id: one for one in predictions}, read_intervals(folder))
    if found is not None:
        made = Galleries(content["gallery"], content["gallery_found"], content["gallery_notes"])
        made.add("unsure", found)


def shown_ids(content: Mapping[str, Any]) -> set[str]:
    """Ids of the records whose photos the page shows: galleries, what a comparison changed, leaks."""
    ids = {one for kind in content["gallery"].values() for one in kind}
    if content["comparison"] is not None:
        ids |= {one["record_id"] for kind in content["comparison"]["changed"].values() for one in kind}
    if content["leaks"] is not None:
        ids |= {record for what in ("photo", "group") for record, _ in content["leaks"][what]["pairs"]}
    return ids


def keep_with_run(folder: Path, run: Path | None) -> None:
    """Put the evaluation's intervals.json into the run folder, where whoever answers with the run finds it."""
    if run is not None and (folder / NAME).is_file():
        write_whole(run / NAME, (folder / NAME).read_bytes())


def say(content: Mapping[str, Any], console: Console) -> None:
    """Print the sentences about intervals and comparison."""
    own, comparison = content["intervals"], content["comparison"]
    lines = [(own["why_not"], "mixed")] if own["why_not"] else [(one["text"], one["tone"]) for one in own["sentences"]]
    if comparison is not None:
        lines += [(one["text"], one["tone"]) for one in comparison["verdict"]] + [(one, "bad") for one in comparison["warnings"]]
    for text, tone in lines:
        console.print(Text(f"- {text}", style=STYLES[tone]))


def _calibration_answers(
    settings: EvaluateSettings, task: Task, data: Dataset, ask: Ask | None
) -> tuple[str, Sequence[Record], Sequence[Prediction]]:
    """Why there are none, or validation records with their answers."""
    if not settings.calibrate:
        return "calibrate is false", (), ()
    if not task.of_kind("number") and not task.of_kind("category"):
        return "the task has neither a number nor a category", (), ()
    if settings.split == "validation":
        return "the validation split, which they are calibrated on, is the one measured here", (), ()
    if not (validation := data.records("validation")):
        return f"{data.folder} has no validation records to calibrate them on", (), ()
    if settings.calibration is not None:
        unanswered = {one.record_id for one in read_unanswered(settings.calibration)}
        validation = [record for record in validation if record.id not in unanswered]
        if not validation:
            return f"{settings.calibration} answers no validation record", (), ()
        return "", validation, [told_by_samples(task, one) for one in read_predictions(settings.calibration)]
    if ask is None:
        return "they need answers to the validation split: give a predictions file of it with --calibration FILE", (), ()
    return "", validation, ask(validation)


def _hashes(settings: EvaluateSettings, folder: Path, run: Path | None) -> dict[str, str]:
    answers = settings.calibration or folder / ANSWERS
    files = [answers, *(path for pattern in MADE_FROM for path in sorted(run.glob(pattern)))] if run else [answers]
    return {path.name: file_hash(path) for path in files}


def _reliability_sentence(field: str, data: Mapping[str, Any] | None) -> dict[str, str]:
    if data is None:
        return {"tone": "mixed", "text": f"{field}: the predictions do not say how sure the model is, so its confidence is not measured."}
    ece, gap = Estimate.from_dict(data["ece"]), Estimate.from_dict(data["gap"])
    chance = number(data["chance"], "share")
    off = f"{field}: confidence and accuracy are {number(ece.value, 'share')} apart ({interval(ece, 'share')}; {chance} would be chance)"
    if gap.low > 0:
        return {"tone": "bad", "text": f"{off}. The model is surer than it is right, by {points(gap)}."}
    if gap.high < 0:
        return {"tone": "mixed", "text": f"{off}. The model is right more often than it says, by {points(_opposite(gap))}."}
    return {"tone": "good" if ece.low <= data["chance"] else "mixed", "text": f"{off}."}


def _opposite(one: Estimate) -> Estimate:
    """The estimate of the opposite."""
    return Estimate(-one.value, -one.high, -one.low, one.n)


def _abstain_sentence(field: str, data: Mapping[str, Any]) -> dict[str, str]:
    aim = number(data["aim"], "share")
    if data["threshold"] is None:
        text = f"{field}: at no certainty are errors as rare as {aim} on the validation records, so no threshold for abstaining is set."
        return {"tone": "mixed", "text": text}
    share, error, every = (Estimate.from_dict(data[key]) for key in ("answered", "error", "error_of_all"))
    rule = f"confidence of {data['threshold']:.2f} or more" if data["by"] == "confidence" else f"spread of {data['threshold']:.2f} or less"
    if not error.n:
        return {"tone": "mixed", "text": f"{field}: with a {rule} not one record is answered."}
    told = f"{number(share.value, 'share')} of the records are answered and {number(error.value, 'share')} of those wrong"
    text = f"{field}: with a {rule} {told} ({interval(error, 'share')}); all answered, {number(every.value, 'share')} (aimed at: {aim})."
    return {"tone": "bad" if error.low > data["aim"] else "good", "text": text}
