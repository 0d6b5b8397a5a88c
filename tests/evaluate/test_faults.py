"""Planted faults, each caught from answers and records alone; and honest models, of which none is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seeworth.evaluate.core import Answers, Baseline, evaluate
from seeworth.predict.baselines import BEFORE, baselines
from seeworth.record import Prediction, Record
from seeworth.task import Task

TASK = Task()
COLOURS = ["Red", "Blue", "Green", "Grey", "Golden", "Violet"]
KINDS = ["Bags", "Boots", "Caps", "Coats", "Rings"]
Say = Callable[[Record, np.random.Generator], str]


def _records(n: int, seed: int, prefix: str) -> list[Record]:
    """Prices spread over two decades around a level that each category has."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        kind = int(rng.integers(len(KINDS)))
        price = Decimal(int(np.exp(rng.normal(4.2 + kind / 2, 0.9))) + 1)
        values = {"title": f"{COLOURS[rng.integers(6)]} {KINDS[kind][:-1].lower()}", "category3_code": KINDS[kind], "full_price": price}
        found.append(Record(f"{prefix}{number}", Path(f"{prefix}{number}.png"), values, f"{prefix}g{number // 2}"))
    return found


TRAIN, TEST = _records(300, 0, "train-"), _records(200, 1, "test-")


def _honest(record: Record, rng: np.random.Generator, *, hit: float = 0.8, spread: float = 0.25) -> str:
    """Looks at the photo, and errs."""
    values: dict[str, Any] = dict(record.values)
    if rng.random() > hit:
        values["category3_code"] = KINDS[rng.integers(len(KINDS))]
    if rng.random() > hit:
        values["title"] = f"{COLOURS[rng.integers(6)]} {values['title'].split()[1]}"
    values["full_price"] = Decimal(max(1, round(float(values["full_price"]) * float(np.exp(rng.normal(0, spread))))))
    return TASK.write(values)


def _said(say: Say, records: list[Record] = TEST, seed: int = 2) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    return [Prediction(record.id, say(record, rng), 0.1) for record in records]


def _found(said: list[Prediction], records: list[Record] = TEST, train: list[Record] = TRAIN, **answers: Any) -> dict[str, Any]:
    cheap = [one for one in baselines(TASK, train, said) if "photo" not in one.name] if train else []  # no photo is drawn here
    beside = {one.name: Baseline(list(one(records)), one.given) for one in cheap}
    given = Answers(said, {**beside, **answers.pop("baselines", {})}, **answers)
    return evaluate(TASK, records, given, train=train, resamples=300)


@pytest.fixture(autouse=True)
def _no_photo_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    from seeworth.predict import baselines as module

    monkeypatch.setattr(module, "BASELINES", module.BASELINES[:2])


def _codes(content: dict[str, Any]) -> list[str]:
    return [one["code"] for one in content["faults"]]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("hit", "spread"), [(1.0, 0.01), (0.95, 0.1), (0.8, 0.25), (0.6, 0.6), (0.5, 1.0)])
def test_an_honest_model_good_or_poor_has_no_fault(seed: int, hit: float, spread: float) -> None:
    said = _said(lambda record, rng: _honest(record, rng, hit=hit, spread=spread), seed=seed)
    assert _codes(_found(said)) == []


def test_a_perfect_model_has_no_fault() -> None:
    assert _codes(_found(_said(lambda record, rng: TASK.write(record.values)))) == []


def test_a_photo_dropped_from_the_prompt_is_the_first_line() -> None:
    """The same words whatever is done to the photo, although they fit the record: the id, not the photo, tells the answer."""
    said = _said(_honest)
    content = _found(said, modes={"blank": said, "swapped": said, "text": said})
    assert _codes(content) == ["photo_ignored"]
    assert content["verdict"][0]["tone"] == "bad"
    assert content["verdict"][0]["text"].startswith("The model does not look at the photo: not one answer changes")
    assert content["faults"][0]["ungrounded"]
    assert [one["text"] for one in content["verdict"]].count(content["verdict"][0]["text"]) == 1


def test_a_photo_dropped_from_every_prompt_shows_in_the_predictions_alone() -> None:
    """Without a photo every prompt is the same, and so is every answer."""
    content = _found(_said(lambda record, rng: "Product: Red bag, Category: Bags, Full Price: 90"))
    assert _codes(content) == ["one_answer"]
    assert "All 200 answers are the same words" in content["verdict"][0]["text"]


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_labels_are_told(seed: int) -> None:
    said = _said(_honest)
    order = np.random.default_rng(seed).permutation(len(TEST))
    shuffled = [replace(record, values=TEST[other].values) for record, other in zip(TEST, order, strict=True)]
    content = _found(said, shuffled)
    assert _codes(content) == ["unrelated"]
    assert "fit other records as well as their own" in content["verdict"][0]["text"]


def test_a_leaked_split_is_told_by_photo_and_by_group() -> None:
    same_photo = [replace(record, photo=TRAIN[0].photo) if number < 3 else record for number, record in enumerate(TEST)]
    content = _found(_said(_honest, same_photo), same_photo)
    assert _codes(content) == ["leak"]
    assert not content["faults"][0]["ungrounded"]
    text = content["verdict"][0]["text"]
    assert "The split leaks: 3 of 200 records have the photo of a train record ('test-0' that of train record 'train-0')" in text
    same_group = [replace(record, group=TRAIN[7].group) if number == 5 else record for number, record in enumerate(TEST)]
    assert "1 of 200 records have the group" in _found(_said(_honest, same_group), same_group)["faults"][0]["text"]


def test_a_photo_is_the_same_in_another_folder_when_its_hash_is() -> None:
    name = "ab" * 32
    train = [replace(TRAIN[0], photo=Path(f"/here/photos/ab/{name}.png")), *TRAIN[1:]]
    test = [replace(TEST[0], photo=Path(f"/there/photos/ab/{name}.jpg")), *TEST[1:]]
    assert _codes(_found(_said(_honest, test), test, train)) == ["leak"]


def test_a_model_that_answers_the_category_median_is_told() -> None:
    medians = {
        kind: sorted(record.values["full_price"] for record in TRAIN if record.values["category3_code"] == kind) for kind in KINDS  # type: ignore[type-var]
    }

    def say(record: Record, rng: np.random.Generator) -> str:
        kind = str(record.values["category3_code"])
        return TASK.write({**record.values, "full_price": medians[kind][(len(medians[kind]) - 1) // 2]})

    content = _found(_said(say))
    assert _codes(content) == ["looked_up"]
    assert "full_price is the train median of the answered category in 100 % of 200 answers" in content["verdict"][0]["text"]
    price = next(one for one in content["verdict"] if one["text"].startswith("full_price mean error"))
    assert "no better than median of the true category and median of the predicted category" in price["text"]


def test_teacher_forced_text_is_told() -> None:
    """Digit by digit from the true prefix: a wrong digit stands in its place, and the length is the truth's."""

    def say(record: Record, rng: np.random.Generator) -> str:
        price = str(record.values["full_price"])
        digits = [one if rng.random() < 0.4 else str(rng.integers(1 if at == 0 else 0, 10)) for at, one in enumerate(price)]
        return TASK.write({**record.values, "full_price": Decimal("".join(digits))})

    for seed in range(5):
        content = _found(_said(say, seed=seed))
        assert _codes(content) == ["teacher_forced"]
        assert "teacher forcing" in content["verdict"][0]["text"]


@pytest.mark.parametrize("factor", [0.01, 0.7, 1.4, 7.8, 150.0])
def test_prices_in_another_currency_are_told(factor: float) -> None:
    def say(record: Record, rng: np.random.Generator) -> str:
        values = TASK.read(_honest(record, rng, spread=0.1)).values
        return TASK.write({**values, "full_price": Decimal(str(round(float(values["full_price"]) * factor, 2)))})

    content = _found(_said(say))
    assert _codes(content) == ["other_unit"]
    told = re.search(r"full_price is (\S+) \((\S+) to (\S+)\) times the truth", content["verdict"][0]["text"])
    assert told
    assert float(told[1]) == pytest.approx(factor, rel=0.05)
    assert float(told[2]) <= float(told[1]) <= float(told[3])
    assert "another currency or unit" in content["verdict"][0]["text"]


def test_an_adapter_that_was_not_applied_is_told() -> None:
    said = _said(_honest)
    content = _found(said, baselines={BEFORE: Baseline(said)})
    assert _codes(content) == ["not_applied"]
    assert "word for word: the adapter was not applied" in content["verdict"][0]["text"]
    other = _found(said, baselines={BEFORE: Baseline(_said(_honest, seed=9))})
    assert _codes(other) == []


def test_few_records_are_evidence_of_nothing() -> None:
    few = TEST[:12]
    assert _codes(_found(_said(lambda record, rng: TASK.write(few[0].values), few), few)) == []
