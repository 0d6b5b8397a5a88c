"""Which column holds what, on the headers of real catalogues: found, asked for, or told with what is nearest; never guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seeworth.data.rows.reader import Columns, Draft, RowReader
from seeworth.data.sources import open_source
from seeworth.errors import DataError, TaskError
from seeworth.task import Field, Task, task_columns

BURBERRY = (
    "website_name,competence_date,country_code,currency_code,brand,category1_code,category2_code,category3_code,"
    "product_code,title,itemurl,imageurl,full_price,price,full_price_eur,price_eur,flg_discount"
)
SHOPIFY = "Handle,Title,Body (HTML),Vendor,Type,Variant SKU,Variant Price,Image Src,Image Position"
PRODUCT = {"title": "Title", "category3_code": "Type", "full_price": "Variant Price"}


def of(path: Path, chosen: dict[str, str] | None = None, task: Task | None = None) -> Columns:
    source = open_source(path)
    return Columns.of(source, task or source.task, chosen)


def test_the_burberry_table_needs_no_choice(table: Callable[..., Path]) -> None:
    found = of(table(BURBERRY))
    assert (found.photo, found.group, found.currency, found.id, found.split) == ("imageurl", "product_code", "currency_code", None, None)


@pytest.mark.parametrize(
    ("header", "photo", "group"),
    [
        (SHOPIFY, "Image Src", None),
        ("id,title,price,image_link,google_product_category,item_group_id", "image_link", "item_group_id"),
        ("Product Name,Images,Price ($)", "Images", None),
        ("uniq_id,product_name,image,retail_price", "image", None),
        ("name,Image-URL", "Image-URL", None),
    ],
)
def test_the_photos_column_is_known_however_it_is_written(table: Callable[..., Path], header: str, photo: str, group: str | None) -> None:
    task = Task(answer="{x}", fields=(Field("x"),))
    found = of(table(header), {"x": header.split(",")[0]}, task)
    assert (found.photo, found.group) == (photo, group)


@pytest.mark.parametrize(
    ("header", "advice"),
    [
        (SHOPIFY, "--columns '{title: Title, category3_code: Type, full_price: Variant Price}'"),
        ("Product Name,Price ($),Category,image", "--columns '{title: Product Name, category3_code: Category, full_price: \"Price ($)\"}'"),
        ("id,title,price,image_link,google_product_category", "{category3_code: google_product_category, full_price: price}"),
        ("sku,photo,xyz", "--columns '{title: COLUMN, category3_code: COLUMN, full_price: COLUMN}'"),
    ],
)
def test_columns_that_are_missing_are_told_together_with_what_may_be_meant(table: Callable[..., Path], header: str, advice: str) -> None:
    with pytest.raises(DataError) as problem:
        of(table(header))
    assert advice in str(problem.value)
    assert header.split(",")[1] in str(problem.value)


def test_two_columns_that_could_both_be_the_photo_are_no_guess(table: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="'Image URL' and 'image_url' could both be the photo"):
        of(table("title,category3_code,full_price,Image URL,image_url"))


@pytest.mark.parametrize(("column", "said"), [("price_eur", "EUR"), ("Price (€)", "EUR"), ("Price (GBP)", "GBP"), ("MRP ₹", "INR")])
def test_a_column_in_another_currency_than_the_task_is_told(table: Callable[..., Path], column: str, said: str) -> None:
    with pytest.raises(DataError, match=f"is in {said}, the task in USD"):
        of(table(f"title,category3_code,{column},photo"), {"full_price": column})
    task = Task(answer="{p}", fields=(Field("p", "number", said),))
    assert of(table(f"{column},photo"), {"p": column}, task).fields["p"] == column


def test_a_shopify_export_keeps_products_and_refuses_their_continuation_rows(table: Callable[..., Path]) -> None:
    source = open_source(table(SHOPIFY, "bag,Bag,<p>x</p>,A,Bags,s1,15.00,0.jpg,1", "bag,,,,,,,1.jpg,2", "hat,Hat,,A,Hats,s2,9.50,2.jpg,1"))
    reader = RowReader(source, source.task, Columns.of(source, source.task, PRODUCT | {"group": "Handle"}))
    found = [reader.read(row) for row in source]
    assert [getattr(one, "code", "kept") for one in found] == ["kept", "text_missing", "kept"]


def test_the_first_of_several_photos_is_taken_and_told_once(table: Callable[..., Path]) -> None:
    several = ('a,"0.jpg|1.jpg"', 'b,"https://a.example/1,https://a.example/2"', 'c,"[""3.jpg"", ""4.jpg""]"')
    path = table("title,Images", *several, "d,5.jpg", 'e,"6,7.jpg"', 'f,"8.jpg,9.jpg"')
    (path.parent / "8.jpg,9.jpg").touch()
    source = open_source(path)
    task = Task(answer="{title}", fields=(Field("title"),))
    reader = RowReader(source, task, Columns.of(source, task, None))
    for _ in range(2):
        photos = [one.photo for row in source if isinstance(one := reader.read(row), Draft)]
        assert [getattr(photo, "url", "") or photo.path.name for photo in photos] == [  # type: ignore[union-attr]
            "0.jpg", "https://a.example/1", "3.jpg", "5.jpg", "6,7.jpg", "8.jpg,9.jpg",
        ]  # fmt: skip
    assert reader.notices == ["3 cells of column Images name several photos: the first of each was taken"]


def test_leading_zeros_stay(table: Callable[..., Path]) -> None:
    source = open_source(table("article_id,title,photo", "0108775015,Top,0.jpg"))
    task = Task(answer="{title}", fields=(Field("title"),))
    draft = RowReader(source, task, Columns.of(source, task, {"id": "article_id"})).read(next(iter(source)))
    assert isinstance(draft, Draft)
    assert (draft.id, draft.values["article_id"]) == ("0108775015", "0108775015")


def test_a_task_file_may_say_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text("answer: '{title}'\ncolumns: {title: Product Name, photo: Images}\n")
    assert task_columns(path) == {"title": "Product Name", "photo": "Images"}
    assert Task.load(path) == Task.from_dict({"answer": "{title}"})
    path.write_text("answer: '{title}'\n")
    assert task_columns(path) == {}
    for wrong in ("columns: [title]", "columns: {title: 3}"):
        path.write_text(wrong)
        with pytest.raises(TaskError, match="columns is a list of `field: column`"):
            task_columns(path)
