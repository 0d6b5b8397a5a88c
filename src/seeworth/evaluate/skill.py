"""Skill: how much of a baseline's error is gone, over the records that both could answer, paired.

    skill = 1 - error / error of the baseline      1: no error is left, 0: as good as the baseline, below 0: worse

The error of a main figure is its mean absolute error, or 1 - the share that is right. Knows nothing of who answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .estimate import Estimate, difference, estimate, ratio
from .figures import Figure
from .score import Score


@dataclass(frozen=True)
class Skill:
    """The model beside one baseline in one main figure.

    Attributes:
        skill: 1 - error / error, NaN where the baseline makes no error. gain: the baseline's error - ours, in the figure's unit.
        baseline: the baseline's figure over all that it could answer.
    """

    figure: Figure
    name: str
    skill: Estimate
    gain: Estimate
    baseline: Estimate

    @property
    def outcome(self) -> int:
        """1 better, -1 worse: the whole 95 % interval of the paired gain lies on one side of 0; else 0, as with NaN ends."""
        return int(self.gain.low > 0) - int(self.gain.high < 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for evaluation.json."""
        return {"skill": self.skill.to_dict(), "gain": self.gain.to_dict(), "outcome": self.outcome}


def skill(
    figure: Figure, ours: Sequence[Score], theirs: Sequence[Score], name: str, baseline: Estimate, *, resamples: int, seed: int
) -> Skill:
    """Scores of the same records in the same order -> the skill in a main figure; n is 0 when no record was read by both."""
    pairs = [
        (a, b, one.group)
        for one, other in zip(ours, theirs, strict=True)
        if (a := error(figure, one)) is not None and (b := error(figure, other)) is not None
    ]
    groups = [group for *_, group in pairs]
    both = [(a, b) for a, b, _ in pairs]
    gain = difference([b for _, b in both], [a for a, _ in both], groups, resamples=resamples, seed=seed)
    left = estimate(both, groups, ratio, resamples=resamples if any(b for _, b in both) else 0, seed=seed)
    return Skill(figure, name, replace(left, value=1 - left.value, low=1 - left.high, high=1 - left.low), gain, baseline)


def error(figure: Figure, one: Score) -> float | None:
    """A score's error in a main figure: 0 is right, and the larger, the worse; None where it was not read."""
    value = figure.measure(one)
    return None if value is None else float(1 - value if figure.higher_is_better else value)


def best(skills: Sequence[Skill]) -> Skill | None:
    """The baseline that is hardest to beat: the least gain; None when no baseline answered."""
    return min((one for one in skills if one.gain.n), key=lambda one: one.gain.value, default=None)


def skills_to_dict(skills: Mapping[str, Sequence[Skill]]) -> dict[str, Any]:
    """Figure name -> {"best": name of the baseline or None, "against": {baseline: skill, gain, outcome}}."""
    found = {}
    for name, each in skills.items():
        hardest = best(each)
        found[name] = {"best": hardest.name if hardest else None, "against": {one.name: one.to_dict() for one in each if one.gain.n}}
    return found
