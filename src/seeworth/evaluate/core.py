"""The pure core: a task, records and what was answered -> everything evaluation.json says of them, as plain data.

No file is read or written here and nobody is asked; `run` does both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

from ..predict.baselines import BEFORE, COMMONEST, PREDICTED
from ..record import Prediction, Record
from ..task import Task
from .estimate import Estimate
from .faults import find_faults, leaked, leaks
from .figures import Figure, confusion, figures, figures_of, main_figures, unread
from .gallery import galleries, told
from .grounding import JUDGED, Grounding, grounding
from .score import Score, scores
from .skill import Skill, skill, skills_to_dict
from .slices import sliced
from .verdict import verdict

PAIRS = 12  # leaking records that are told one by one


@dataclass(frozen=True)
class Baseline:
    """A baseline's answers; `given` names the fields it was told, which it is not measured on."""

    predictions: Sequence[Prediction]
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """Everything that was answered about the records.

    Attributes:
        baselines: by name; those of `predict.baselines` that a check needs are found by their names.
        modes: the model's answers to some of the records, asked again with spoilt photos: see `grounding`.
        left_out: what was not asked, and why, in sentences.
    """

    model: Sequence[Prediction]
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    modes: Mapping[str, Sequence[Prediction]] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    why_not_grounded: str = "The grounding check was left out: whether the answers come from the photo is not known."


def evaluate(
    task: Task,
    records: Sequence[Record],
    answers: Answers,
    *,
    train: Sequence[Record] = (),
    slices: Sequence[str] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the answers. Raises DataError when a record has no answer, or no true value, SettingsError for an unknown column.

    Args:
        train: what the model was trained on, that must share nothing with `records`. slices: columns to slice by.

    Returns plain data, estimates as {"value", "low", "high", "n"}:
        figures     name -> label, field, unit, higher_is_better, main, model, baselines {name: estimate}
        unread      field -> answers that it could not be read from
        skill       main figure -> the best baseline, and the model against each: skill, gain, outcome
        confusion   category field -> [true, answered or None, count]
        slices      see `slices.sliced`
        grounding   see `Grounding.to_dict`; None when it was left out
        faults      code, text, ungrounded: what makes the figures worthless
        verdict     sentences with their tone, the most important first
        left_out    what was not asked, and why
        leaks       what they share ("photo", "group") -> count, and the first pairs of record and train record; None without `train`
        gallery     see `gallery.Galleries`, with gallery_found and gallery_notes
        scores      one a record, with the words, what was read, and how sure of it the predictor said it was
    """
    ours = scores(task, records, answers.model, "the model's predictions")
    theirs = {name: scores(task, records, one.predictions, name) for name, one in answers.baselines.items()}
    draws: _Draws = {"resamples": resamples, "seed": seed}
    model = figures(task, ours, **draws)
    beside = {name: _not_given(task, answers.baselines[name].given, figures(task, marks, **draws)) for name, marks in theirs.items()}
    skills = {one.name: _skills(one, ours, theirs, beside, draws) for one in main_figures(task)}
    ground = _ground(task, records, ours, theirs.get(COMMONEST, ()), answers.modes, draws)
    faults = [
        *find_faults(task, ours, grounding=ground, looked_up=theirs.get(PREDICTED, ()), before=theirs.get(BEFORE, ()), seed=seed),
        *leaks(records, train),
    ]
    by_id = {one.record_id: one for one in answers.model}
    numbers = {one.name: [float(each.values[one.name]) for each in train if one.name in each.values] for one in task.of_kind("number")}
    spoken = verdict(main_figures(task), model, skills, ground, answers.why_not_grounded, faults)
    return {
        "figures": {one.name: _figure(one, model, beside) for one in figures_of(task) if one.name in model},
        "unread": unread(task, ours),
        "skill": skills_to_dict(skills),
        "confusion": {one.name: [list(row) for row in confusion(one.name, ours)] for one in task.of_kind("category")},
        "slices": sliced(task, records, ours, slices, **draws),
        "grounding": None if ground is None else ground.to_dict(),
        "faults": [asdict(one) for one in faults],
        "verdict": [asdict(one) for one in spoken],
        "left_out": list(answers.left_out),
        "leaks": _leaks(records, train) if train else None,
        **galleries(task, ours, by_id, numbers, seed=seed).to_dict(),
        "scores": [_with_certainty(one, told(task, by_id[one.record_id])) for one in ours],
    }


def _leaks(records: Sequence[Record], train: Sequence[Record]) -> dict[str, Any]:
    pairs = leaked(records, train)
    found = {what: {"count": len(one), "pairs": [list(pair) for pair in one[:PAIRS]]} for what, one in pairs.items()}
    return {"train": len(train), **found}


def _with_certainty(one: Score, certainty: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    plain = one.to_dict()
    return {**plain, "fields": {name: {**data, **certainty.get(name, {})} for name, data in plain["fields"].items()}}


class _Draws(TypedDict):
    resamples: int
    seed: int


def _skills(
    figure: Figure,
    ours: Sequence[Score],
    theirs: Mapping[str, Sequence[Score]],
    beside: Mapping[str, Mapping[str, Estimate]],
    draws: _Draws,
) -> list[Skill]:
    fair = {name: marks for name, marks in theirs.items() if figure.name in beside[name]}
    return [skill(figure, ours, marks, name, beside[name][figure.name], **draws) for name, marks in fair.items()]


def _ground(
    task: Task,
    records: Sequence[Record],
    ours: Sequence[Score],
    commonest: Sequence[Score],
    modes: Mapping[str, Sequence[Prediction]],
    draws: _Draws,
) -> Grounding | None:
    """None when no mode was asked that the verdict hangs on. Each mode is scored on the records that it was asked about."""
    if not any(modes.get(name) for name in JUDGED):
        return None
    asked = {name: {one.record_id for one in answered} for name, answered in modes.items()}
    spoilt = {
        name: scores(task, [record for record in records if record.id in asked[name]], answered, f"answers with {name} photos")
        for name, answered in modes.items()
        if answered
    }
    every = set().union(*asked.values())
    own, floor = ([one for one in marks if one.record_id in every] for marks in (ours, commonest))
    return grounding(task, own, spoilt, floor, **draws)


def _not_given(task: Task, given: tuple[str, ...], found: dict[str, Estimate]) -> dict[str, Estimate]:
    return {one.name: found[one.name] for one in figures_of(task) if one.field not in given and one.name in found}


def _figure(one: Figure, model: Mapping[str, Estimate], beside: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    about = {key: getattr(one, key) for key in ("label", "field", "unit", "higher_is_better", "main")}
    others = {name: found[one.name].to_dict() for name, found in beside.items() if one.name in found}
    return {**about, "model": model[one.name].to_dict(), "baselines": others}
