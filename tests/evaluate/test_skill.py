"""Skill: what is left of a baseline's error, paired, and the claims that hang on it."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from seeworth.evaluate.figures import figures, main_figures
from seeworth.evaluate.score import Score, scores
from seeworth.evaluate.skill import Skill, best, error, skill, skills_to_dict
from seeworth.record import Prediction, Record
from seeworth.task import Task

TASK = Task()
EXACT, ACCURACY, MAE = main_figures(TASK)


def _records(n: int, a_group: int = 1) -> list[Record]:
    values = [{"title": f"t{i}", "category3_code": f"c{i % 4}", "full_price": Decimal(100 * (i + 1))} for i in range(n)]
    return [Record(str(i), Path("none"), each, f"g{i // a_group}") for i, each in enumerate(values)]


def _off(records: list[Record], by: list[int]) -> list[Score]:
    prices = [record.values["full_price"] + each for record, each in zip(records, by, strict=True)]  # type: ignore[operator]
    texts = [TASK.write({**record.values, "full_price": price}) for record, price in zip(records, prices, strict=True)]
    return scores(TASK, records, [Prediction(record.id, text, 0) for record, text in zip(records, texts, strict=True)])


def _skill(ours: list[Score], theirs: list[Score], name: str = "rival") -> Skill:
    return skill(MAE, ours, theirs, name, figures(TASK, theirs, resamples=0)[MAE.name], resamples=500, seed=0)


def test_skill_is_the_share_of_the_error_that_is_gone() -> None:
    records = _records(40)
    found = _skill(_off(records, [10] * 40), _off(records, [40] * 40))
    assert found.skill.value == pytest.approx(0.75)
    assert found.gain.value == pytest.approx(30)
    assert found.outcome == 1
    assert (found.skill.n, found.baseline.value) == (40, 40)
    assert _skill(_off(records, [40] * 40), _off(records, [10] * 40)).outcome == -1


def test_pairing_tells_a_difference_that_two_intervals_do_not() -> None:
    """Errors vary widely and ours is always a tenth smaller: figures overlap, the paired gain is clear."""
    records = _records(60)
    theirs = [int(each) for each in np.random.default_rng(0).uniform(10, 1000, 60)]
    ours = [round(0.9 * each) for each in theirs]
    left, right = (figures(TASK, _off(records, each), resamples=500)[MAE.name] for each in (ours, theirs))
    assert left.high > right.low
    assert _skill(_off(records, ours), _off(records, theirs)).outcome == 1


def test_equal_answers_have_no_skill_and_no_outcome() -> None:
    records = _records(30)
    found = _skill(_off(records, [7] * 30), _off(records, [7] * 30))
    assert (found.skill.value, found.outcome) == (0, 0)


def test_a_perfect_baseline_leaves_no_skill_to_speak_of_but_a_loss() -> None:
    records = _records(30)
    found = _skill(_off(records, [7] * 30), _off(records, [0] * 30))
    assert math.isnan(found.skill.value)
    assert found.outcome == -1


def test_only_records_that_both_could_read_are_paired_and_none_gives_no_claim() -> None:
    records = _records(6)
    silent = scores(TASK, records, [Prediction(r.id, "?", 0) for r in records])
    mixed = [*_off(records, [10] * 6)[:4], *silent[4:]]
    assert _skill(mixed, _off(records, [40] * 6)).skill.n == 4
    nothing = _skill(silent, _off(records, [40] * 6))
    assert (nothing.gain.n, nothing.outcome) == (0, 0)
    assert best([nothing]) is None
    assert skills_to_dict({MAE.name: [nothing]}) == {MAE.name: {"best": None, "against": {}}}


def test_the_hardest_baseline_is_the_one_with_the_least_gain() -> None:
    records = _records(30)
    ours = _off(records, [20] * 30)
    skills = [_skill(ours, _off(records, [by] * 30), name) for name, by in (("far", 500), ("near", 25), ("middle", 90))]
    hardest = best(skills)
    assert hardest is not None
    assert hardest.name == "near"


def test_an_error_is_the_larger_the_worse_whatever_the_figure() -> None:
    records = _records(2)
    right, wrong = scores(TASK, records, [Prediction(name, TASK.write(records[0].values), 0) for name in "01"])
    for figure in (EXACT, ACCURACY):
        assert (error(figure, right), error(figure, wrong)) == (0, 1)
    assert (error(MAE, right), error(MAE, wrong)) == (0, 100)
