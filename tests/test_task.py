"""The hinge: fields -> words -> fields, whatever the words hold; and every way in which a task or an answer can be wrong."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seeworth.errors import TaskError
from seeworth.task import Field, Reading, Task, _find, valid_value

PRICE = Field("price", "number", "USD")
TASKS = [
    Task(),
    Task("A photo by {brand}. What is it?", "{a}--{b} -{c}{{x}}", (Field("brand"), Field("a"), Field("b"), Field("c", "number"))),
    Task("q", " {a} , {b} ", (Field("a"), Field("b", "category"))),
    Task("q", "{a} {b}", (Field("a"), Field("b"))),
    Task("q", "{price}", (PRICE,)),
    Task("q", "Title: {a}\nPrice: {price}\n", (Field("a"), PRICE)),
    Task("q", "aa{a}aa{b}aa", (Field("a"), Field("b", "category", choices=("aa", " b ", "\\", ",")))),
    Task("q", '{{"title": "{a}", "price": {price}}}', (Field("a"), Field("price", "number", "EUR"))),
]
PIECES = [", Category: ", ", Full Price: ", "Category:", "Full Price:", "Product: ", "\\", "-", "--", " ", "  ", "{", "}", "\n", "a", "aa"]
PIECES += [",", ":", '"', "'", "é", "<|end|>", "<|image_1|>", "{x}", "1,290", "\t", "\u00a0", "\u2028", "\x00"]
WORDS = st.one_of(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join), st.text(min_size=1, max_size=20))
WORDS = WORDS.filter(lambda text: bool(text.strip()))
NUMBERS = st.one_of(
    st.integers(-(10**14), 10**14),
    st.decimals(-(10**9), 10**9, places=3),
    st.floats(-1e9, 1e9).map(lambda number: round(number, 4)),
    st.decimals(allow_nan=False, allow_infinity=False),
)


def valid(one: Field, value: Any) -> bool:
    try:
        valid_value(one, value)
    except TaskError:
        return False
    return True


def values_of(one: Field) -> st.SearchStrategy[Any]:
    if one.kind == "number":
        return NUMBERS.filter(lambda number: valid(one, number))
    return st.sampled_from(one.choices) if one.choices else WORDS


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(TASKS), st.data())
def test_what_is_written_is_read_back(task: Task, data: st.DataObject) -> None:
    given_values = {one.name: data.draw(values_of(one)) for one in task.fields}
    clean = {one.name: valid_value(one, given_values[one.name]) for one in task.answer_fields}
    words = task.write(given_values)
    assert task.read(words) == Reading(clean)
    assert task.read(f" \n{words}\n ") == Reading(clean)


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(TASKS), st.one_of(WORDS, st.text()))
def test_reading_anything_never_raises_and_never_makes_up_a_value(task: Task, text: str) -> None:
    reading = task.read(text)
    assert set(reading.values) <= {one.name for one in task.answer_fields}
    assert bool(reading.problems) == (set(reading.values) != {one.name for one in task.answer_fields})
    for one in task.answer_fields:
        assert one.name not in reading.values or valid(one, reading.values[one.name])


@given(st.data())
def test_an_answer_cut_anywhere_is_a_reading_with_problems_or_a_shorter_last_field(data: st.DataObject) -> None:
    words = Task().write({"title": "Silk Scarf", "category3_code": "Scarves", "full_price": 1290})
    cut = data.draw(st.integers(0, len(words) - 1))
    reading = Task().read(words[:cut])
    assert reading.problems or (reading.values["title"], reading.values["category3_code"]) == ("Silk Scarf", "Scarves")
    assert "full_price" not in reading.values or str(reading.values["full_price"]) in ("1", "12", "129")


def test_the_default_task_is_the_cookbooks() -> None:
    task = Task()
    assert task.prompt() == "What is shown in this image?"
    values = {"title": "Long Scarf, Camel", "category3_code": "Scarves", "full_price": Decimal("1290.50")}
    assert task.write(values) == "Product: Long Scarf, Camel, Category: Scarves, Full Price: 1290.5"
    assert [one.name for one in task.of_kind("number")] == ["full_price"]
    assert [one.kind for one in task.answer_fields] == ["text", "category", "number"]


def test_only_a_title_that_could_be_mistaken_is_written_with_backslashes() -> None:
    tail = {"category3_code": "C", "full_price": 5}
    assert "\\" not in Task().write(tail | {"title": 'A "B": C, D (Category) Full Price'})
    assert "\\" in Task().write(tail | {"title": "A, Category: B"})
    assert "\\" in Task().write(tail | {"title": "A\\B"})


@pytest.mark.parametrize(
    ("words", "number"),
    [("1290", 1290), ("1,290", 1290), ("$1,290.00", 1290), ("1290 USD", 1290), ("USD 1290", 1290), ("-3.50", "-3.5"), ("0", 0)],
)
def test_a_price_is_read_as_people_write_it(words: str, number: object) -> None:
    reading = Task().read(f"Product: a, Category: b, Full Price: {words}")
    assert reading == Reading({"title": "a", "category3_code": "b", "full_price": Decimal(str(number))})


NO_PRICES = ["", "none", "12x", "1,29", "1.2.3", "nan", "inf", "1e5", "٣", "1290 EUR", "12 90", "0x10", "1" * 16, "9" * 99_999]


@pytest.mark.parametrize("words", NO_PRICES)
def test_what_is_no_price_is_a_problem_and_never_zero(words: str) -> None:
    reading = Task().read(f"Product: a, Category: b, Full Price: {words}")
    assert dict(reading.values) == {"title": "a", "category3_code": "b"}
    assert len(reading.problems) == 1
    assert reading.problems[0].startswith("full_price: ")
    assert len(reading.problems[0]) < 120


@pytest.mark.parametrize(
    ("text", "values", "problem"),
    [
        ("hello", {}, "does not start with 'Product: '"),
        ("", {}, "does not start with"),
        ("Product: Coat", {}, "title: the words ', Category: ' after it are missing"),
        ("Product: Coat, Category: X", {"title": "Coat"}, "category3_code: the words ', Full Price: ' after it are missing"),
        ("Product: Coat, Category:", {"title": "Coat"}, "category3_code: the words"),
        ("Product: , Category: X, Full Price: 5", {"category3_code": "X", "full_price": 5}, "title: is empty"),
    ],
)
def test_a_malformed_answer_says_what_is_wrong_and_keeps_the_rest(text: str, values: dict[str, Any], problem: str) -> None:
    reading = Task().read(text)
    assert dict(reading.values) == values
    assert problem in reading.problems[0]


def test_a_category_is_one_of_its_choices() -> None:
    task = Task("q", "{kind}", (Field("kind", "category", choices=("coat", "scarf")),))
    assert task.read("scarf") == Reading({"kind": "scarf"})
    assert task.read("Scarf").problems == ("kind: 'Scarf' is none of the 2 choices",)
    with pytest.raises(TaskError, match="kind: 'hat' is none of the 2 choices"):
        task.write({"kind": "hat"})


def test_a_question_may_use_fields_that_the_answer_does_not() -> None:
    task = Task("A photo by {brand} at {price}. What is it?", "{title}", (Field("brand"), PRICE, Field("title")))
    assert task.prompt({"brand": "Aé <|end|>", "price": Decimal("12.50")}) == "A photo by Aé <|end|> at 12.5. What is it?"
    assert [one.name for one in task.answer_fields] == ["title"]
    assert task.write({"title": "x"}) == "x"
    with pytest.raises(TaskError, match="brand: is missing"):
        task.prompt({"price": 1})
    with pytest.raises(TaskError, match="brand: is missing"):
        task.prompt()


@pytest.mark.parametrize(
    ("value", "kept"),
    [(5, "5"), (1.5, "1.5"), (Decimal("1.50"), "1.50"), (np.float64(2.25), "2.25"), (10**14, "1" + "0" * 14), (0.1, "0.1"), (-0.0, "0")],
)
def test_numbers_of_every_type_are_kept_exactly(value: Any, kept: str) -> None:
    assert valid_value(PRICE, value) == Decimal(kept)


@pytest.mark.parametrize(
    ("one", "value", "told"),
    [
        (PRICE, "12", "expected a number, found '12'"),
        (PRICE, True, "expected a number"),
        (PRICE, None, "expected a number"),
        (PRICE, float("nan"), "expected a finite number"),
        (PRICE, Decimal("-Infinity"), "expected a finite number"),
        (PRICE, Decimal("sNaN"), "expected a finite number"),
        (PRICE, 10**15, "more than 15 digits"),
        (PRICE, Decimal("1.0000000000000000000000000000001"), "more than 15 digits"),
        (PRICE, Decimal("1E+9999999"), "more than 15 digits"),
        (PRICE, Decimal("1E-9999999"), "more than 15 digits"),
        (Field("title"), "", "title: is empty"),
        (Field("title"), " \n", "title: is empty"),
        (Field("title"), 5, "expected text, found 5"),
        (Field("title"), None, "expected text, found None"),
    ],
)
def test_a_value_that_cannot_be_written_is_told_in_one_line(one: Field, value: Any, told: str) -> None:
    with pytest.raises(TaskError, match=told) as caught:
        valid_value(one, value)
    assert str(caught.value).startswith(one.name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"answer": "{title}", "fields": []}, "names {title}, but the fields are none"),
        ({"answer": "{title} {size}", "fields": [{"name": "title"}]}, "names {size}, but the fields are title"),
        ({"question": "{size}?", "answer": "{title}", "fields": [{"name": "title"}]}, "names {size}"),
        ({"answer": "nothing"}, "names no field"),
        ({"answer": ""}, "names no field"),
        ({"answer": "{title} {title}"}, "each field stands once"),
        ({"answer": "{a}", "fields": [{"name": "a"}, {"name": "a"}]}, "each field stands once"),
        ({"answer": "{a}", "fields": [{"name": "a"}, {"name": "b"}]}, "field b stands in neither"),
        ({"answer": "{a}{b}"}, "two fields with nothing between"),
        ({"answer": "\\{a}"}, "holds a backslash"),
        ({"answer": "{a"}, "not well formed"),
        ({"answer": "a}"}, "not well formed"),
        ({"answer": "{}"}, "expected a plain field name"),
        ({"answer": "{0}"}, "expected a plain field name"),
        ({"answer": "{a.b}"}, "expected a plain field name"),
        ({"answer": "{a[0]}"}, "expected a plain field name"),
        ({"answer": "{a!r}"}, "expected a plain field name"),
        ({"answer": "{a:>9}"}, "expected a plain field name"),
        ({"answer": 5}, "question and answer are text"),
        ({"question": ["x"]}, "question and answer are text"),
        ({"colour": "red", "answer": "{a}"}, "unknown colour"),
        ({"answer": "{a}", "fields": 5}, "fields is a list"),
        ({"answer": "{a}", "fields": "a"}, "fields is a list"),
        ({"answer": "{a}", "fields": ["a"]}, "a field has name, kind, unit and choices"),
        ({"answer": "{a}", "fields": [{"name": "a", "type": "text"}]}, "a field has name, kind, unit and choices"),
        ({"answer": "{a}", "fields": [{"name": "a", "kind": "money"}]}, "kind is 'money', expected one of text, category, number"),
        ({"answer": "{a}", "fields": [{"name": "a b"}]}, "expected letters, digits and _"),
        ({"answer": "{a}", "fields": [{"name": "a", "unit": "USD"}]}, "only a number has a unit"),
        ({"answer": "{a}", "fields": [{"name": "a", "kind": "number", "unit": 5}]}, "a unit is a word"),
        ({"answer": "{a}", "fields": [{"name": "a", "kind": "number", "unit": "10"}]}, "could be taken for digits"),
        ({"answer": "{a}", "fields": [{"name": "a", "choices": ["x"]}]}, "only a category has choices"),
        ({"answer": "{a}", "fields": [{"name": "a", "kind": "category", "choices": "xy"}]}, "choices are a list of words"),
        ({"answer": "{a}", "fields": [{"name": "a", "kind": "category", "choices": [1]}]}, "choices are a list of words"),
        ({"answer": "{a}", "fields": [{"name": "a", "kind": "category", "choices": []}]}, "choices is empty"),
        (["question"], "expected question, answer and fields, found list"),
        (None, "expected question, answer and fields, found NoneType"),
    ],
)
def test_a_task_that_is_not_well_formed_is_told_in_one_line(data: Any, told: str) -> None:
    with pytest.raises(TaskError) as caught:
        Task.from_dict(data, "my.yaml")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_value_names_what_there_is() -> None:
    with pytest.raises(TaskError, match="full_price: is missing; the values are title, category3_code"):
        Task().write({"title": "a", "category3_code": "b"})


@given(st.sampled_from(TASKS))
def test_a_task_round_trips_through_plain_data(task: Task) -> None:
    assert Task.from_dict(task.to_dict()) == task


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}\\"), max_size=30), st.lists(WORDS, min_size=1, max_size=4))
@example("\x85", ["a"])
@example("a\u2028b", ["\ufeff c"])
def test_a_task_round_trips_through_yaml_whatever_its_words(tmp_path_factory: Any, words: str, choices: list[str]) -> None:
    task = Task(f"{words}?", f"{words}{{a}}|{{b}}", (Field("a", "category", choices=tuple(choices)), Field("b", "number", "kg")))
    path = tmp_path_factory.mktemp("task") / "task.yaml"
    task.save(path)
    assert Task.load(path) == task


def test_fields_may_be_left_out_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text("question: What is it?\n")
    assert Task.load(path) == Task("What is it?")
    path.write_text("question: By {brand}?\nanswer: '{title} for {price}'\n")
    assert [(one.name, one.kind) for one in Task.load(path).fields] == [("title", "text"), ("price", "text"), ("brand", "text")]


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"- a", b"", b"fields: [name: [", b"!!python/object:os.system {}"])
def test_a_file_that_is_no_task_is_told_with_its_name_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes(content)
    with pytest.raises(TaskError, match=r"task\.yaml") as caught:
        Task.load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(TaskError, match=r"none\.yaml"):
        Task.load(tmp_path / "none.yaml")


@given(st.text(alphabet="ab, ", max_size=12), st.sampled_from([", ", "b", "ab ", "", " a"]), st.integers(0, 4), st.booleans())
def test_a_literal_is_found_in_words_without_a_backslash_where_the_slow_way_finds_it(
    text: str, literal: str, start: int, at_end: bool
) -> None:
    """A backslash in front, behind which the search starts, makes `_find` look at each place."""
    quick = _find(text, literal, start, at_end)
    slow = _find("\\\\" + text, literal, start + 2, at_end)
    assert quick == (None if slow is None else slow - 2)
