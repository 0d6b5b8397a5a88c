from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seeworth.data.dataset import Rejected
from seeworth.data.rows.reader import Columns, Draft, RowReader
from seeworth.data.sources import SourceRow, open_source
from seeworth.errors import DataError, SettingsError
from seeworth.task import Field, Task

HEADER = "title,category3_code,full_price,photo"


@pytest.fixture
def read(table: Callable[..., Path]) -> Callable[..., list[Draft | Rejected]]:
    """read(*lines, task=, **columns): what the reader makes of a table whose first line is its header."""

    def read_all(*lines: str, task: Task | None = None, **columns: str) -> list[Draft | Rejected]:
        source = open_source(table(*lines))
        task = task or source.task
        reader = RowReader(source, task, Columns.of(source, task, columns))
        return [reader.read(row) for row in source]

    return read_all


def test_a_good_row_becomes_a_draft(read: Callable[..., list[Draft]]) -> None:
    (draft,) = read(HEADER + ",brand", ' Bag\t"red" ,BAGS,"$1,290.00",0.jpg,Ada')
    assert draft.values == {"title": 'Bag "red"', "category3_code": "BAGS", "full_price": Decimal(1290), "photo": "0.jpg", "brand": "Ada"}
    assert (draft.number, draft.id, draft.group, draft.split) == (1, "1", "", None)
    assert draft.photo.path.is_file()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (",BAGS,10,0.jpg", "text_missing"),
        (" \t ,BAGS,10,0.jpg", "text_missing"),
        (f"{'x' * 301},BAGS,10,0.jpg", "text_too_long"),
        ("Bag,,10,0.jpg", "category_missing"),
        ("Bag,BAGS,,0.jpg", "number_missing"),
        ("Bag,BAGS,nan,0.jpg", "number_not_finite"),
        ("Bag,BAGS,0,0.jpg", "number_zero"),
        ("Bag,BAGS,0.00,0.jpg", "number_zero"),
        ("Bag,BAGS,-10,0.jpg", "number_negative"),
        ("Bag,BAGS,ten,0.jpg", "number_unreadable"),
        ("Bag,BAGS,12345678901234567,0.jpg", "number_too_long"),
        ("Bag,BAGS,1e999,0.jpg", "number_too_long"),
        ("Bag,BAGS,1290 EUR,0.jpg", "unit_differs"),
        ("Bag,BAGS,10,", "photo_missing"),
        ("Bag,BAGS,10,../../0.jpg", "outside"),
        ("Bag,BAGS,10", "row_shape"),
    ],
)
def test_each_fault_of_a_row_has_its_code_and_words(read: Callable[..., list[Rejected]], line: str, code: str) -> None:
    (refused,) = read(HEADER, line)
    assert isinstance(refused, Rejected)
    assert (refused.row, refused.id, refused.code) == (1, "1", code)
    assert refused.reason
    assert "\n" not in refused.reason


def test_a_title_of_300_characters_is_kept(read: Callable[..., list[Draft]]) -> None:
    (draft,) = read(HEADER, f"{'x' * 300},BAGS,10,0.jpg")
    assert draft.values["title"] == "x" * 300


def test_zero_and_below_matter_only_to_an_amount(read: Callable[..., list[Draft]]) -> None:
    task = Task(answer="{degrees}", fields=(Field("degrees", "number"),))
    assert [draft.values["degrees"] for draft in read("degrees,photo", "0,0.jpg", "-4.5,0.jpg", task=task)] == [0, Decimal("-4.5")]


def test_a_category_beyond_the_choices_is_refused(read: Callable[..., list[Draft | Rejected]]) -> None:
    task = Task(answer="{kind}", fields=(Field("kind", "category", choices=("BAGS", "HATS")),))
    good, bad = read("kind,photo", "BAGS,0.jpg", "CARS,0.jpg", task=task)
    assert isinstance(good, Draft)
    assert isinstance(bad, Rejected)
    assert (bad.code, "'CARS' is none of the 2 choices" in bad.reason) == ("category_unknown", True)


def test_the_currency_column_must_agree_unless_the_price_column_names_its_own(read: Callable[..., list[Draft | Rejected]]) -> None:
    lines = ("title,price,price_eur,currency_code,photo", "Bag,10,9,USD,0.jpg", "Bag,10,9,CNY,0.jpg", "Bag,10,9,,0.jpg")
    usd = Task(answer="{title} {price}", fields=(Field("title"), Field("price", "number", "USD")))
    assert [getattr(one, "code", "kept") for one in read(*lines, task=usd)] == ["kept", "unit_differs", "kept"]
    assert [getattr(one, "code", "kept") for one in read(*lines, task=usd, currency="")] == ["kept"] * 3
    eur = Task(answer="{title} {price_eur}", fields=(Field("title"), Field("price_eur", "number", "EUR")))
    assert [getattr(one, "code", "kept") for one in read(*lines, task=eur)] == ["kept"] * 3


def test_columns_are_mapped_and_the_rest_is_kept(read: Callable[..., list[Draft]]) -> None:
    (draft,) = read(
        "name,title,kind,usd,pic,sku,style,set",
        "Bag,old title,BAGS,10,0.jpg,s-1,P1,val",
        title="name", category3_code="kind", full_price="usd", photo="pic", id="sku", group="style", split="set",
    )  # fmt: skip
    assert (draft.id, draft.group, draft.split, draft.photo.path.name) == ("s-1", "P1", "validation", "0.jpg")
    assert draft.values == {"title": "Bag", "category3_code": "BAGS", "full_price": 10, "source_title": "old title"} | {
        "pic": "0.jpg", "sku": "s-1", "style": "P1", "set": "val",
    }  # fmt: skip


def test_split_words_are_understood_empty_ones_are_none_and_others_refused(read: Callable[..., list[Draft | Rejected]]) -> None:
    words = ["train", "Training", "val", "valid", "validation", "DEV", "test", ""]
    drafts = read(HEADER + ",part", *(f"Bag,BAGS,10,0.jpg,{word}" for word in [*words, "holdout"]), split="part")
    assert [getattr(draft, "split", "?") for draft in drafts] == ["train"] * 2 + ["validation"] * 4 + ["test", None, "?"]
    assert isinstance(drafts[-1], Rejected)
    assert drafts[-1].code == "split_unknown"


def test_an_empty_id_is_refused(read: Callable[..., list[Draft | Rejected]]) -> None:
    good, bad = read(HEADER + ",id", "Bag,BAGS,10,0.jpg,a", "Bag,BAGS,10,0.jpg,")
    assert isinstance(good, Draft)
    assert isinstance(bad, Rejected)
    assert (good.id, bad.id, bad.code) == ("a", None, "id_missing")


def test_a_column_of_decimal_commas_is_read_as_one(read: Callable[..., list[Draft]]) -> None:
    lines = ('Bag,BAGS,"1.290,50",0.jpg', "Bag,BAGS,1.290,0.jpg", 'Bag,BAGS,"990,00",0.jpg')
    assert [draft.values["full_price"] for draft in read(HEADER, *lines)] == [Decimal("1290.5"), 1290, 990]


def columns_of(path: Path, chosen: dict[str, str] | None = None) -> Columns:
    source = open_source(path)
    return Columns.of(source, source.task, chosen)


def test_the_usual_names_are_found(table: Callable[..., Path]) -> None:
    found = columns_of(table("product_code,imageurl,id,title,category3_code,full_price,currency_code,split"))
    assert (found.photo, found.id, found.group, found.currency, found.split) == ("imageurl", "id", "product_code", "currency_code", None)
    assert columns_of(table(HEADER + ",product_code"), {"group": ""}).group is None


@pytest.mark.parametrize(
    ("header", "chosen", "kind", "words"),
    [
        ("Title,category3_code,full_price,photo", {}, DataError, "has no column 'title', which the task's field 'title' needs; "),
        ("Title,category3_code,full_price,photo", {}, DataError, "did you mean 'Title'?"),
        (HEADER, {"group": "categry3_code"}, DataError, "did you mean 'category3_code'?"),
        ("title,category3_code,full_price,bild", {}, DataError, "expected a column that names the photo"),
        (HEADER, {"titel": "title"}, SettingsError, "--columns names 'titel'; it may name title,"),
        (HEADER, {"titel": "title"}, SettingsError, "did you mean 'title'?"),
        (HEADER, {"photo": ""}, SettingsError, "expected the name of a column, found ''"),
        (HEADER, {"id": 3}, SettingsError, "expected the name of a column, found 3"),
    ],
)
def test_a_column_that_is_not_there_is_told_with_the_nearest(
    table: Callable[..., Path], header: str, chosen: dict[str, str], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as problem:
        columns_of(table(header), chosen)
    assert words in str(problem.value)


def test_a_field_may_not_take_the_name_of_a_role(table: Callable[..., Path]) -> None:
    task = Task(answer="{group}", fields=(Field("group"),))
    with pytest.raises(SettingsError, match="field named 'group'"):
        Columns.of(open_source(table("group,photo")), task, None)


@pytest.fixture
def reader(table: Callable[..., Path]) -> RowReader:
    source = open_source(table(HEADER))
    return RowReader(source, source.task, Columns.of(source, source.task, None))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.text(), st.text() | st.decimals().map(str), st.text() | st.just("0.jpg"))
def test_any_cells_give_a_draft_that_the_task_can_write_or_a_reason(
    reader: RowReader, title: str, category: str, price: str, photo: str
) -> None:
    found = reader.read(SourceRow(1, {"title": title, "category3_code": category, "full_price": price, "photo": photo}))
    if isinstance(found, Draft):
        assert reader.task.read(reader.task.write(found.values)).problems == ()
    else:
        assert found.code
        assert found.reason
