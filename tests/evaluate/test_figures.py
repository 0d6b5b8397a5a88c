"""Figures, grounding and verdict from scores: right denominators, right claims."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from seeworth.evaluate.core import Answers, Baseline, evaluate
from seeworth.evaluate.estimate import Estimate
from seeworth.evaluate.faults import Fault
from seeworth.evaluate.figures import Figure, confusion, figures, figures_of, main_figures, measurable, unread
from seeworth.evaluate.score import Score, scores
from seeworth.evaluate.skill import Skill
from seeworth.evaluate.verdict import verdict
from seeworth.record import Prediction, Record
from seeworth.task import Field, Task

TASK = Task()


def _records(n: int) -> list[Record]:
    return [
        Record(str(i), Path("none"), {"title": f"t{i}", "category3_code": f"c{i % 4}", "full_price": Decimal(100 * (i + 1))}, f"g{i}")
        for i in range(n)
    ]


def _answer(record: Record, **changes: object) -> Prediction:
    return Prediction(record.id, TASK.write({**record.values, **changes}), 0.1)


def _marks(records: list[Record], predictions: list[Prediction]) -> list[Score]:
    return scores(TASK, records, predictions)


def test_every_field_gives_its_figures_under_stable_names() -> None:
    assert [one.name for one in figures_of(TASK)] == [
        "parse_rate",
        "title_exact",
        "title_similarity",
        "title_token_f1",
        "title_chrf",
        "category3_code_accuracy",
        "category3_code_macro_f1",
        "category3_code_top_3",
        "full_price_mae",
        "full_price_median_ape",
        "full_price_rmsle",
        "full_price_within_10",
        "full_price_within_25",
        "full_price_bias",
        "full_price_median_mae",
    ]
    assert [one.name for one in main_figures(TASK)] == ["title_exact", "category3_code_accuracy", "full_price_mae"]
    texts = ["parse_rate", "name_exact", "name_similarity", "name_token_f1", "name_chrf"]
    assert [one.name for one in figures_of(Task("?", "{name}", (Field("name"),)))] == texts


def test_figures_equal_an_independent_computation() -> None:
    rng = np.random.default_rng(0)
    records = _records(60)
    truth = np.array([float(r.values["full_price"]) for r in records])
    read = np.round(truth * rng.uniform(0.7, 1.3, 60))
    right = rng.random(60) < 0.7
    predictions = [
        _answer(r, full_price=Decimal(int(p)), **({} if ok else {"category3_code": "other"}))
        for r, p, ok in zip(records, read, right, strict=True)
    ]
    found = figures(TASK, _marks(records, predictions), resamples=50)
    percent = 100 * np.abs(read - truth) / truth
    assert found["category3_code_accuracy"].value == pytest.approx(right.mean())
    assert found["full_price_mae"].value == pytest.approx(np.abs(read - truth).mean())
    assert found["full_price_median_ape"].value == pytest.approx(np.median(percent))
    assert found["full_price_within_10"].value == pytest.approx((percent <= 10).mean())
    assert found["full_price_within_25"].value == pytest.approx((percent <= 25).mean())
    assert found["full_price_bias"].value == pytest.approx((read - truth).mean())
    assert found["full_price_rmsle"].value == pytest.approx(np.sqrt(np.mean((np.log1p(read) - np.log1p(truth)) ** 2)))
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_what_was_not_read_is_counted_apart_and_never_as_0() -> None:
    records = _records(4)
    predictions = [_answer(records[0]), _answer(records[1]), _answer(records[2]), Prediction("3", "no idea", 0)]
    marks = _marks(records, predictions)
    found = figures(TASK, marks, resamples=20)
    assert (found["parse_rate"].value, found["parse_rate"].n) == (0.75, 4)
    others = {name: one for name, one in found.items() if name != "parse_rate"}
    assert {one.n for one in others.values()} == {3}
    best = {name: 0 if name.startswith("full_price") and "within" not in name else 1 for name in others}
    assert {name: one.value for name, one in others.items()} == best
    assert unread(TASK, marks) == {"title": 1, "category3_code": 1, "full_price": 1}


def test_a_figure_that_nobody_gave_an_answer_for_is_none() -> None:
    records = _records(3)
    predictions = [Prediction(r.id, "no idea", 0) for r in records]
    found = figures(TASK, _marks(records, predictions))
    assert math.isnan(found["full_price_mae"].value)
    assert [name for name, one in found.items() if one.n] == ["parse_rate"]


def test_categories_are_ranked_by_probabilities_where_they_are_told() -> None:
    records = _records(8)
    true = {f"c{n}": {f"c{n}": 0.2, "c9": 0.5, "c8": 0.3, "c7": 0.0} for n in range(4)}
    plain = [_answer(record, category3_code="c9") for record in records]
    told = [
        replace(one, distribution={"category3_code": {"choices": true[str(record.values["category3_code"])]}}, samples=(one.text,))
        for record, one in zip(records, plain, strict=True)
    ]
    found = figures(TASK, _marks(records, told[:5] + plain[5:]), resamples=20)
    assert (found["category3_code_top_3"].value, found["category3_code_top_3"].n) == (1, 5)


def test_categories_are_ranked_by_samples_where_there_are_some() -> None:
    records = _records(8)

    def sampled(record: Record, kinds: list[str]) -> Prediction:
        one = _answer(record, category3_code=kinds[0])
        return Prediction(one.record_id, one.text, 0, tuple(_answer(record, category3_code=kind).text for kind in kinds))

    said = [sampled(record, ["c9", "c9", "c8", "c8", "c7", f"c{int(record.id) % 4}"]) for record in records]
    found = figures(TASK, _marks(records, said), resamples=20)
    assert found["category3_code_top_3"].value == 0
    said = [sampled(record, ["c9", "c8", f"c{int(record.id) % 4}" if int(record.id) < 6 else "c7"]) for record in records]
    found = figures(TASK, _marks(records, said), resamples=20)
    assert (found["category3_code_top_3"].value, found["category3_code_top_3"].n) == (0.75, 8)
    assert "category3_code_top_3" not in figures(TASK, _marks(records, [_answer(record) for record in records]), resamples=20)


def test_the_median_of_what_was_thought_likely_is_measured_where_it_is_told_or_sampled() -> None:
    records = _records(6)

    def said(record: Record, samples: list[int]) -> Prediction:
        one = _answer(record, full_price=Decimal(1))
        price = int(record.values["full_price"])
        return replace(one, samples=tuple(_answer(record, full_price=Decimal(price + off)).text for off in samples))

    sampled = [said(record, [-50, 2, 90]) for record in records]
    found = figures(TASK, _marks(records, sampled), resamples=20)
    assert (found["full_price_median_mae"].value, found["full_price_median_mae"].n) == (2, 6)
    told = [replace(one, distribution={"full_price": {"median": float(record.values["full_price"]) - 7}}) for one, record in zip(sampled, records, strict=True)]
    assert figures(TASK, _marks(records, told), resamples=20)["full_price_median_mae"].value == 7
    silent = [_answer(record) for record in records]
    assert "full_price_median_mae" not in figures(TASK, _marks(records, silent), resamples=20)
    assert figures(TASK, _marks(records, told[:2] + silent[2:]), resamples=20)["full_price_median_mae"].n == 2
    assert "full_price_median_mae" in [one.name for one in measurable(TASK, _marks(records, told))]
    assert "full_price_median_mae" not in [one.name for one in measurable(TASK, _marks(records, told), _marks(records, silent))]


def test_confusion_counts_pairs_and_keeps_the_unread() -> None:
    records = _records(5)
    predictions = [_answer(records[0]), _answer(records[1], category3_code="c0"), *map(_answer, records[2:4]), Prediction("4", "?", 0)]
    pairs = confusion("category3_code", _marks(records, predictions))
    assert sorted(pairs, key=str) == [("c0", "c0", 1), ("c0", None, 1), ("c1", "c0", 1), ("c2", "c2", 1), ("c3", "c3", 1)]


def _estimate(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half, 100)


def _skill(figure: Figure, name: str, value: float, gain: float, half: float) -> Skill:
    return Skill(figure, name, _estimate(0.5, 0.1), _estimate(gain, half), _estimate(value, 0.1))


def test_the_verdict_names_what_is_better_worse_and_open() -> None:
    main = main_figures(TASK)
    model = {"parse_rate": _estimate(0.5, 0.1), "title_exact": _estimate(0.5, 0.1)}
    model |= {"category3_code_accuracy": _estimate(0.9, 0.02), "full_price_mae": _estimate(900, 10)}
    gains = {"title_exact": (0.02, 0.05), "category3_code_accuracy": (0.4, 0.1), "full_price_mae": (-400, 20)}
    skills = {one.name: [_skill(one, "nearest", 500, *gains[one.name]), _skill(one, "common", 900, 500, 10)] for one in main}
    said = verdict(main, model, skills, None, "no grounding")
    assert said[0].text == (
        "Better than every baseline in category3_code; worse than nearest in full_price; no better than nearest in title."
    )
    assert said[0].tone == "bad"
    assert "900 USD (890 to 910, n = 100), worse than nearest. Skill 0.50 (0.40 to 0.60)" in said[3].text
    assert said[3].text.endswith("against the best baseline, nearest, 500 USD.")
    assert [one.tone for one in said] == ["bad", "mixed", "good", "bad", "mixed", "bad"]
    assert "50.0 % of 100 answers could be read" in said[-1].text


def test_better_than_every_baseline_is_said_only_of_every_one() -> None:
    main = main_figures(TASK)
    model = {"parse_rate": _estimate(1, 0)} | {one.name: _estimate(0.9, 0.02) for one in main}
    said = verdict(main, model, {one.name: [_skill(one, "b", 0.5, 0.4, 0.1)] for one in main}, None, "no grounding")
    assert said[0].tone == "good"
    assert said[0].text.startswith("Better than every baseline in title, category3_code and full_price")
    nothing = verdict(main, model, {}, None, "no grounding")
    assert nothing[0].text.startswith("There is no baseline beside it")


def test_many_rivals_are_counted_and_all_of_them_are_any_baseline() -> None:
    accuracy = main_figures(TASK)[1]
    model = {"parse_rate": _estimate(1, 0), accuracy.name: _estimate(0.5, 0.1)}

    def said(gains: list[tuple[float, float]]) -> str:
        skills = [_skill(accuracy, f"b{n}", 0.5, *each) for n, each in enumerate(gains)]
        return verdict([accuracy], model, {accuracy.name: skills}, None, "x")[1].text

    assert "no better than b1 and 2 other baselines. Skill" in said([(0.01, 0.1), (0.0, 0.1), (0.02, 0.1), (0.4, 0.1)])
    assert "no better than any baseline" in said([(0.01, 0.1), (0.0, 0.1), (0.02, 0.1)])
    assert "worse than every baseline" in said([(-0.5, 0.1), (-0.4, 0.1)])
    assert "no better than b0." in said([(0.01, 0.1)])


def test_a_field_that_is_seldom_read_is_not_praised_without_reserve() -> None:
    main = main_figures(TASK)[1:2]
    model = {"parse_rate": Estimate(0.3, 0.2, 0.4, 100), main[0].name: Estimate(1, 0.9, 1, 30)}
    said = verdict(main, model, {main[0].name: [_skill(main[0], "b", 0.5, 0.4, 0.1)]}, None, "x")
    assert "n = 30 of 100), among what could be read better than every baseline" in said[1].text
    assert said[1].tone == "mixed"


def test_faults_come_before_all_else_and_are_said_once() -> None:
    main = main_figures(TASK)
    model = {"parse_rate": _estimate(1, 0)} | {one.name: _estimate(0.9, 0.02) for one in main}
    said = verdict(main, model, {}, None, "x", [Fault("leak", "It leaks."), Fault("other", "And more.")])
    assert [one.text for one in said[:2]] == ["It leaks.", "And more."]
    assert said[0].tone == "bad"


def test_a_baseline_is_not_praised_for_what_it_was_told() -> None:
    records = _records(8)
    told = Baseline([_answer(r, title="x") for r in records], given=("category3_code",))
    content = evaluate(TASK, records, Answers([_answer(r) for r in records], {"oracle": told}), resamples=50)
    assert content["figures"]["category3_code_accuracy"]["baselines"] == {}
    assert content["figures"]["title_exact"]["baselines"]["oracle"]["value"] == 0


def test_the_gallery_holds_best_and_worst_and_nothing_twice() -> None:
    records = _records(30)
    predictions = [_answer(r) if i < 20 else Prediction(r.id, "?", 0) for i, r in enumerate(records)]
    content = evaluate(TASK, records, Answers(predictions), resamples=10)
    best, worst = content["gallery"]["best"], content["gallery"]["worst"]
    assert len(best) == len(worst) == 12
    assert not set(best) & set(worst)
    assert {str(i) for i in range(20, 30)} <= set(worst)
    assert all(int(i) < 20 for i in best)
