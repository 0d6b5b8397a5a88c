"""The verdict: what the figures say, in plain sentences, the most important first.

A claim is only made when 95 % intervals do not touch. Intervals and figures come from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .estimate import Estimate
from .figures import Figure
from .grounding import Grounding, Tone
from .words import interval, listed, number

READABLE = 0.95  # a model that is understood less often than this is no good for work


@dataclass(frozen=True)
class Sentence:
    """One plain sentence and how it is to be taken."""

    tone: Tone
    text: str


@dataclass(frozen=True)
class Comparison:
    """The model beside one baseline in one figure: -1 worse, 0 the intervals touch, 1 better."""

    figure: Figure
    model: Estimate
    name: str
    baseline: Estimate

    @property
    def outcome(self) -> int:
        """Decided by intervals; NaN ends compare as touching."""
        above, below = self.model.low > self.baseline.high, self.model.high < self.baseline.low
        sign = int(above) - int(below)
        return sign if self.figure.higher_is_better else -sign


def verdict(
    main: Sequence[Figure],
    model: Mapping[str, Estimate],
    baselines: Mapping[str, Mapping[str, Estimate]],
    grounding: Grounding | None,
    why_no_grounding: str = "",
) -> list[Sentence]:
    """The sentences: a model that ignores the photo first, then baselines overall and by field, grounding, parse rate.

    Args:
        main: one figure a field.
        model: the model's estimates by figure name, `parse_rate` among them.
        baselines: baseline name -> the estimates it may be held against.
    """
    against = {
        figure.name: [
            Comparison(figure, model[figure.name], name, found[figure.name]) for name, found in baselines.items() if figure.name in found
        ]
        for figure in main
    }
    photo = Sentence(grounding.tone, grounding.sentence) if grounding else Sentence("mixed", why_no_grounding)
    ordered = [_overall(main, against), *(_of_field(figure, model[figure.name], against[figure.name]) for figure in main)]
    ordered.insert(0 if photo.tone == "bad" else len(ordered), photo)
    return [*(one for one in ordered if one.text), _readable(model["parse_rate"])]


def strongest(comparisons: Sequence[Comparison]) -> Comparison:
    """The baseline that is hardest to beat in one figure."""
    return max(comparisons, key=lambda one: one.baseline.value if one.figure.higher_is_better else -one.baseline.value)


def _overall(main: Sequence[Figure], against: Mapping[str, Sequence[Comparison]]) -> Sentence:
    better = [one.field or "" for one in main if against[one.name] and all(found.outcome > 0 for found in against[one.name])]
    worse = [one.field or "" for one in main if any(found.outcome < 0 for found in against[one.name])]
    if not any(against.values()):
        return Sentence("mixed", "There is no baseline beside it, so nothing is known about what training brought.")
    if len(better) == len(main):
        return Sentence("good", f"Better than every baseline in {listed(better)}: the 95 % intervals do not touch.")
    open_ = [one.field or "" for one in main if one.field not in better and one.field not in worse]
    parts = [f"better than every baseline in {listed(better)}"] if better else []
    parts += [f"worse than a baseline in {listed(worse)}"] if worse else []
    parts += [f"not clearly better than every baseline in {listed(open_)}"] if open_ else []
    text = "; ".join(parts) + "."
    return Sentence("bad" if worse or not better else "mixed", text[0].upper() + text[1:])


def _of_field(figure: Figure, model: Estimate, comparisons: Sequence[Comparison]) -> Sentence:
    ours = f"{figure.label}: {number(model.value, figure.unit)} ({interval(model, figure.unit)}, n = {model.n})"
    if not model.n:
        return Sentence("bad", f"{figure.label}: not one answer could be read.")
    if not comparisons:
        return Sentence("mixed", f"{ours}.")
    best = strongest(comparisons)
    said = {1: "better than", 0: "not clearly different from", -1: "worse than"}[best.outcome]
    theirs = f"{best.name}, {number(best.baseline.value, figure.unit)} ({interval(best.baseline, figure.unit)})"
    tone: Tone = "good" if best.outcome > 0 else "bad" if best.outcome < 0 else "mixed"
    return Sentence(tone, f"{ours}, {said} the strongest baseline, {theirs}.")


def _readable(parsed: Estimate) -> Sentence:
    words = f"{number(parsed.value, 'share')} of {parsed.n} answers could be read in full ({interval(parsed, 'share')})."
    return Sentence("good" if parsed.value >= READABLE else "bad", words)
