"""Grounding: does the answer come from the photo? The same records with their own photo, and with it spoilt or taken away.

    blank           a grey photo                    same_category   the photo of another record of its category
    swapped         another record's photo          blur_N          its own, blurred ever more: a ladder
    text            no photo in the prompt

Works on scores of these. Who made the photos (`data.ablate`) and who answered is not its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ..task import Task
from .estimate import Estimate, difference, estimate, ratio, share
from .figures import Figure, figures_of
from .score import Score
from .words import interval, listed, number, points

Tone: TypeAlias = Literal["good", "mixed", "bad"]

LABELS = {
    "blank": "a blank photo",
    "swapped": "another record's photo",
    "same_category": "another photo of the same category",
    "text": "no photo at all",
}
JUDGED = ("blank", "swapped", "text")  # a model that looks must lose by each of these
HARDLY = 0.05  # of the answers: a model of which fewer change without the photo does not look at it


def label_of(mode: str) -> str:
    """A mode in words: "a blank photo", "its own photo, blurred by 12 %"."""
    return LABELS.get(mode) or f"its own photo, blurred by {mode.removeprefix('blur_')} %"


@dataclass(frozen=True)
class Drop:
    """One figure (0..1) with own photos and with spoilt ones, over the same records, and own - spoilt, paired."""

    figure: Figure
    own: Estimate
    value: Estimate
    drop: Estimate


@dataclass(frozen=True)
class Mode:
    """One way to spoil the photo: the drop of each field's figure, the one that is judged first; the share of changed words."""

    name: str
    drops: tuple[Drop, ...]
    changed: Estimate

    @property
    def drop(self) -> Estimate:
        """Of the figure that is judged."""
        return self.drops[0].drop

    @property
    def hurts(self) -> bool:
        """The whole interval of the judged drop lies above 0."""
        return self.drop.low > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for evaluation.json."""
        fields = {
            one.figure.name: {"label": one.figure.label, **{key: getattr(one, key).to_dict() for key in ("own", "value", "drop")}}
            for one in self.drops
        }
        about = {"label": label_of(self.name), "value": self.drops[0].value.to_dict(), "drop": self.drop.to_dict()}
        return {**about, "changed": self.changed.to_dict(), "fields": fields}


@dataclass(frozen=True)
class Grounding:
    """The figure that is judged, its value on own photos, and each mode.

    `share_of_skill` is the part of the model's lead over the most common answer that goes with the photo, at most 1; n is 0 when
    there is no such lead, or it was not asked for.
    """

    figure: Figure
    own: Estimate
    modes: Mapping[str, Mode]
    share_of_skill: Estimate

    @property
    def judged(self) -> list[Mode]:
        """The modes that the verdict hangs on."""
        return [self.modes[name] for name in JUDGED if name in self.modes]

    @property
    def tone(self) -> Tone:
        """good: each judged mode hurts; bad: none does; else mixed."""
        hurt = [one.hurts for one in self.judged]
        return "good" if all(hurt) else "mixed" if any(hurt) else "bad"

    @property
    def ignores_the_photo(self) -> bool:
        """Hardly any answer changes, whatever is done to the photo."""
        return all(one.changed.value < HARDLY for one in self.judged)

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        drops = listed([f"with {label_of(one.name)} it falls by {points(one.drop)}" for one in self.judged])
        label = self.figure.label
        if self.ignores_the_photo:
            most = max(one.changed.value for one in self.judged)
            without = " or ".join(label_of(one.name) for one in self.judged)
            changes = f"only {number(most, 'share')} of the answers change" if most else "not one answer changes"
            return f"The model does not look at the photo: {changes} with {without} in its place."
        if self.tone == "good":
            return f"The answers come from the photo. {label}: {drops}.{self._share}"
        if self.tone == "mixed":
            worse, same = (listed([label_of(one.name) for one in self.judged if one.hurts == each]) for each in (True, False))
            return f"Only in part do the answers come from the photo: worse with {worse}, not with {same}. {label}: {drops}.{self._share}"
        return f"No sign that the photo helps: answers change with the photo, but get no worse without it. {label}: {drops}."

    @property
    def _share(self) -> str:
        one = self.share_of_skill
        if not one.n:
            return ""
        part = f"{number(one.value, 'share')} ({interval(one, 'share')})"
        return f" Of its lead over the most common answer {part} comes from the photo."

    def to_dict(self) -> dict[str, Any]:
        """Plain data for evaluation.json."""
        return {
            "figure": self.figure.name,
            "label": self.figure.label,
            "own": {"value": self.own.to_dict()},
            "modes": {name: one.to_dict() for name, one in self.modes.items()},
            "share_of_skill": self.share_of_skill.to_dict(),
            "ignores_the_photo": self.ignores_the_photo,
            "tone": self.tone,
            "verdict": self.sentence,
        }


def grounding_figures(task: Task) -> list[Figure]:
    """One figure of 0 or 1 a field: accuracy, exact match, share within 25 %. The first is judged: of the first category, else of
    the first text, else of the first number.

    For grounding every record enters: an answer that cannot be read is a miss, or a model that falls silent on blank
    photos would keep its figure.
    """
    by_name = {one.name: one for one in figures_of(task)}
    endings = {"category": "accuracy", "text": "exact", "number": "within_25"}
    order = list(endings)
    fields = sorted(task.answer_fields, key=lambda one: order.index(one.kind))
    return [by_name[f"{one.name}_{endings[one.kind]}"] for one in fields]


def grounding(
    task: Task,
    own: Sequence[Score],
    modes: Mapping[str, Sequence[Score]],
    commonest: Sequence[Score] = (),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Grounding:
    """Compare scores with own photos and with spoilt ones.

    Args:
        own: every record that some mode asked. modes: name -> scores of these records, or some of them, "blank" among them.
        commonest: scores of the most common answer to all of `own`; empty leaves `share_of_skill` out.

    Raises ValueError when a mode has a record that `own` has not, or none of the judged modes is there.
    """
    by_id = {one.record_id: one for one in own}
    if not any(name in modes for name in JUDGED):
        raise ValueError(f"expected one of the modes {', '.join(JUDGED)}")
    if lost := [one.record_id for marks in modes.values() for one in marks if one.record_id not in by_id] or not own:
        raise ValueError(f"expected scores of own photos for every record of every mode, {lost} has none")
    found = grounding_figures(task)

    def mode(name: str, marks: Sequence[Score]) -> Mode:
        before = [by_id[one.record_id] for one in marks]
        groups = [one.group for one in marks]
        changed = [float(one.text != other.text) for one, other in zip(before, marks, strict=True)]
        drops = tuple(_drop(one, before, marks, resamples, seed) for one in found)
        return Mode(name, drops, share(changed, groups, resamples=resamples, seed=seed))

    value = share(_hits(found[0], own), [one.group for one in own], resamples=resamples, seed=seed)
    without = next(name for name in ("text", "blank", "swapped") if name in modes)
    part = _share_of_skill(found[0], by_id, modes[without], commonest, resamples, seed)
    return Grounding(found[0], value, {name: mode(name, marks) for name, marks in modes.items() if marks}, part)


def _drop(figure: Figure, before: Sequence[Score], after: Sequence[Score], resamples: int, seed: int) -> Drop:
    groups = [one.group for one in before]
    own, spoilt = _hits(figure, before), _hits(figure, after)
    return Drop(
        figure,
        share(own, groups, resamples=resamples, seed=seed),
        share(spoilt, groups, resamples=resamples, seed=seed),
        difference(own, spoilt, groups, resamples=resamples, seed=seed),
    )


def _share_of_skill(
    figure: Figure, own: Mapping[str, Score], without: Sequence[Score], commonest: Sequence[Score], resamples: int, seed: int
) -> Estimate:
    """(own - without) / (own - commonest) over the same records, paired; n is 0 unless the lead below the line is clear."""
    nothing = estimate([], [])
    by_id = {one.record_id: one for one in commonest}
    if not all(one.record_id in by_id for one in without):
        return nothing
    groups = [one.group for one in without]
    ours = _hits(figure, [own[one.record_id] for one in without])
    floor = _hits(figure, [by_id[one.record_id] for one in without])
    if not difference(ours, floor, groups, resamples=resamples, seed=seed).low > 0:
        return nothing
    pairs = [(a - b, a - c) for a, b, c in zip(ours, _hits(figure, without), floor, strict=True)]
    found = estimate(pairs, groups, ratio, resamples=resamples, seed=seed)
    return replace(found, value=min(found.value, 1.0), low=min(found.low, 1.0), high=min(found.high, 1.0))


def _hits(figure: Figure, marks: Sequence[Score]) -> list[float]:
    return [figure.measure(one) or 0.0 for one in marks]
