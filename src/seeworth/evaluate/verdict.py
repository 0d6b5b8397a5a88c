"""The verdict: what the figures say, in plain sentences, the most important first.

A claim is only made when the 95 % interval of a paired difference does not hold 0. Intervals and figures come from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .estimate import Estimate
from .faults import Fault
from .figures import Figure
from .grounding import Grounding, Tone
from .skill import Skill, best
from .words import interval, listed, number

READABLE = 0.95  # a model that is understood less often than this is no good for work


@dataclass(frozen=True)
class Sentence:
    """One plain sentence and how it is to be taken."""

    tone: Tone
    text: str


def verdict(
    main: Sequence[Figure],
    model: Mapping[str, Estimate],
    skills: Mapping[str, Sequence[Skill]],
    grounding: Grounding | None,
    why_no_grounding: str = "",
    faults: Sequence[Fault] = (),
) -> list[Sentence]:
    """The sentences: faults first, a model that ignores the photo before all; then baselines overall and by field, grounding, parse rate.

    Args:
        main: one figure a field.
        model: the model's estimates by figure name, `parse_rate` among them.
        skills: figure name -> the model beside each baseline that it may be held against.
    """
    against = {figure.name: [one for one in skills.get(figure.name, ()) if one.gain.n] for figure in main}
    photo = Sentence(grounding.tone, grounding.sentence) if grounding else Sentence("mixed", why_no_grounding)
    records = model["parse_rate"].n
    ordered = [_overall(main, against), *(_of_field(figure, model[figure.name], records, against[figure.name]) for figure in main)]
    ordered.insert(0 if photo.tone == "bad" else len(ordered), photo)
    told = [Sentence("bad", one.text) for one in faults]
    spoken = [*told, *(one for one in ordered if one.text and one.text not in {each.text for each in told})]
    return [*spoken, _readable(model["parse_rate"])]


def _overall(main: Sequence[Figure], against: Mapping[str, Sequence[Skill]]) -> Sentence:
    if not any(against.values()):
        return Sentence("mixed", "There is no baseline beside it, so nothing is known about what training brought.")
    better = [one.field or "" for one in main if _outcome(against[one.name]) == 1]
    if len(better) == len(main):
        return Sentence("good", f"Better than every baseline in {listed(better)}: each paired 95 % interval lies above 0.")
    parts = [f"better than every baseline in {listed(better)}"] if better else []
    for outcome, words in ((-1, "worse than"), (0, "no better than")):
        for one in main:
            if against[one.name] and _outcome(against[one.name]) == outcome:
                parts.append(f"{words} {_rivals(against[one.name], outcome)} in {one.field}")
    open_ = [one.field or "" for one in main if not against[one.name]]
    parts += [f"no baseline beside {listed(open_)}"] if open_ else []
    text = "; ".join(parts) + "."
    bad = not better or any(_outcome(one) == -1 for one in against.values())
    return Sentence("bad" if bad else "mixed", text[0].upper() + text[1:])


def _outcome(skills: Sequence[Skill]) -> int | None:
    """1 better than every baseline, -1 worse than one, else 0; None without baselines."""
    return min((one.outcome for one in skills), default=None)


def _rivals(skills: Sequence[Skill], outcome: int | None) -> str:
    """The baselines of one outcome, the hardest first: all of their names up to two, else the first and how many more."""
    found = sorted((one for one in skills if one.outcome == outcome), key=lambda one: one.gain.value)
    if not found:
        return ""
    if len(found) == len(skills) > 1:
        return "any baseline" if outcome == 0 else "every baseline"
    return listed([one.name for one in found]) if len(found) <= 2 else f"{found[0].name} and {len(found) - 1} other baselines"


def _of_field(figure: Figure, model: Estimate, records: int, skills: Sequence[Skill]) -> Sentence:
    unread = f" of {records}" if model.n < records else ""
    ours = f"{figure.label}: {number(model.value, figure.unit)} ({interval(model, figure.unit)}, n = {model.n}{unread})"
    if not model.n:
        return Sentence("bad", f"{figure.label}: not one answer could be read.")
    hardest = best(skills)
    if hardest is None:
        return Sentence("mixed", f"{ours}.")
    outcome = _outcome(skills)
    than = {1: "better than every baseline", 0: f"no better than {_rivals(skills, 0)}", -1: f"worse than {_rivals(skills, -1)}"}
    said = than[outcome or 0]
    tone: Tone = "good" if outcome == 1 else "bad" if outcome == -1 else "mixed"
    if model.n < READABLE * records:
        said, tone = f"among what could be read {said}", "bad" if tone == "bad" else "mixed"
    return Sentence(tone, f"{ours}, {said}. {_skill(hardest)}")


def _skill(one: Skill) -> str:
    beside = f"{one.name}, {number(one.baseline.value, one.figure.unit)}"
    if math.isnan(one.skill.value):
        return f"The best baseline makes no error: {beside}."
    ends = "no interval" if math.isnan(one.skill.low) else f"{one.skill.low:.2f} to {one.skill.high:.2f}"
    return f"Skill {one.skill.value:.2f} ({ends}) against the best baseline, {beside}."


def _readable(parsed: Estimate) -> Sentence:
    words = f"{number(parsed.value, 'share')} of {parsed.n} answers could be read in full ({interval(parsed, 'share')})."
    return Sentence("good" if parsed.value >= READABLE else "bad", words)
