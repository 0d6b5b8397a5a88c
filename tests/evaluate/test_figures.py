"""Figures, grounding and verdict from scores: right denominators, right claims."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from seeworth.evaluate.core import Ablated, Answers, Baseline, evaluate
from seeworth.evaluate.estimate import Estimate
from seeworth.evaluate.figures import confusion, error_ratio, figures, figures_of, main_figures, validation_figures
from seeworth.evaluate.grounding import grounding, grounding_figure
from seeworth.evaluate.score import Score, scores
from seeworth.evaluate.verdict import Comparison, verdict
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
        "category3_code_accuracy",
        "full_price_mae",
        "full_price_median_ape",
        "full_price_within_10",
        "full_price_within_25",
    ]
    assert [one.name for one in main_figures(TASK)] == ["title_exact", "category3_code_accuracy", "full_price_mae"]
    assert [one.name for one in figures_of(Task("?", "{name}", (Field("name"),)))] == ["parse_rate", "name_exact", "name_similarity"]


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
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_an_unread_answer_is_wrong_for_words_and_outside_for_numbers() -> None:
    records = _records(4)
    predictions = [_answer(records[0]), _answer(records[1]), _answer(records[2]), Prediction("3", "no idea", 0)]
    found = figures(TASK, _marks(records, predictions), resamples=20)
    assert (found["parse_rate"].value, found["parse_rate"].n) == (0.75, 4)
    assert (found["category3_code_accuracy"].value, found["category3_code_accuracy"].n) == (0.75, 4)
    assert (found["title_exact"].value, found["title_exact"].n) == (0.75, 4)
    assert (found["full_price_mae"].value, found["full_price_mae"].n) == (0, 3)


def test_a_number_that_nobody_read_has_no_figure_and_is_left_out_of_the_log() -> None:
    records = _records(3)
    predictions = [Prediction(r.id, "no idea", 0) for r in records]
    assert math.isnan(figures(TASK, _marks(records, predictions))["full_price_mae"].value)
    flat = validation_figures(TASK, records, predictions)
    assert flat == {"parse_rate": 0, "title_exact": 0, "title_similarity": 0, "category3_code_accuracy": 0}


def test_validation_figures_are_flat_numbers() -> None:
    records = _records(5)
    flat = validation_figures(TASK, records, [_answer(r, full_price=Decimal(120)) for r in records])
    assert flat["full_price_mae"] == pytest.approx(np.mean([20, 80, 180, 280, 380]))
    assert flat["category3_code_accuracy"] == 1


def test_the_error_ratio_is_over_records_both_read() -> None:
    records = _records(6)
    ours = _marks(records, [_answer(r, full_price=r.values["full_price"] + 10) for r in records[:5]] + [Prediction("5", "?", 0)])
    theirs = _marks(records, [Prediction("0", "?", 0)] + [_answer(r, full_price=r.values["full_price"] + 40) for r in records[1:]])
    found = error_ratio("full_price", ours, theirs, resamples=100, seed=0)
    assert (found.value, found.n) == (0.25, 4)


def test_confusion_counts_pairs_and_keeps_the_unread() -> None:
    records = _records(5)
    predictions = [_answer(records[0]), _answer(records[1], category3_code="c0"), *map(_answer, records[2:4]), Prediction("4", "?", 0)]
    pairs = confusion("category3_code", _marks(records, predictions))
    assert sorted(pairs, key=str) == [("c0", "c0", 1), ("c0", None, 1), ("c1", "c0", 1), ("c2", "c2", 1), ("c3", "c3", 1)]


def test_a_model_that_looks_is_told_from_one_that_does_not() -> None:
    records = _records(40)
    own = _marks(records, [_answer(r) for r in records])
    wrong = _marks(records, [_answer(r, category3_code="grey") for r in records])
    looking = grounding(TASK, own, wrong, wrong, resamples=200)
    assert looking.tone == "good"
    assert looking.blank.drop.value == 1
    assert looking.blank.changed.value == 1
    assert "falls by 100 points" in looking.sentence
    blind = grounding(TASK, own, own, own, resamples=200)
    assert blind.tone == "bad"
    assert blind.swapped.changed.value == 0
    assert blind.sentence.startswith("The model does not look at the photo")
    assert grounding(TASK, own, own, wrong, resamples=200).tone == "mixed"


def test_answers_that_change_without_getting_worse_are_no_proof() -> None:
    records = _records(20)
    own = _marks(records, [_answer(r) for r in records])
    other = _marks(records, [_answer(r, title="something else") for r in records])
    found = grounding(TASK, own, other, other, resamples=100)
    assert found.tone == "bad"
    assert found.sentence.startswith("No sign that the photo helps")


def test_silence_on_blank_photos_counts_as_a_miss() -> None:
    task = Task("?", "{p}", (Field("p", "number"),))
    records = [Record(str(i), Path("none"), {"p": Decimal(10 + i)}, str(i)) for i in range(10)]
    own = scores(task, records, [Prediction(r.id, task.write(r.values), 0) for r in records])
    silent = scores(task, records, [Prediction(r.id, "", 0) for r in records])
    found = grounding(task, own, silent, silent, resamples=100)
    assert grounding_figure(task).name == "p_within_25"
    assert (found.blank.value.value, found.blank.drop.value, found.blank.value.n) == (0, 1, 10)


def test_grounding_looks_at_the_category_else_the_text_else_the_number() -> None:
    assert grounding_figure(TASK).name == "category3_code_accuracy"
    assert grounding_figure(Task("?", "{p}, {t}", (Field("p", "number"), Field("t")))).name == "t_exact"


def test_grounding_refuses_scores_of_other_records() -> None:
    records = _records(3)
    own = _marks(records, [_answer(r) for r in records])
    with pytest.raises(ValueError, match="same records"):
        grounding(TASK, own, own[::-1], own)


def _estimate(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half, 100)


@pytest.mark.parametrize(("model", "baseline", "outcome"), [(0.9, 0.5, 1), (0.5, 0.9, -1), (0.6, 0.5, 0)])
def test_a_claim_needs_intervals_that_do_not_touch(model: float, baseline: float, outcome: int) -> None:
    accuracy, error = main_figures(TASK)[1], main_figures(TASK)[2]
    assert Comparison(accuracy, _estimate(model, 0.1), "b", _estimate(baseline, 0.1)).outcome == outcome
    assert Comparison(error, _estimate(model, 0.1), "b", _estimate(baseline, 0.1)).outcome == -outcome
    nothing = Estimate(math.nan, math.nan, math.nan, 0)
    assert Comparison(accuracy, nothing, "b", _estimate(baseline, 0.1)).outcome == 0


def test_the_verdict_names_what_is_better_worse_and_open() -> None:
    main = main_figures(TASK)
    model = {"parse_rate": _estimate(0.5, 0.1), "title_exact": _estimate(0.5, 0.1)}
    model |= {"category3_code_accuracy": _estimate(0.9, 0.02), "full_price_mae": _estimate(900, 10)}
    other = {"title_exact": _estimate(0.45, 0.1), "category3_code_accuracy": _estimate(0.5, 0.1), "full_price_mae": _estimate(500, 10)}
    said = verdict(main, model, {"nearest": other}, None, "no grounding")
    assert said[0].text == (
        "Better than every baseline in category3_code; worse than a baseline in full_price; "
        "not clearly better than every baseline in title."
    )
    assert said[0].tone == "bad"
    assert "900 USD (890 to 910, n = 100), worse than the strongest baseline, nearest, 500 USD" in said[3].text
    assert [one.tone for one in said] == ["bad", "mixed", "good", "bad", "mixed", "bad"]
    assert "50.0 % of 100 answers could be read" in said[-1].text


def test_a_baseline_is_not_praised_for_what_it_was_told() -> None:
    records = _records(8)
    told = Baseline([_answer(r, title="x") for r in records], given=("category3_code",))
    content = evaluate(TASK, records, Answers([_answer(r) for r in records], {"oracle": told}), resamples=50)
    assert content["figures"]["category3_code_accuracy"]["baselines"] == {}
    assert content["figures"]["title_exact"]["baselines"]["oracle"]["value"] == 0


def test_a_blind_model_is_told_in_the_first_line() -> None:
    records = _records(30)
    same = [_answer(r) for r in records]
    content = evaluate(TASK, records, Answers(same, {}, Ablated([r.id for r in records], same, same)), resamples=50)
    assert content["verdict"][0]["tone"] == "bad"
    assert content["verdict"][0]["text"].startswith("The model does not look at the photo")


def test_the_gallery_holds_best_and_worst_and_nothing_twice() -> None:
    records = _records(30)
    predictions = [_answer(r) if i < 20 else Prediction(r.id, "?", 0) for i, r in enumerate(records)]
    content = evaluate(TASK, records, Answers(predictions), resamples=10)
    best, worst = content["gallery"]["best"], content["gallery"]["worst"]
    assert len(best) == len(worst) == 12
    assert not set(best) & set(worst)
    assert {str(i) for i in range(20, 30)} <= set(worst)
    assert all(int(i) < 20 for i in best)
