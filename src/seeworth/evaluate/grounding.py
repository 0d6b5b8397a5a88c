"""Grounding: does the answer come from the photo? The same records with their own photo, a blank one, and another record's.

Works on scores of the three. Who made the photos (`data.ablate`) and who answered is not its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..task import Task
from .estimate import Estimate, difference, share
from .figures import Figure, figures_of
from .score import Score
from .words import points

Tone: TypeAlias = Literal["good", "mixed", "bad"]


@dataclass(frozen=True)
class Ablation:
    """One photo taken away: the figure with it (0..1), the drop against own photos (0..1, paired), the share of changed words."""

    value: Estimate
    drop: Estimate
    changed: Estimate

    @property
    def hurts(self) -> bool:
        """The whole interval of the drop lies above 0."""
        return self.drop.low > 0


@dataclass(frozen=True)
class Grounding:
    """The figure looked at, its value on own photos, and the same on blank and on swapped photos."""

    figure: Figure
    own: Estimate
    blank: Ablation
    swapped: Ablation

    @property
    def tone(self) -> Tone:
        """good: both ablations hurt; bad: neither does; else mixed."""
        hurt = self.blank.hurts + self.swapped.hurts
        return "good" if hurt == 2 else "mixed" if hurt else "bad"

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        drops = f"with a blank photo it falls by {points(self.blank.drop)}, with another record's photo by {points(self.swapped.drop)}"
        label = self.figure.label
        if self.tone == "good":
            return f"The answers come from the photo. {label}: {drops}."
        if self.tone == "mixed":
            kind = "a blank photo" if self.blank.hurts else "another record's photo"
            return f"Only in part do the answers come from the photo: {kind} alone makes them worse. {label}: {drops}."
        if max(self.blank.changed.value, self.swapped.changed.value) > 0:
            return f"No sign that the photo helps: answers change with the photo, but get no worse without it. {label}: {drops}."
        return "The model does not look at the photo: not one answer changes when the photo is blank or another record's."

    def to_dict(self) -> dict[str, Any]:
        """Plain data for evaluation.json."""
        ablations = {
            name: {"value": one.value.to_dict(), "drop": one.drop.to_dict(), "changed": one.changed.to_dict()}
            for name, one in (("blank", self.blank), ("swapped", self.swapped))
        }
        figure = {"figure": self.figure.name, "label": self.figure.label}
        return {**figure, "own": {"value": self.own.to_dict()}, **ablations, "tone": self.tone, "verdict": self.sentence}


def grounding_figure(task: Task) -> Figure:
    """Accuracy of the first category, else exact match of the first text, else share within 25 % of the first number.

    For grounding every record enters: an answer that cannot be read is a miss, or a model that falls silent on blank
    photos would keep its figure.
    """
    by_name = {one.name: one for one in figures_of(task)}
    for kind, ending in (("category", "accuracy"), ("text", "exact"), ("number", "within_25")):
        for one in task.answer_fields:
            if one.kind == kind:
                return by_name[f"{one.name}_{ending}"]
    raise AssertionError("a task has at least one answer field")


def grounding(
    task: Task, own: Sequence[Score], blank: Sequence[Score], swapped: Sequence[Score], *, resamples: int = 2000, seed: int = 0
) -> Grounding:
    """Compare scores of the same records, in the same order, with own, blank and swapped photos.

    Raises ValueError when they are not of the same records.
    """
    ids = [one.record_id for one in own]
    if not ids or ids != [one.record_id for one in blank] or ids != [one.record_id for one in swapped]:
        raise ValueError("own, blank and swapped must be scores of the same records in the same order")
    figure = grounding_figure(task)
    groups = [one.group for one in own]
    hits = {name: [figure.measure(one) or 0.0 for one in marks] for name, marks in (("own", own), ("blank", blank), ("swapped", swapped))}

    def ablation(name: str, marks: Sequence[Score]) -> Ablation:
        changed = [float(before.text != after.text) for before, after in zip(own, marks, strict=True)]
        return Ablation(
            share(hits[name], groups, resamples=resamples, seed=seed),
            difference(hits["own"], hits[name], groups, resamples=resamples, seed=seed),
            share(changed, groups, resamples=resamples, seed=seed),
        )

    value = share(hits["own"], groups, resamples=resamples, seed=seed)
    return Grounding(figure, value, ablation("blank", blank), ablation("swapped", swapped))
