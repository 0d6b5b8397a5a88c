"""Probabilities of fields are those that the model gives when it is asked about each value by itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seeworth.encode import Example
from seeworth.predict.answer import Batch, ends_of
from seeworth.predict.constrain import BEFORE, Constraint
from seeworth.predict.likely import LEAST, SLIGHT, Likely, likely
from seeworth.predict.vlm import VLM
from seeworth.record import Prediction, read_predictions, write_predictions
from seeworth.task import Field, Task

from .conftest import Shop
from .test_answer import held_to, prompts

SWAPPED = "Price {full_price} in {category3_code}: {title}"


def asked(shop: Shop, task: Task) -> tuple[Constraint, list[Example], list[str], list[dict[str, Likely]], Batch]:
    held = held_to(shop, task)
    examples = prompts(shop)[:7]
    batch = Batch(shop.model, examples, [held.walk() for _ in examples], max_new_tokens=30, pad_id=0)
    texts = [held.text(said) for said in batch.answer()]
    return held, examples, texts, likely(batch, held, list(texts)), batch


def common(held: Constraint, before: str, words: Iterable[str], after: str) -> int:
    """Tokens of `before` that stay as they are whichever of the words stands behind it."""
    head = held.tokenizer.tokenize_str(BEFORE + before)
    all_said = [held.tokenizer.tokenize_str(BEFORE + before + word + after) for word in words]
    return min(next((at for at, (a, b) in enumerate(zip(head, said, strict=False)) if a != b), len(head)) for said in all_said)


def alone(shop: Shop, held: Constraint, example: Example, before: str, word: str, after: str, start: int | None = None) -> float:
    """The probability of `word` and the first token that goes beyond it, behind `before`, read in one go without a cache.

    start: tokens that are given; those that the word leaves as they are when left out.
    """
    said = held.tokenizer.tokenize_str(BEFORE + before + word + after)
    start = common(held, before, [word], after) if start is None else start
    lengths = np.cumsum([len(held.spelled[token]) for token in said])
    stop = int(np.searchsorted(lengths, len((BEFORE + before + word).encode()), side="right")) + 1
    ids = torch.tensor([example.input_ids + said])
    batch: dict[str, Any] = {"input_ids": ids, "image_sizes": torch.tensor(example.image_sizes), "pixel_values": example.tiles[0][None]}
    with torch.inference_mode():
        logs = shop.model(**batch, use_cache=False).logits[0].log_softmax(-1)
    first = len(example.input_ids)
    total = sum(float(logs[first + at - 1, said[at]]) for at in range(start, min(stop, len(said))))
    if not after:
        total += float(logs[-1, list(held.ends)].logsumexp(-1))
    return math.exp(total)


@pytest.mark.parametrize("answer", [Task().answer, SWAPPED], ids=["number last", "number first"])
def test_every_choice_and_number_has_the_probability_that_the_model_gives_it(shop: Shop, answer: str) -> None:
    """Measured: at most 4e-6 apart, of float32 sums in another order. Choices below SLIGHT are not followed: both must be below it."""
    task = Task(answer=answer, fields=shop.task.fields)
    held, examples, texts, found, _ = asked(shop, task)
    for example, text, one in zip(examples, texts, found, strict=True):
        for name, after in (("category3_code", task.after("category3_code")), ("full_price", task.after("full_price"))):
            before = text[: task.spans(text)[name][0]]
            values = one[name].values
            assert sum(values.values()) == pytest.approx(1)
            start = common(held, before, values, after)
            for word in sorted(values, key=lambda word: -values[word])[:6]:
                expected = alone(shop, held, example, before, word, after, start)
                least = SLIGHT if name == "category3_code" and values[word] < SLIGHT else 1e-7
                assert values[word] * one[name].covered == pytest.approx(expected, rel=1e-4, abs=least)
        assert set(one["category3_code"].values) == set(shop.task.of_kind("category")[0].choices or ())


def test_nothing_likely_is_left_out_of_the_numbers(shop: Shop) -> None:
    """What covers everything but branches of less than LEAST: every number of up to two digits is looked at by itself."""
    held, examples, texts, found, _ = asked(shop, shop.task)
    example, text, one = examples[0], texts[0], found[0]["full_price"]
    before = text[: shop.task.spans(text)["full_price"][0]]
    for number in range(100):
        p = alone(shop, held, example, before, str(number), "")
        assert str(number) in one.values or p < LEAST
        if str(number) in one.values:
            assert one.values[str(number)] * one.covered == pytest.approx(p, rel=1e-3)
    assert all(LEAST < one["full_price"].covered <= 1 + 1e-6 for one in found)


def test_the_answer_is_what_it_was_and_asking_again_says_the_same(shop: Shop) -> None:
    held, _, texts, found, batch = asked(shop, shop.task)
    assert likely(batch, held, list(texts)) == found
    assert likely(batch, held, [None] * len(texts)) == [{}] * len(texts)


def test_a_category_with_one_choice_is_certain(shop: Shop) -> None:
    task = Task(fields=(Field("title"), Field("category3_code", "category", choices=("Coats",)), Field("full_price", "number")))
    _, _, _, found, _ = asked(shop, task)
    assert all(one["category3_code"].values == {"Coats": 1.0} for one in found)


def test_a_number_is_told_by_its_median_and_its_spread() -> None:
    told = Likely({"10": 0.04, "9": 0.5, "200": 0.46}, 0.9).told(Field("x", "number"))
    assert told == {"median": 9.0, "low": 9.0, "high": 200.0, "covered": 0.9, "values": [[9.0, 0.5], [200.0, 0.46], [10.0, 0.04]]}
    assert Likely({"10": 0.51, "9": 0.49}, 1.0).told(Field("x", "number"))["median"] == 10.0


def test_predictions_hold_them_and_are_read_without_a_model(shop: Shop, tmp_path: Path) -> None:
    vlm = VLM(shop.model, shop.encoder, batch_size=4, max_new_tokens=30, constrained=shop.task, distribution=True)
    found = list(vlm(shop.records))
    write_predictions(tmp_path / "p.jsonl", found)
    assert list(read_predictions(tmp_path / "p.jsonl")) == found
    for one in found:
        own = shop.task.read(one.text).values
        assert set(one.confidence) == set(one.distribution) == {"category3_code", "full_price"}
        assert one.confidence["category3_code"] == one.distribution["category3_code"]["choices"][own["category3_code"]]
        assert all(0 < p <= 1 for p in one.confidence.values())
        price = one.distribution["full_price"]
        assert price["low"] <= price["median"] <= price["high"]
    plain = VLM(shop.model, shop.encoder, batch_size=4, max_new_tokens=30, constrained=shop.task)
    assert [one.text for one in plain(shop.records)] == [one.text for one in found]


def test_lines_of_earlier_versions_and_of_baselines_are_read_and_written_as_ever(tmp_path: Path) -> None:
    line = {"record_id": "a", "text": "b", "seconds": 0.5, "samples": []}
    (tmp_path / "old.jsonl").write_text(json.dumps(line) + "\n")
    (old,) = read_predictions(tmp_path / "old.jsonl")
    assert old == Prediction("a", "b", 0.5)
    write_predictions(tmp_path / "new.jsonl", [old])
    assert json.loads((tmp_path / "new.jsonl").read_text()) == line
    assert asdict(old)["confidence"] == {}
    hash(old)


def test_the_answers_own_number_is_followed_however_unlikely(shop: Shop) -> None:
    _, _, texts, found, _ = asked(shop, shop.task)
    for text, one in zip(texts, found, strict=True):
        assert one["full_price"].of(shop.task.read(text).values["full_price"]) > 0
    assert ends_of(shop.model)
