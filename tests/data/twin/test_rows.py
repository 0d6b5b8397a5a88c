"""The laws of a twin's rows, for any table: nothing of anybody's survives, the category tree does, and rows are as many as asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeworth.data.dataset import Row
from seeworth.data.twin.kinds import is_missing
from seeworth.data.twin.learn import K, Structure, learn_rows
from seeworth.data.twin.rows import Draft, Drawer
from seeworth.data.twin.words import key, words
from seeworth.task import Field, Task

Cells = list[dict[str, Any]]
Make = Callable[..., list[Row]]

_word = st.text("abAB éß1-東红🔥אب,'", min_size=1, max_size=8)
_title = st.lists(st.one_of(st.sampled_from(["Coat", "in", "Red", "Wool,"]), _word), min_size=1, max_size=6).map(" ".join).filter(str.strip)
_row = st.fixed_dictionaries(
    {
        "title": _title,
        "category3_code": st.sampled_from(["COATS", "HATS", "靴", "a b"]),
        "category1_code": st.sampled_from(["X", "Y"]),
        "category2_code": st.sampled_from(["P", "Q", ""]),
        "full_price": st.decimals("0.05", "99999", places=2),
        "group": st.sampled_from([f"G-{number}" for number in range(12)]),
        "sku": st.from_regex(r"[A-Z]{2}-\d{1,3}", fullmatch=True),
        "url": st.from_regex(r"https://[a-c]{1,2}\.com/[a-z0-9]{1,4}(/[a-z]{1,3})?", fullmatch=True),
        "text": st.one_of(_title, st.sampled_from(["", "N.A."])),
    }
)
_table = st.lists(_row, min_size=1, max_size=40).map(lambda rows: [row | {"id": f"id{number}"} for number, row in enumerate(rows)])


def twin(structure: Structure, rows: int, seed: int = 0) -> list[Draft]:
    drawer = Drawer(structure, rows, seed)
    return [draft for number in range(drawer.chunks) for draft in drawer.chunk(number)]


def rare_words(texts: Sequence[str], groups: Sequence[str]) -> set[str]:
    owners: dict[str, set[str]] = defaultdict(set)
    for text, group in zip(texts, groups, strict=True):
        for word in words(text):
            owners[word].add(group)
    return {word for word, found in owners.items() if len(found) < K}


@settings(max_examples=100, deadline=None)
@given(_table, st.integers(1, 130), st.integers(0, 9))
def test_nothing_of_a_real_table_survives_but_its_structure(real_rows: Make, task: Task, cells: Cells, count: int, seed: int) -> None:
    rows = real_rows(cells)
    structure = learn_rows(task, rows, None, "")
    drafts = twin(structure, count, seed)
    assert len(drafts) == count
    assert len({draft.id for draft in drafts}) == count
    assert not {draft.id for draft in drafts} & {row.id for row in rows}
    assert not {draft.group for draft in drafts} & {row.group for row in rows}
    groups = [row.group for row in rows]
    for column in ("title", "text"):
        real = ["" if is_missing(text := str(row.values[column])) else text for row in rows]  # a word for "missing" is kept
        told = [text for draft in drafts if not is_missing(text := str(draft.values[column]))]
        if structure.kinds.get(column) == "text":
            assert not {key(text) for text in told} & {key(text) for text in real if text.strip()}
            assert not {word for text in told for word in words(text)} & rare_words(real, groups)
    for column in ("sku", "url"):
        if structure.kinds.get(column) in ("code", "url"):
            assert not {draft.values[column] for draft in drafts} & {row.values[column] for row in rows}
    tree = {tuple(row.values[name] for name in ("category1_code", "category2_code", "category3_code")) for row in rows}
    prices = [row.values["full_price"] for row in rows]
    for draft in drafts:
        assert tuple(draft.values[name] for name in ("category1_code", "category2_code", "category3_code")) in tree
        assert min(prices) <= draft.values["full_price"] <= max(prices)
        assert task.read(task.write(draft.values)).values["full_price"] == draft.values["full_price"]


def test_same_seed_same_rows_and_another_seed_others(real_rows: Make, task: Task, shop_cells: Callable[[int], Cells]) -> None:
    structure = learn_rows(task, real_rows(shop_cells(120)), None, "")
    assert twin(structure, 150, 3) == twin(structure, 150, 3)
    assert twin(structure, 150, 3) != twin(structure, 150, 4)


def test_a_chunk_needs_no_other_chunk(real_rows: Make, task: Task, shop_cells: Callable[[int], Cells]) -> None:
    structure = learn_rows(task, real_rows(shop_cells(120)), None, "")
    assert Drawer(structure, 1_000_000, 0).chunk(7000) == Drawer(structure, 1_000_000, 0).chunk(7000)


def test_what_hangs_together_still_does(real_rows: Make, task: Task, shop_cells: Callable[[int], Cells]) -> None:
    structure = learn_rows(task, real_rows(shop_cells(400)), None, "")
    drafts = twin(structure, 1000)
    assert structure.path == ("category3_code", "category1_code")
    assert structure.copies == {"product_code": "\0group"}
    by_group: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        price, full = Decimal(str(draft.values["price"])), draft.values["full_price"]
        assert (draft.values["flg_discount"] == "1") == (price < full)
        assert str(draft.values["product_code"]) in str(draft.values["itemurl"])
        assert draft.values["currency_code"] == "USD"
        assert str(draft.values["contact"]).endswith("@mail.example")
        by_group[draft.group].append(draft)
    assert Counter(map(len, by_group.values())).most_common(1)[0][0] == 2
    for group in by_group.values():
        assert len({draft.split for draft in group}) == len({draft.values["category3_code"] for draft in group}) == 1
        assert len({draft.values["full_price"] for draft in group}) == 1
    missing = sum(draft.values["description"] == "N.A." for draft in drafts) / len(drafts)
    assert 0.2 < missing < 0.3


def test_texts_of_a_group_differ_where_the_real_ones_do(real_rows: Make, task: Task, shop_cells: Callable[[int], Cells]) -> None:
    drafts = twin(learn_rows(task, real_rows(shop_cells(400)), None, ""), 400)
    by_group: dict[str, set[str]] = defaultdict(set)
    for draft in drafts:
        by_group[draft.group].add(str(draft.values["title"]))
    pairs = [sorted(titles) for titles in by_group.values() if len(titles) == 2]
    assert len(pairs) > 100
    assert all(len(set(one.split()) ^ set(two.split())) == 2 for one, two in pairs)


def cells_of(count: int, **columns: Any) -> Cells:
    made = []
    for number in range(count):
        row: dict[str, Any] = {"title": f"Thing {number}", "category3_code": "A", "full_price": Decimal(100 + number)}
        made.append(row | {name: value(number) if callable(value) else value for name, value in columns.items()})
    return made


TRICKY: Mapping[str, Cells] = {
    "one row": cells_of(1),
    "two rows of one group": cells_of(2, group="G1"),
    "all titles unique": cells_of(60, title=lambda n: f"Unique{n}x{n * n} piece{n}"),
    "all titles equal": cells_of(60, title="Plain White Shirt"),
    "one word": cells_of(60, title="Shirt"),
    "CJK": cells_of(60, title=lambda n: f"红色连衣裙{'春夏秋冬'[n % 4]}{chr(0x4E00 + n)}"),
    "emoji": cells_of(60, title=lambda n: "🔥" * (n % 3 + 1) + "👗"),
    "right to left": cells_of(60, title=lambda n: f"שמלה אדומה {chr(0x5D0 + n % 20) * 3}"),
    "prices equal": cells_of(60, full_price=Decimal(590)),
    "missing values": cells_of(60, note=lambda n: "" if n % 3 else f"note {n} of mine", size=lambda n: "N.A." if n % 2 else "7"),
    "a column that is always missing": cells_of(30, note=""),
    "a column that some rows lack": [row for number, row in enumerate(cells_of(30)) if number % 2 or not row.update(note="once")],
    "1,000 categories": cells_of(1500, category3_code=lambda n: f"C{n % 1000}"),
    "long unique texts": cells_of(40, text=lambda n: " ".join(f"word{n}x{m}" for m in range(300))),
    "one huge group": cells_of(300, group="G"),
    "negative numbers": cells_of(60, change=lambda n: f"{n - 30}.5"),
    "punctuation": cells_of(30, title=lambda n: "!" * (n + 1)),
}


@pytest.mark.parametrize("name", TRICKY)
def test_tricky_sets_have_twins_of_any_size(name: str, real_rows: Make, task: Task) -> None:
    rows = real_rows(TRICKY[name])
    structure = learn_rows(task, rows, None, "")
    for count in (1, 7, 230):
        drafts = twin(structure, count)
        assert len(drafts) == count
        assert not {key(str(draft.values["title"])) for draft in drafts} & {key(str(row.values["title"])) for row in rows}
        assert all(str(draft.values["title"]).strip() for draft in drafts)
        assert {draft.values["category3_code"] for draft in drafts} <= {row.values["category3_code"] for row in rows}


def test_a_task_of_a_category_alone_has_a_twin(real_rows: Make) -> None:
    task = Task(answer="Category: {category}", fields=(Field("category", "category"),))
    rows = real_rows([{"category": "ab"[number % 2]} for number in range(20)])
    assert {draft.values["category"] for draft in twin(learn_rows(task, rows, None, ""), 50)} == {"a", "b"}


def test_a_task_without_a_category_has_a_twin(real_rows: Make) -> None:
    task = Task(answer="{title}", fields=(Field("title"),))
    rows = real_rows([{"title": f"Thing number {number}"} for number in range(20)])
    assert all(draft.values["title"] for draft in twin(learn_rows(task, rows, None, ""), 50))


def test_telephone_numbers_become_fakes(real_rows: Make, task: Task) -> None:
    real = cells_of(40, phone=lambda n: f"+49 170 {1000000 + n * 977}")
    drafts = twin(learn_rows(task, real_rows(real), None, ""), 200)
    assert not {draft.values["phone"] for draft in drafts} & {row["phone"] for row in real}
    assert all(len(str(draft.values["phone"])) == len("+49 170 1000000") for draft in drafts)


def test_an_address_inside_a_text_is_never_kept(real_rows: Make, task: Task) -> None:
    real = cells_of(60, note=lambda n: f"ask joe@shop.com or www.shop.com about part {n}")
    notes = {str(draft.values["note"]) for draft in twin(learn_rows(task, real_rows(real), None, ""), 200)}
    assert not any("joe" in note or "shop.com" in note for note in notes)
    assert any("ask" in note for note in notes)


def test_prices_follow_their_category(real_rows: Make, task: Task) -> None:
    rng = Random(0)
    real = cells_of(400, category3_code=lambda n: "AB"[n % 2], full_price=lambda n: Decimal(rng.randrange(10, 20) * (100 if n % 2 else 1)))
    drafts = twin(learn_rows(task, real_rows(real), None, ""), 400)
    wrong = sum((draft.values["full_price"] > 500) != (draft.values["category3_code"] == "B") for draft in drafts)
    assert wrong == 0
