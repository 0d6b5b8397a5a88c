"""Words: cutting, comparing, forms, and invented words of a form."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seeworth.data.twin.words import form, invent, is_address, key, tokens, words


@given(st.text(max_size=60))
def test_the_pieces_of_a_text_joined_are_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text.strip()


@pytest.mark.parametrize(
    ("one", "two"), [("Café Crème", "CREME, cafe"), ("Coat in Red", "red COAT, in"), ("赤い 靴", "靴赤い"), ("ﬁne", "FINE")]
)
def test_case_accents_punctuation_and_order_do_not_tell_two_texts_apart(one: str, two: str) -> None:
    assert key(one) == key(two)


@pytest.mark.parametrize(("one", "two"), [("Coat 1", "Coat 2"), ("Coat", "Coats"), ("🔥", "✨"), ("赤靴", "青靴")])
def test_other_words_do(one: str, two: str) -> None:
    assert key(one) != key(two)


def test_a_form_keeps_length_case_script_and_punctuation_and_nothing_else() -> None:
    assert form("Zürich-42, Москва 東京!") == form("Malaga-17, Берлин 大阪!")
    assert form("Ab") != form("ab")
    assert "Z" not in form("Zürich")


@given(st.text(min_size=1, max_size=30), st.integers(0, 99))
@example("_:0", 0)
def test_an_invented_text_holds_no_word_that_is_to_be_avoided(text: str, seed: int) -> None:
    avoid = words(text)
    assert not words(invent(form(text), Random(seed), avoid)) & avoid


@pytest.mark.parametrize("shape", ["Aaaaaa,", "AAA-000", "ааааа", "天天", "אאאא", "ابا", "가가", "กกก"])
def test_an_invented_word_has_its_form(shape: str) -> None:
    assert form(invent(form(shape), Random(1))) == form(shape)


@pytest.mark.parametrize("token", ["joe@shop.com", "https://shop.com/x", "www.shop.com", "+49-170-1234567", "4006381333931"])
def test_addresses_and_long_numbers_are_told(token: str) -> None:
    assert is_address(token)


@pytest.mark.parametrize("token", ["Wool,", "12-pack", "1985", "500ml"])
def test_words_with_digits_are_no_addresses(token: str) -> None:
    assert not is_address(token)
