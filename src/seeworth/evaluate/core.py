"""The pure core: a task, records and what was answered -> everything evaluation.json says of them, as plain data.

No file is read or written here and nobody is asked; `run` does both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

import numpy as np

from ..record import Prediction, Record
from ..task import Task
from .estimate import Estimate
from .figures import Figure, confusion, error_ratio, figures, figures_of, main_figures
from .grounding import Grounding, grounding
from .score import Score, scores
from .verdict import verdict

GALLERY = 12  # photos of best and of worst answers


@dataclass(frozen=True)
class Baseline:
    """A baseline's answers; `given` names the fields it was told, which it is not measured on."""

    predictions: Sequence[Prediction]
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ablated:
    """The model's answers to some of the records, asked again with blank and with swapped photos."""

    record_ids: Sequence[str]
    blank: Sequence[Prediction]
    swapped: Sequence[Prediction]


@dataclass(frozen=True)
class Answers:
    """Everything that was answered about the records."""

    model: Sequence[Prediction]
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    ablated: Ablated | None = None
    why_not_ablated: str = "The grounding check was left out: whether the answers come from the photo is not known."


def evaluate(task: Task, records: Sequence[Record], answers: Answers, *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Measure the answers. Raises DataError when a record has no answer, or no true value.

    Returns plain data, estimates as {"value", "low", "high", "n"}:
        figures     name -> label, field, unit, higher_is_better, main, model, baselines {name: estimate}
        ratios      number field -> baseline -> our mean absolute error over its, paired
        confusion   category field -> [true, answered or None, count]
        grounding   see `Grounding.to_dict`; None when it was left out
        verdict     sentences with their tone, the most important first
        gallery     record ids of the best and of the worst answers
        scores      one a record, with the words and what was read
    """
    ours = scores(task, records, answers.model, "the model's predictions")
    theirs = {name: scores(task, records, one.predictions, name) for name, one in answers.baselines.items()}
    draws: _Draws = {"resamples": resamples, "seed": seed}
    model = figures(task, ours, **draws)
    beside = {name: _not_given(task, answers.baselines[name].given, figures(task, marks, **draws)) for name, marks in theirs.items()}
    ground = _ground(task, records, ours, answers.ablated, draws)
    spoken = verdict(main_figures(task), model, beside, ground, answers.why_not_ablated)
    return {
        "figures": {one.name: _figure(one, model, beside) for one in figures_of(task)},
        "ratios": {
            one.name: {name: error_ratio(one.name, ours, marks, **draws).to_dict() for name, marks in theirs.items()}
            for one in task.of_kind("number")
        },
        "confusion": {one.name: [list(row) for row in confusion(one.name, ours)] for one in task.of_kind("category")},
        "grounding": None if ground is None else ground.to_dict(),
        "verdict": [asdict(one) for one in spoken],
        "gallery": gallery(ours, seed),
        "scores": [one.to_dict() for one in ours],
    }


def gallery(marks: Sequence[Score], seed: int, many: int = GALLERY) -> dict[str, list[str]]:
    """Record ids of the `many` best and worst answers; of equals, those that a seeded shuffle puts first. None is in both."""
    shuffled = [marks[index] for index in np.random.default_rng(seed).permutation(len(marks))]
    ids = [one.record_id for one in sorted(shuffled, key=lambda one: one.badness)]
    many = min(many, len(ids) // 2)
    return {"best": ids[:many], "worst": ids[::-1][:many]}


class _Draws(TypedDict):
    resamples: int
    seed: int


def _ground(task: Task, records: Sequence[Record], ours: Sequence[Score], ablated: Ablated | None, draws: _Draws) -> Grounding | None:
    if ablated is None or not ablated.record_ids:
        return None
    wanted = set(ablated.record_ids)
    asked = [record for record in records if record.id in wanted]
    own = [one for one in ours if one.record_id in wanted]
    blank = scores(task, asked, ablated.blank, "answers to blank photos")
    swapped = scores(task, asked, ablated.swapped, "answers to swapped photos")
    return grounding(task, own, blank, swapped, **draws)


def _not_given(task: Task, given: tuple[str, ...], found: dict[str, Estimate]) -> dict[str, Estimate]:
    return {one.name: found[one.name] for one in figures_of(task) if one.field not in given}


def _figure(one: Figure, model: Mapping[str, Estimate], beside: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    about = {key: getattr(one, key) for key in ("label", "field", "unit", "higher_is_better", "main")}
    others = {name: found[one.name].to_dict() for name, found in beside.items() if one.name in found}
    return {**about, "model": model[one.name].to_dict(), "baselines": others}
