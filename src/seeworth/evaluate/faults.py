"""Faults: what makes figures worthless, each told from answers and records alone, so that it works on a predictions.jsonl too.

    photo_ignored   hardly an answer changes with the photo      leak            a record was trained on
    one_answer      every record is answered alike               not_applied     the adapter changes nothing
    unrelated       answers fit other records just as well       other_unit      numbers are off by one and the same factor
    looked_up       a number is its category's median            teacher_forced  wrong numbers have the length of the truth

`evaluate` ends with status 1 when there is one. Each is told only on evidence that an honest model does not give by chance; the
constants below say how much. Knows nothing of models.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..record import Record
from ..task import Field, Task
from .estimate import Estimate, Floats, estimate
from .grounding import Grounding
from .measures import words_f1, words_of
from .score import Score
from .units import constant_factor, currency
from .words import number

ENOUGH = 20  # records below which none of this is told
PAIRINGS = 20  # other records that an answer is held against
ALIKE = 0.9  # of the numbers that are their category's median
CHANCE = 1e-6  # of as many wrong numbers having the length of the truth
OTHERS = 1000  # truths that a wrong number is held against there, spread over the records
FAR = 1.25  # the factor from which a number counts as wrong there


@dataclass(frozen=True)
class Fault:
    """A short stable code, a sentence, and whether it says that answers do not come from the photo: `allow_ungrounded` allows these."""

    code: str
    text: str
    ungrounded: bool = False


def find_faults(
    task: Task, ours: Sequence[Score], *, grounding: Grounding | None, looked_up: Sequence[Score], before: Sequence[Score], seed: int = 0
) -> list[Fault]:
    """All faults that scores show, the photo's first.

    Args:
        looked_up: scores of the median of the category that the model answered, before: those of the model before fine-tuning; over
            the same records in the same order, empty where there is none.
    """
    blind = grounding is not None and grounding.ignores_the_photo
    found = [Fault("photo_ignored", grounding.sentence, ungrounded=True)] if grounding is not None and blind else []
    if len(ours) < ENOUGH:
        return found
    alike = one_answer(ours)
    found += alike or unrelated(task, ours, seed)
    found += not_applied(ours, before) if before else []
    for one in task.of_kind("number"):
        found += other_unit(one, ours)
        found += median_looked_up(one, ours, looked_up) if looked_up and not alike else []
        found += teacher_forced(one, ours)
    return found


def leaked(records: Sequence[Record], train: Sequence[Record]) -> dict[str, list[tuple[str, str]]]:
    """What is shared, "photo" or "group" -> ids of each record that shares it with a train record, and of that one.

    The same photo: its name is the same hash, or its path the same.
    """
    photos = {_photo_key(photo): one.id for one in train for photo in one.all_photos}
    groups = {one.group: one.id for one in train}
    known = ((one.id, next((key for photo in one.all_photos if (key := _photo_key(photo)) in photos), None)) for one in records)
    return {
        "photo": [(name, photos[key]) for name, key in known if key is not None],
        "group": [(one.id, groups[one.group]) for one in records if one.group in groups],
    }


def leaks(records: Sequence[Record], train: Sequence[Record]) -> list[Fault]:
    """Records that share a photo, or a group, with a train record."""
    found = []
    for what, pairs in leaked(records, train).items():
        if pairs:
            first = f"{pairs[0][0]!r} that of train record {pairs[0][1]!r}"
            text = f"The split leaks: {len(pairs)} of {len(records)} records have the {what} of a train record ({first})"
            found.append(Fault("leak", f"{text}: their figures are no measurement. Import the data anew, and train on its own splits."))
    return found


def one_answer(ours: Sequence[Score]) -> list[Fault]:
    """Every record is answered with the same words, although the truths differ."""
    if len({one.text for one in ours}) > 1 or len({tuple(str(f.truth) for f in one.fields.values()) for one in ours}) == 1:
        return []
    words = ours[0].text if len(ours[0].text) <= 80 else f"{ours[0].text[:79]}…"
    text = f"All {len(ours)} answers are the same words, {words!r}: the photo does not reach the model, or it has learnt nothing."
    return [Fault("one_answer", text, ungrounded=True)]


def unrelated(task: Task, ours: Sequence[Score], seed: int = 0) -> list[Fault]:
    """No field's answers fit their own records better than other records: labels, or answers, are shuffled, or nothing was learnt."""
    gains = [gain for one in task.answer_fields if (gain := _own_over_others(one, ours, seed)).n >= ENOUGH]
    if not gains or any(not gain.low <= 0 for gain in gains):
        return []
    return [
        Fault(
            "unrelated",
            f"The answers fit other records as well as their own, in every field (n = {max(one.n for one in gains)}): "
            "labels or predictions are shuffled, or nothing was learnt.",
            ungrounded=True,
        )
    ]


def not_applied(ours: Sequence[Score], before: Sequence[Score]) -> list[Fault]:
    """The tuned model says word for word what the model said before fine-tuning."""
    if any(one.text != other.text for one, other in zip(ours, before, strict=True)):
        return []
    return [
        Fault(
            "not_applied",
            f"All {len(ours)} answers are those of the model before fine-tuning, word for word: the adapter was not applied, or is empty.",
        )
    ]


def other_unit(one: Field, ours: Sequence[Score]) -> list[Fault]:
    """Numbers are off by one and the same factor, see `units`."""
    pairs = [(t, a, mark.group) for mark in ours if (pair := _numbers(mark, one.name)) for t, a in [pair] if t > 0 and a > 0]
    if len(pairs) < ENOUGH:
        return []
    truth, answer = np.array([(t, a) for t, a, _ in pairs]).T
    found = constant_factor(truth, answer, [group for *_, group in pairs])
    if found is None:
        return []
    factor = found.factor
    text = f"{one.name} is {factor.value:.3g} ({factor.low:.3g} to {factor.high:.3g}) times the truth throughout; divided by that, "
    if found.hits is None:
        text += f"its median error falls from {number(100 * found.error, '%')} to {number(100 * found.left, '%')}"
    else:
        before, after = (number(hits, "share") for hits in found.hits)
        text += f"{after} of the answers are prices that true records have, as they are {before}"
    name = currency(factor.value, one.unit)
    hint = f" ({name}, perhaps)" if name else ""
    return [Fault("other_unit", f"{text}: is it in another currency or unit{hint}?")]


def median_looked_up(one: Field, ours: Sequence[Score], looked_up: Sequence[Score]) -> list[Fault]:
    """A number is nearly always the train median of the category that was answered with it, and the truth is not."""
    both = ((a.fields[one.name], b.fields[one.name].answer) for a, b in zip(ours, looked_up, strict=True))
    pairs = [(field, other) for field, other in both if field.answer is not None]
    if len(pairs) < ENOUGH:
        return []
    same = sum(field.answer == other for field, other in pairs) / len(pairs)
    true = sum(field.truth == other for field, other in pairs) / len(pairs)
    if same < ALIKE or true > ALIKE / 2:
        return []
    return [
        Fault(
            "looked_up",
            f"{one.name} is the train median of the answered category in {number(same, 'share')} of {len(pairs)} answers: "
            "it is looked up, not judged from the photo.",
            ungrounded=True,
        )
    ]


def teacher_forced(one: Field, ours: Sequence[Score]) -> list[Fault]:
    """Numbers that are clearly wrong all have just as many digits as the truth, as when the truth was fed in token by token.

    How likely that is by chance: for a number that is off by a factor r the larger of 1 - log10 r (numbers spread evenly over a
    decade) and the share of other records' truths, off by r or less than its double, that have as many digits.
    """
    pairs = [pair for mark in ours if (pair := _numbers(mark, one.name)) and min(pair) >= 1]
    if len(pairs) < ENOUGH:
        return []
    truth, answer = np.array(pairs).T
    off = np.abs(np.log10(answer / truth))
    wrong = off > math.log10(FAR)
    same = _digits(answer) == _digits(truth)
    if wrong.sum() < ENOUGH or not same[wrong].all():
        return []
    truth = truth[np.linspace(0, len(truth) - 1, min(len(truth), OTHERS)).astype(int)]
    other = np.abs(np.log10(answer[wrong, None] / truth[None, :]))
    near = (other > math.log10(FAR)) & (np.abs(other - off[wrong, None]) < math.log10(2))
    alike = (_digits(answer[wrong])[:, None] == _digits(truth)[None, :]) & near
    chance = np.maximum((alike.sum(axis=1) + 1) / (near.sum(axis=1) + 1), 1 - off[wrong])
    if float(np.log(chance).sum()) > math.log(CHANCE):
        return []
    return [
        Fault(
            "teacher_forced",
            f"All {wrong.sum()} values of {one.name} that are off by more than a factor of {FAR} have exactly as many digits as the truth; "
            f"{number(float(chance.mean()), 'share')} would by chance. These are no free answers: the truth was fed in (teacher forcing).",
        )
    ]


def _own_over_others(one: Field, ours: Sequence[Score], seed: int) -> Estimate:
    """How much worse an answer fits other records than its own: the mean of error against others - error against its own."""
    read = [mark for mark in ours if mark.fields[one.name].answer is not None]
    if len({mark.group for mark in read}) < 2:
        return estimate([], [])
    prepare, off = _ERRORS[one.kind]
    truths = [prepare(mark.fields[one.name].truth) for mark in read]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(read))
    shifts = rng.choice(np.arange(1, len(read)), size=min(PAIRINGS, len(read) - 1), replace=False)
    values, groups = [], []
    for place, index in enumerate(order):
        mine = read[index]
        others = [other for shift in shifts if read[other := order[(place + shift) % len(read)]].group != mine.group]
        if others:
            answer = prepare(mine.fields[one.name].answer)
            against = [off(truths[other], answer) for other in others]
            values.append(sum(against) / len(against) - off(truths[index], answer))
            groups.append(mine.group)
    return estimate(values, groups, seed=seed)


def _with_logarithm(value: object) -> tuple[Decimal, float | None]:
    found = cast(Decimal, value)
    return found, None if found < 0 else math.log1p(float(found))


def _number_error(truth: tuple[Decimal, float | None], answer: tuple[Decimal, float | None]) -> float:
    """`log_error`, without its sign; the difference where one is below 0."""
    if truth[1] is None or answer[1] is None:
        return float(abs(truth[0] - answer[0]))
    return abs(answer[1] - truth[1])


def _with_words(value: object) -> tuple[str, Counter[str]]:
    return str(value), words_of(str(value))


def _text_error(truth: tuple[str, Counter[str]], answer: tuple[str, Counter[str]]) -> float:
    """1 - `token_f1`."""
    return 0.0 if truth[0] == answer[0] else 1 - words_f1(truth[1], answer[1])


_ERRORS: Mapping[str, tuple[Callable[[object], Any], Callable[[Any, Any], float]]] = {
    "category": (str, lambda truth, answer: float(truth != answer)),
    "text": (_with_words, _text_error),
    "number": (_with_logarithm, _number_error),
}
"""Kind of a field -> what is made of each value once, and how far two of these are apart."""


def _numbers(mark: Score, name: str) -> tuple[float, float] | None:
    """(truth, answer) of a number that was read."""
    one = mark.fields[name]
    return None if one.answer is None else (float(cast(Decimal, one.truth)), float(cast(Decimal, one.answer)))


def _digits(values: Floats) -> NDArray[np.int64]:
    """int64[n]: digits before the point, less one, of values from 1 up."""
    return np.asarray(np.floor(np.log10(values) + 1e-12), dtype=np.int64)


def _photo_key(photo: Path) -> str:
    """The photo's hash where that is its name, as in a dataset folder; else its path."""
    return photo.stem if re.fullmatch("[0-9a-f]{64}", photo.stem) else str(photo)
