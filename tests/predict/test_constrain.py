"""The law between words and constraint: what may be said is read without a problem, what is written may be said."""

from __future__ import annotations

import random
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeworth.errors import TaskError
from seeworth.grammar import SPACES
from seeworth.phi3v import Phi3VImageProcessor, Phi3VProcessor
from seeworth.phi3v.tiny import tiny_tokenizer
from seeworth.predict.constrain import BEFORE, Constraint, Walk
from seeworth.task import Field, Task, valid_value

PRICE = Field("price", "number", "USD")
CHOICES = ("Coats", "Rain Coats", "Coats & Jackets", "aa", "T, Shirts", "É")
TASKS = [
    Task(),
    Task("q", "Product: {a}, Category: {b}, Full Price: {price}", (Field("a"), Field("b", "category", choices=CHOICES), PRICE)),
    Task("q", "{a}--{b} -{c}{{x}}", (Field("a"), Field("b"), Field("c", "number"))),
    Task("q", " {a} , {b} ", (Field("a"), Field("b", "category"))),
    Task("q", "{a} {b}", (Field("a"), Field("b"))),
    Task("q", "{price}", (PRICE,)),
    Task("q", "1.{price}0{a}2", (PRICE, Field("a", "number"))),
    Task("q", "Title: {a}\nPrice: {price}\n", (Field("a"), PRICE)),
    Task("q", "aa{a}aa{b}aa", (Field("a"), Field("b", "category", choices=("aa", " b ", "\\", ",")))),
    Task("q", '{{"title": "{a}", "price": {price}}}', (Field("a"), Field("price", "number", "EUR"))),
]
PIECES = [", Category: ", ", Full Price: ", "\\", "-", "--", " ", "{", "\n", "a", "aa", "é", "<|end|>", "\u2028", "\x1c", "😀"]
PHRASES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)
WORDS = st.one_of(PHRASES, st.text(min_size=1, max_size=12)).filter(lambda text: bool(text.strip()))
NUMBERS = st.one_of(st.integers(-(10**14), 10**14), st.decimals(-(10**6), 10**6, places=3), st.sampled_from([Decimal("1E-14"), 0, 10**14]))
LIMIT = 12


@cache
def processor(kind: str) -> Phi3VProcessor:
    if kind == "tiny":
        tokenizer = tiny_tokenizer(["Product: Rain Coat, Category: Coats, Full Price: 1290", "a -- b"])
        return Phi3VProcessor(Phi3VImageProcessor(num_crops=1, num_img_tokens=16, tile_size=112), tokenizer)
    return Phi3VProcessor.from_pretrained(kind)


@cache
def constraint(kind: str, task: Task, limit: int | None) -> Constraint:
    made = processor(kind)
    ends = [made.ids["<|end|>"], made.ids["<|endoftext|>"]]
    return Constraint(task, made, vocab_size=len(made.tokenizer) + 19, ends=ends, max_tokens=limit)


@pytest.fixture(params=["tiny", "phi3", "phi35"])
def kind(request: pytest.FixtureRequest, shared: Path) -> str:
    """The tiny tokenizer and the published ones."""
    if request.param == "tiny":
        return "tiny"
    folders = sorted(path.parent for path in (shared / "phi3v" / "pretrained").glob("*/tokenizer.json"))
    return str(folders[0 if request.param == "phi3" else -1])


def values_of(one: Field) -> st.SearchStrategy[Any]:
    if one.kind == "number":
        return NUMBERS.filter(lambda number: _valid(one, number))
    return st.sampled_from(one.choices) if one.choices else WORDS


def _valid(one: Field, value: Any) -> bool:
    try:
        valid_value(one, value)
    except TaskError:
        return False
    return True


@settings(max_examples=200)
@given(st.sampled_from(TASKS), st.data())
def test_whatever_the_task_writes_may_be_said(task: Task, data: st.DataObject) -> None:
    text = task.write({one.name: data.draw(values_of(one)) for one in task.answer_fields})
    assert constraint("tiny", task, None).accepts(text), text


def said(walk: Walk, rng: random.Random) -> list[int]:
    """Any answer that the walk allows: each token drawn from all that may come."""
    tokens = walk.forced()
    while not walk.done:
        may = np.flatnonzero(walk.allowed()).tolist()
        assert may
        if any(end in may for end in walk.constraint.ends) and rng.random() < 0.5:
            break
        token = rng.choice([one for one in may if one not in walk.constraint.ends])
        walk.take(token)
        tokens += [token, *walk.forced()]
    return tokens


@settings(max_examples=200)
@given(st.sampled_from(TASKS), st.integers(0, 10**9))
def test_whatever_may_be_said_is_read_without_a_problem(task: Task, seed: int) -> None:
    held = constraint("tiny", task, LIMIT)
    tokens = said(held.walk(), random.Random(seed))
    text = held.text(tokens)
    assert task.read(text).problems == (), text
    assert processor("tiny").tokenizer.decode(tokens) == text
    assert len(tokens) < 120  # it ends by itself


@pytest.mark.parametrize("task", TASKS[:2])
def test_the_published_tokenizers_are_held_as_well(kind: str, task: Task) -> None:
    held = constraint(kind, task, LIMIT)
    for seed in range(10):
        tokens = said(held.walk(), random.Random(seed))
        text = held.text(tokens)
        assert task.read(text).problems == (), text
        assert processor(kind).tokenizer.decode(tokens) == text


def test_forced_words_are_spelled_as_the_tokenizer_spells_them(kind: str) -> None:
    held, plain = constraint(kind, TASKS[1], None), processor(kind).plain_ids
    text = "Product: Rain Coat, Category: Rain Coats, Full Price: 1290"
    walk, tokens = held.walk(), []
    spelled, forced = plain(text), 0
    tokens += walk.forced()
    forced += len(tokens)
    while len(tokens) < len(spelled):
        assert tokens == spelled[: len(tokens)]
        walk.take(spelled[len(tokens)])
        tokens.append(spelled[len(tokens)])
        more = walk.forced()
        tokens += more
        forced += len(more)
    assert tokens == spelled
    assert forced >= len(plain("Product:")) + len(plain(", Category:")) + len(plain(", Full Price:")) - 4


def test_a_character_may_be_spelled_in_bytes() -> None:
    held = constraint("tiny", TASKS[0], None)
    walk, vocab = held.walk(), processor("tiny").tokenizer.get_vocab()
    walk.forced()
    walk.take(vocab["▁"])
    for byte in "é😀".encode():
        walk.take(vocab[f"<0x{byte:02X}>"])
    with pytest.raises(TaskError, match="may not come here"):
        walk.take(vocab["<0xFF>"])


def test_a_category_is_one_of_the_known_ones_unless_it_is_free() -> None:
    task = TASKS[1]
    assert constraint("tiny", task, None).accepts("Product: x, Category: Coats, Full Price: 5")
    assert not constraint("tiny", task, None).accepts("Product: x, Category: Boats, Full Price: 5")
    assert constraint("tiny", task.without_choices(), None).accepts("Product: x, Category: Boats, Full Price: 5")
    known = Task().with_choices([{"category3_code": "Boats"}, {"category3_code": " "}, {}])
    assert known.of_kind("category")[0].choices == ("Boats",)
    assert not constraint("tiny", known, None).accepts("Product: x, Category: Coats, Full Price: 5")
    assert Task().with_choices([]) == Task()


@pytest.mark.parametrize("price", ["1,290", "01", "1.50", "-0", "1e5", "$5", "5 USD", "", ".5", "5.", "+5", "1" * 16, "٣"])
def test_a_number_has_the_form_that_the_task_writes(price: str) -> None:
    assert not constraint("tiny", TASKS[5], None).accepts(price)


def test_what_cannot_be_said_is_told_in_one_line() -> None:
    with pytest.raises(TaskError, match="no choice can be said") as caught:
        constraint("tiny", Task("q", "{a}", (Field("a", "category", choices=(" ",)),)), None)
    assert "\n" not in str(caught.value)


def test_white_space_is_what_python_says_it_is() -> None:
    assert set(SPACES) == {chr(code) for code in range(0x110000) if chr(code).isspace()}


def test_the_space_before_the_first_word_is_the_tokenizers_own(kind: str) -> None:
    assert processor(kind).tokenizer.convert_ids_to_tokens(processor(kind).plain_ids("Product"))[0][0] == BEFORE.replace(" ", "▁")
