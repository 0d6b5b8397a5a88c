"""What a column is taken for, and the models of numbers, dates, codes and addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeworth.data.twin.codes import learn_codes, learn_urls
from seeworth.data.twin.kinds import kind_of
from seeworth.data.twin.links import learn_links
from seeworth.data.twin.numbers import DateModel, Writing, learn_base, learn_numbers

GROUPS = [f"g{number}" for number in range(60)]


def cells(make: str, count: int = 60) -> list[str]:
    return [make.format(n=number, m=number % 4, word="abcdefghij"[number % 10] * 5) for number in range(count)]


@pytest.mark.parametrize(
    ("name", "found", "kind"),
    [
        ("brand", cells("Alderwick"), "category"), ("flag", [str(number % 2) for number in range(60)], "category"),
        ("colour", cells("colour {m}"), "category"), ("sku", cells("AB-{n:05d}"), "code"), ("product_code", cells("80{n:05d}"), "code"),
        ("ean", cells("4006381{n:06d}"), "code"), ("price", cells("{n}.90"), "number"), ("price", cells("$1,{n:03d}"), "number"),
        ("price", [*cells("1{n}.50", 50), *["N.A."] * 10], "number"), ("page", cells("https://a.com/{n}"), "url"),
        ("seen", [str(date(2025, 1, 1) + timedelta(number)) for number in range(60)], "date"), ("mail", cells("a{n}@b.com"), "email"),
        ("phone", cells("+49 170 12345{n:02d}"), "phone"), ("text", cells("a fine thing, number {n}, for {word}"), "text"),
        ("name", cells("红色连衣裙{n}号"), "text"), ("nothing", ["", "N/A"] * 30, "category"), ("currency_code", ["EUR"] * 3, "category"),
        ("first", [f"Zoë {number} Smith" for number in range(4)], "text"),
    ],
)  # fmt: skip
def test_a_column_is_known_by_its_cells(name: str, found: Sequence[str], kind: str) -> None:
    assert kind_of(name, found, GROUPS[: len(found)], 5) == kind


@pytest.mark.parametrize(
    "written",
    [["1,290.00", "12.50", "7.00"], ["1290", "7", "12"], ["$5.90", "$1290.90"], ["1.290,50 EUR", "7,00 EUR"], ["0.5", "12.25"]],
)
def test_numbers_are_written_as_they_were(written: list[str]) -> None:
    found = Writing.of(written)
    assert found is not None
    writing, numbers = found
    assert [writing.write(number) for number in numbers if number is not None] == written


@pytest.mark.parametrize("written", [["00123", "00124"], ["abc", "12"], ["12-14", "13"], ["1.2.3", "4.5.6"]])
def test_what_is_no_number_is_none(written: list[str]) -> None:
    assert Writing.of(written) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.decimals("0.01", "99999", places=2), min_size=1, max_size=40), st.integers(0, 9))
def test_a_drawn_number_lies_among_the_real_ones(numbers: list[Decimal], seed: int) -> None:
    groups = [f"g{place}" for place in range(len(numbers))]
    categories = [f"c{place % 3}" for place in range(len(numbers))]
    model = learn_numbers([float(one) for one in numbers], groups, categories, Writing(decimals=2), 5)
    rng = Random(seed)
    for category in ("c0", "c1", "new"):
        assert min(numbers) <= model.round(model.draw(rng, category), rng) <= max(numbers)


def test_a_large_category_keeps_its_own_prices_and_a_small_one_borrows() -> None:
    numbers = [100.0 + place for place in range(100)] + [5000.0]
    groups = [f"g{place}" for place in range(101)]
    model = learn_numbers(numbers, groups, ["large"] * 100 + ["small"], Writing(), 5)
    rng = Random(0)
    large, small = ([model.draw(rng, name) for _ in range(400)] for name in ("large", "small"))
    assert 95 < np.quantile(large, 0.05) < np.quantile(large, 0.95) < 230
    assert np.median(large) < np.median(small) < 5000


def test_prices_end_as_the_real_ones_do() -> None:
    rng = Random(0)
    numbers = [float(rng.randrange(1, 90)) + (0.99 if place % 4 else 0.0) for place in range(400)]
    model = learn_numbers(numbers, [f"g{place}" for place in range(400)], [""] * 400, Writing(decimals=2), 5)
    ends = [str(model.round(model.draw(rng, ""), rng))[-3:] for _ in range(400)]
    assert set(ends) == {".99", ".00"}
    assert 0.65 < ends.count(".99") / 400 < 0.85


def test_a_column_that_is_a_factor_of_another_is_found() -> None:
    prices = [float(place * 10) for place in range(1, 60)]
    base = learn_base({"full": prices, "eur": [round(one * 0.92, 2) for one in prices]}, "eur", 5)
    assert base is not None
    assert (base.column, base.exact) == ("full", 0.92)
    loose = learn_base({"full": prices, "other": [float(Random(place).randrange(1, 900)) for place in range(59)]}, "other", 5)
    assert loose is None


def test_dates_are_written_as_they_were_and_lie_between_the_real_ones() -> None:
    model = DateModel.of([f"{day:02d}.03.2024" for day in range(1, 29)])
    assert model is not None
    drawn = [model.draw(Random(seed)) for seed in range(50)]
    assert all(re.fullmatch(r"\d\d\.03\.2024", one) for one in drawn)
    assert len(set(drawn)) > 5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.from_regex(r"[A-Za-z0-9]{1,6}([-_/][A-Za-z0-9]{1,4})?", fullmatch=True), min_size=1, max_size=30), st.integers(1, 200))
def test_codes_never_collide_and_none_is_real(codes: list[str], total: int) -> None:
    model = learn_codes(codes, [f"g{place}" for place in range(len(codes))], 5)
    made = [model.write(number, total, "seed") for number in range(total)]
    assert len(set(made)) == total
    assert not set(made) & set(codes)


def test_a_code_keeps_its_pattern() -> None:
    model = learn_codes([f"AW-{number:04d}-{'XYZ'[number % 3]}" for number in range(40)], [f"g{number}" for number in range(40)], 5)
    made = [model.write(number, 100, "s") for number in range(100)]
    assert all(re.fullmatch(r"AW-\d{4}-[A-Z]", one) for one in made)


def test_a_name_inside_a_code_does_not_survive() -> None:
    codes = [f"img/{number:03d}_Golden-Delicious_{number}.jpg" for number in range(10, 60)] + ["img/1_Lemon_2.jpg"]
    model = learn_codes(codes, [f"g{number}" for number in range(51)], 5)
    made = [model.write(number, 200, "s") for number in range(200)]
    assert all(one.startswith("img/") and one.endswith(".jpg") for one in made)
    assert not any("Golden" in one or "Delicious" in one or "Lemon" in one for one in made)


def test_an_address_keeps_its_pattern_its_code_and_common_words_at_a_host_of_nobody() -> None:
    codes = [f"{7000 + number}" for number in range(40)]
    urls = [f"https://www.real.com/us/p/{code}-model-zanzibar{number}?c=1" for number, code in enumerate(codes)]
    model = learn_urls(urls, GROUPS[:40], {"code": codes}, 5)
    made = model.draw(Random(1), "7999")
    assert re.fullmatch(r"https://shop1\.example/us/p/7999-model-[a-z]+\d+\?c=1", made)
    assert "zanzibar" not in made


def test_categories_are_drawn_only_as_pairs_that_the_real_set_holds() -> None:
    leaf = ["shoes", "shoes", "hats", "hats", "coats", "coats"] * 20
    noise = [str(Random(place).randrange(3)) for place in range(120)]
    columns = {"leaf": leaf, "size": ["42", "43", "M", "L", "M", "L"] * 20, "noise": noise}
    links = {link.column: link for link in learn_links(columns, "leaf", [f"g{place}" for place in range(120)], frozenset())}
    assert links["size"].parent == "leaf"
    assert links["noise"].parent is None
    assert {links["size"].draw(Random(seed), "shoes") for seed in range(30)} == {"42", "43"}
