"""Cells that name several photos."""

from __future__ import annotations

import pytest

from seeworth.data.rows.photocell import first_photo

A, B = "https://cdn.example/w_100,h_200/1.jpg?x=a;b", "http://b.example/2"


@pytest.mark.parametrize("between", ["|", ",", ";", " ", ", ", " | ", "\n"])
def test_urls_are_parted_where_the_next_begins(between: str) -> None:
    assert first_photo(f"{A}{between}{B}") == (A, 2)
    assert first_photo(f" {A}{between}{B}{between}{A} ") == (A, 3)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (A, (A, 1)),
        (f'["{A}", "{B}"]', (A, 2)),
        (f"['{A}', '{B}']", (A, 2)),
        ("[]", ("", 0)),
        ("a.jpg|b.PNG", ("a.jpg", 2)),
        ("a.jpg, b.jpg ;c", ("a.jpg, b.jpg ;c", 1)),
        ("x/a.jpg,x/b.jpg", ("x/a.jpg", 2)),
        ("bag, red.jpg", ("bag, red.jpg", 1)),
        ("[1] bag.jpg", ("[1] bag.jpg", 1)),
        ("[1, 2]", ("[1, 2]", 1)),
        ("[__import__('os').getcwd()]", ("[__import__('os').getcwd()]", 1)),
        ("[" * 50_000 + "]" * 50_000, ("[" * 50_000 + "]" * 50_000, 1)),
        ("N.A.", ("N.A.", 1)),
        ("", ("", 1)),
    ],
)
def test_lists_and_names_with_their_signs(cell: str, found: tuple[str, int]) -> None:
    assert first_photo(cell) == found
