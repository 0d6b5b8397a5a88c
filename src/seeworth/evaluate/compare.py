"""Two models beside each other on the same records: paired differences of every figure, and the answers that changed.

The other's words are scored by the same code and against the same truth as ours. Reads predictions, asks nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, RunError
from ..record import Prediction, Record, read_predictions
from ..task import Task
from .estimate import Estimate, Floats, estimate
from .figures import Figure, measurable
from .folder import MANIFEST, read_manifest
from .score import Score, scores
from .words import figure as digits
from .words import listed

SHOWN = 12  # changed answers of either kind that are shown with their photos


@dataclass(frozen=True)
class Other:
    """The model compared with: its words, the task by which they are read, and what its evaluation knew of the records.

    `truths` (record id -> field -> true value in words) and `fingerprint` are empty where only a predictions file is given.
    """

    name: str
    source: Path
    task: Task
    predictions: Sequence[Prediction]
    truths: Mapping[str, Mapping[str, str]]
    fingerprint: str


def read_other(against: Path, task: Task, wanted: Collection[str]) -> Other:
    """A run that was evaluated, an evaluation folder or a predictions.jsonl file, to be compared with on the records `wanted`, by id.

    Raises RunError when there is no evaluation, or it is of another task; DataError for a file that holds no predictions, or when
    none is of a wanted record.
    """
    found = _read_file(against, task) if against.is_file() else _read_folder(against, task)
    if not any(one.record_id in wanted for one in found.predictions):
        raise DataError(f"{found.source} answers none of the {len(wanted)} records measured: compare evaluations of the same split")
    return found


def compare(
    task: Task,
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    other: Other,
    *,
    fingerprint: str,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Ours against the other's answers, over the records that both answered and that have the same true values in both.

    Returns plain data:
        other       name, source of the one compared with
        records     ours, theirs, both, groups: how many there are
        figures     name -> label, field, unit, higher_is_better, main, ours, other, difference (ours - other's, paired),
                    outcome: 1 better, -1 worse, 0 no clear difference, None for a bias, of which less is not better
        changes     better, same, worse: how many answers are; a record is better when its `Score.badness` is less
        changed     better and worse: up to 12 records each that changed most, with both texts
        verdict     sentences with their tone
        warnings    sentences

    Raises DataError when no record is in both with the same true values.
    """
    known = {one.record_id for one in predictions} & {one.record_id for one in other.predictions}
    both = [record for record in records if record.id in known and _same_truth(task, record, other)]
    if not both:
        same = f"{len(records)} records measured with the same true values"
        raise DataError(f"{other.source} answers none of the {same}: compare evaluations of the same data")
    ours = scores(task, both, predictions, "the model's predictions")
    theirs = scores(other.task, both, other.predictions, str(other.source))
    drawn: dict[str, int] = {"resamples": resamples, "seed": seed}
    found = {one.name: _figure(one, ours, theirs, drawn) for one in measurable(task, ours, theirs)}
    changes = [(before.badness - after.badness, after, before) for after, before in zip(ours, theirs, strict=True)]
    return {
        "other": {"name": other.name, "source": str(other.source)},
        "records": {
            "ours": len(records),
            "theirs": len({one.record_id for one in other.predictions}),
            "both": len(both),
            "groups": len({record.group for record in both}),
        },
        "figures": found,
        "changes": {
            "better": sum(gain > 0 for gain, *_ in changes),
            "same": sum(gain == 0 for gain, *_ in changes),
            "worse": sum(gain < 0 for gain, *_ in changes),
        },
        "changed": {"better": _most(changes, 1), "worse": _most(changes, -1)},
        "verdict": verdict(found, other.name, len(both)),
        "warnings": _warnings(other, fingerprint, [record for record in records if record.id in known], both),
    }


def paired(one: Figure, ours: Sequence[Score], theirs: Sequence[Score], *, resamples: int, seed: int) -> Estimate:
    """The figure of ours - theirs over the records that enter it in both, every resample drawing the same groups for both."""
    entered = [
        (a, b, mark.group)
        for mark, other in zip(ours, theirs, strict=True)
        if (a := one.measure(mark)) is not None and (b := one.measure(other)) is not None
    ]
    if not entered:
        return estimate([], [])
    first, second = (_prepared(one, [row[at] for row in entered]) for at in (0, 1))
    width = first.shape[1]

    def gap(values: Floats, weights: Floats) -> Floats:
        return np.asarray(one.statistic(_plain(values[:, :width]), weights) - one.statistic(_plain(values[:, width:]), weights))

    return estimate(np.hstack([first, second]), [row[2] for row in entered], gap, resamples=resamples, seed=seed)


def verdict(found: Mapping[str, Mapping[str, Any]], other: str, records: int) -> list[dict[str, str]]:
    """What the differences of the main figures say, in one sentence with its tone. Better and worse: the whole interval is on one side."""
    words: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for one in found.values():
        if one["main"] and one["difference"]["n"]:
            words[one["outcome"]].append(f"{one['label']} ({difference_words(one)})")
    said = {1: "better on ", 0: "no clear difference on ", -1: "worse on "}
    parts = [said[outcome] + listed(words[outcome]) for outcome in (1, -1, 0) if words[outcome]]
    if not parts:
        return [{"tone": "mixed", "text": f"Against {other}: no record could be read by both."}]
    tone = "bad" if words[-1] else "good" if words[1] else "mixed"
    return [{"tone": tone, "text": f"Against {other}, on the same {records} records: {'; '.join(parts)}."}]


def difference_words(one: Mapping[str, Any]) -> str:
    """A paired difference with its sign and interval: "+4.2 points, 1.0 to 7.5", "-120 USD, -180 to -61"."""
    found, unit = Estimate.from_dict(one["difference"]), one["unit"]
    if not found.n:
        return "none"
    shown = "points" if unit == "share" else "" if unit == "similarity" else unit
    sign = "+" if found.value > 0 else ""
    ends = "no interval" if np.isnan(found.low) else f"{digits(found.low, unit)} to {digits(found.high, unit)}"
    return f"{sign}{digits(found.value, unit)} {shown}".rstrip() + f", {ends}"


def _read_file(against: Path, task: Task) -> Other:
    return Other(against.name, against, task, list(read_predictions(against)), {}, "")


def _read_folder(against: Path, task: Task) -> Other:
    folder = against if (against / MANIFEST).is_file() else against / "evaluation"
    if not (folder / MANIFEST).is_file():
        raise RunError(f"{against} holds no evaluation to compare with: seeworth evaluate {against}, or give a predictions.jsonl file")
    content = read_manifest(folder)
    theirs = Task.from_dict(content["task"], folder / MANIFEST)
    ours, others = ([(one.name, one.kind, one.unit) for one in each.answer_fields] for each in (task, theirs))
    if sorted(ours, key=str) != sorted(others, key=str):
        names = [", ".join(name for name, *_ in fields) for fields in (others, ours)]
        raise RunError(f"{folder} answers {names[0]}, this evaluation {names[1]}: compare evaluations of the same task")
    truths = {one["record_id"]: {name: one["fields"][name]["truth"] for name in one["fields"]} for one in content["scores"]}
    predictions = list(read_predictions(folder / "predictions.jsonl"))
    return Other(str(content["model"]["name"]), folder, theirs, predictions, truths, str(content["data"]["fingerprint"]))


def _figure(one: Figure, ours: Sequence[Score], theirs: Sequence[Score], drawn: Mapping[str, int]) -> dict[str, Any]:
    draws = {"resamples": drawn["resamples"], "seed": drawn["seed"]}
    gap = paired(one, ours, theirs, **draws)
    sign = int(gap.low > 0) - int(gap.high < 0)
    about = {key: getattr(one, key) for key in ("label", "field", "unit", "higher_is_better", "main")}
    beside = {"ours": one.estimate(ours, **draws).to_dict(), "other": one.estimate(theirs, **draws).to_dict()}
    outcome = None if one.name.endswith("_bias") else sign if one.higher_is_better else -sign  # the less bias is not the better
    return {**about, **beside, "difference": gap.to_dict(), "outcome": outcome}


def _prepared(one: Figure, values: Sequence[Any]) -> Floats:
    """float[n, k]: what the figure's statistic takes."""
    found = one.prepare(values)
    return found if found.ndim == 2 else found[:, None]


def _plain(values: Floats) -> Floats:
    return values[:, 0] if values.shape[1] == 1 else values


def _same_truth(task: Task, record: Record, other: Other) -> bool:
    truth = other.truths.get(record.id)
    return truth is None or all(str(record.values.get(one.name)) == truth.get(one.name) for one in task.answer_fields)


def _most(changes: Sequence[tuple[float, Score, Score]], sign: int) -> list[dict[str, Any]]:
    """The records that changed most to the better (sign 1) or to the worse (-1), with both answers."""
    chosen = sorted((one for one in changes if sign * one[0] > 0), key=lambda one: -sign * one[0])[:SHOWN]
    return [
        {
            "record_id": after.record_id,
            "gain": gain,
            "ours": after.text,
            "other": before.text,
            "fields": {
                name: {"truth": str(own.truth), "ours": _words(own.answer), "other": _words(before.fields[name].answer)}
                for name, own in after.fields.items()
            },
        }
        for gain, after, before in chosen
    ]


def _warnings(other: Other, fingerprint: str, answered: Sequence[Record], both: Sequence[Record]) -> list[str]:
    found = []
    if len(both) < len(answered):
        other_truth = len(answered) - len(both)
        found.append(f"{other_truth} of the records {'has' if other_truth == 1 else 'have'} other true values in {other.source}: left out.")
    if other.fingerprint and other.fingerprint != fingerprint:
        found.append(f"{other.source} was made on other data (fingerprint {other.fingerprint[:12]}): its photos may differ.")
    return found


def _words(answer: object) -> str | None:
    return None if answer is None else str(answer)
