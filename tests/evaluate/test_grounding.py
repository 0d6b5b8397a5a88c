"""Grounding: a model that looks is told from one that does not, by paired drops over the same records."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from seeworth.evaluate.core import Answers, Baseline, evaluate
from seeworth.evaluate.grounding import grounding, grounding_figures, label_of
from seeworth.evaluate.score import Score, scores
from seeworth.predict.baselines import COMMONEST
from seeworth.record import Prediction, Record
from seeworth.task import Field, Task

TASK = Task()


def _records(n: int) -> list[Record]:
    values = [{"title": f"t{i}", "category3_code": f"c{i % 4}", "full_price": Decimal(100 * (i + 1))} for i in range(n)]
    return [Record(str(i), Path(f"{i}.png"), each, f"g{i}") for i, each in enumerate(values)]


def _answers(records: list[Record], **changes: object) -> list[Prediction]:
    return [Prediction(one.id, TASK.write({**one.values, **changes}), 0.1) for one in records]


def _marks(records: list[Record], **changes: object) -> list[Score]:
    return scores(TASK, records, _answers(records, **changes))


def test_a_model_that_looks_is_told_from_one_that_does_not() -> None:
    records = _records(40)
    own, wrong = _marks(records), _marks(records, category3_code="grey")
    looking = grounding(TASK, own, {"blank": wrong, "swapped": wrong}, resamples=200)
    assert looking.tone == "good"
    assert looking.modes["blank"].drop.value == looking.modes["blank"].changed.value == 1
    assert "with a blank photo it falls by 100 points" in looking.sentence
    blind = grounding(TASK, own, {"blank": own, "swapped": own, "text": own}, resamples=200)
    assert (blind.tone, blind.ignores_the_photo) == ("bad", True)
    assert blind.sentence == (
        "The model does not look at the photo: not one answer changes with a blank photo or another record's photo or no photo at all "
        "in its place."
    )
    part = grounding(TASK, own, {"blank": own, "swapped": wrong}, resamples=200)
    assert (part.tone, part.ignores_the_photo) == ("mixed", False)
    assert "worse with another record's photo, not with a blank photo" in part.sentence


def test_a_few_answers_that_change_do_not_make_a_model_look() -> None:
    records = _records(40)
    own = _marks(records)
    nearly = [*own[:39], *_marks(records[39:], title="other")]
    found = grounding(TASK, own, {"blank": nearly, "swapped": own}, resamples=50)
    assert found.ignores_the_photo
    assert "only 2.5 % of the answers change" in found.sentence


def test_answers_that_change_without_getting_worse_are_no_proof() -> None:
    records = _records(20)
    other = _marks(records, title="something else")
    found = grounding(TASK, _marks(records), {"blank": other, "swapped": other}, resamples=100)
    assert (found.tone, found.ignores_the_photo) == ("bad", False)
    assert found.sentence.startswith("No sign that the photo helps")


def test_every_field_has_its_own_paired_drop() -> None:
    """Within a category the photo decides title and price alone: the category cannot fall."""
    records = _records(40)
    alike = _marks(records, title="x", full_price=Decimal(7))
    mode = grounding(TASK, _marks(records), {"same_category": alike, "blank": alike}, resamples=100).modes["same_category"]
    assert {one.figure.name: one.drop.value for one in mode.drops} == {
        "category3_code_accuracy": 0, "title_exact": 1, "full_price_within_25": 1,
    }  # fmt: skip


def test_a_mode_may_have_asked_some_of_the_records_only() -> None:
    records = _records(40)
    own = _marks(records)
    found = grounding(TASK, own, {"blank": own, "same_category": _marks(records[:7], category3_code="grey")}, resamples=100)
    assert found.modes["same_category"].drop.n == 7
    assert found.modes["same_category"].drop.value == 1
    assert found.own.n == 40


def test_the_share_of_the_skill_is_what_the_lead_loses_without_the_photo() -> None:
    """Right in 40 of 40; the commonest answer in 10; without a photo in 20: two thirds of the lead of 30 are gone."""
    records = _records(40)
    common = _marks(records, category3_code="c0")
    half = [*_marks(records)[:20], *_marks(records[20:], category3_code="grey")]
    found = grounding(TASK, _marks(records), {"text": half, "blank": common}, common, resamples=300)
    assert found.share_of_skill.value == pytest.approx(20 / 30)
    assert found.share_of_skill.low < 20 / 30 < found.share_of_skill.high
    gone = grounding(TASK, _marks(records), {"text": _marks(records, category3_code="grey")}, common, resamples=300)
    assert gone.share_of_skill.value == 1
    assert "100 % (100 to 100) comes from the photo" in gone.sentence


def test_without_a_lead_there_is_no_share_of_it() -> None:
    records = _records(40)
    common = _marks(records, category3_code="c0")
    assert grounding(TASK, common, {"text": common}, common, resamples=50).share_of_skill.n == 0
    assert grounding(TASK, _marks(records), {"text": common}, resamples=50).share_of_skill.n == 0


def test_silence_on_blank_photos_counts_as_a_miss() -> None:
    task = Task("?", "{p}", (Field("p", "number"),))
    records = [Record(str(i), Path("none"), {"p": Decimal(10 + i)}, str(i)) for i in range(10)]
    own = scores(task, records, [Prediction(r.id, task.write(r.values), 0) for r in records])
    silent = scores(task, records, [Prediction(r.id, "", 0) for r in records])
    found = grounding(task, own, {"blank": silent}, resamples=100).modes["blank"].drops[0]
    assert found.figure.name == "p_within_25"
    assert (found.value.value, found.drop.value, found.value.n) == (0, 1, 10)


def test_grounding_looks_at_the_category_then_the_text_then_the_number() -> None:
    assert [one.name for one in grounding_figures(TASK)] == ["category3_code_accuracy", "title_exact", "full_price_within_25"]
    assert grounding_figures(Task("?", "{p}, {t}", (Field("p", "number"), Field("t"))))[0].name == "t_exact"


def test_grounding_refuses_scores_of_other_records() -> None:
    own = _marks(_records(3))
    with pytest.raises(ValueError, match="own photos for every record"):
        grounding(TASK, own[:2], {"blank": own})
    with pytest.raises(ValueError, match="one of the modes"):
        grounding(TASK, own, {"same_category": own})


def test_a_blind_model_is_told_in_the_first_line() -> None:
    records = _records(30)
    same = _answers(records)
    common = Baseline(_answers(records, category3_code="c0"))
    content = evaluate(TASK, records, Answers(same, {COMMONEST: common}, {"blank": same, "swapped": same[:20]}), resamples=50)
    assert content["verdict"][0]["tone"] == "bad"
    assert content["verdict"][0]["text"].startswith("The model does not look at the photo")
    assert content["grounding"]["modes"]["swapped"]["changed"]["n"] == 20
    assert content["grounding"]["ignores_the_photo"]


def test_a_mode_is_named_in_words() -> None:
    assert label_of("blur_18") == "its own photo, blurred by 18 %"
    assert label_of("text") == "no photo at all"
