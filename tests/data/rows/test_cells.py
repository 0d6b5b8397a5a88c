from __future__ import annotations

import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.data.rows.cells import _BIDI, _GONE, CellError, NumberFormat, clean_text, shown

POINT, COMMA = NumberFormat("."), NumberFormat(",")


def code_of(form: NumberFormat, cell: str, unit: str | None = "USD") -> str:
    with pytest.raises(CellError) as problem:
        form.read(cell, unit)
    assert problem.value.words
    return problem.value.code


@pytest.mark.parametrize(
    "cell",
    [
        "1290", "1290.00", "1,290.00", "$1,290", "$ 1,290.00", "1 290", "1\u202f290", "1\xa0290.00",
        "1'290", "USD 1290", "1290USD", "us$1290", "1290.-", "+1290", " 1290 ", "1.29e3",
        "١٢٩٠",
    ],
)
def test_numbers_as_people_write_them_with_a_decimal_point(cell: str) -> None:
    assert POINT.read(cell, "USD") == 1290


@pytest.mark.parametrize("cell", ["1.290,00 EUR", "1290,00", "1290", "€1.290", "1 290,00 €", "1.290", "1290,-", "1290,–"])
def test_numbers_as_people_write_them_with_a_decimal_comma(cell: str) -> None:
    assert COMMA.read(cell, "EUR") == 1290


@pytest.mark.parametrize(
    ("cells", "mark", "mixed"),
    [
        (["1290", "80"], ".", False),
        (["1,290.00", "3"], ".", False),
        (["1.290,00 EUR", "1.290"], ",", False),
        (["1290,5", "1.290"], ",", False),
        (["0.125"], ".", False),
        (["0,125", "1.250"], ",", False),
        (["1,290,000"], ".", False),
        (["1.290.000", "1.290"], ",", False),
        (["12345,678"], ",", False),
        (["1,290", "2,500"], ".", False),
        (["9.99", "8.50", "9,99"], ".", True),
        (["9,99", "8,50", "9.99"], ",", True),
        (["9.99"] * 150 + ["9,99"], ".", False),
        (["", "n.a.", "hello"], ".", False),
    ],
)
def test_the_decimal_mark_is_decided_by_the_whole_column(cells: list[str], mark: str, mixed: bool) -> None:
    form = NumberFormat.of(cells)
    assert (form.mark, form.mixed) == (mark, mixed)


def test_an_ambiguous_cell_follows_its_column() -> None:
    assert NumberFormat.of(["1,290", "9.50"]).read("1,290") == 1290
    assert NumberFormat.of(["1,290", "9,50"]).read("1,290") == Decimal("1.290")


def test_a_column_without_evidence_reads_as_english_and_says_so() -> None:
    form = NumberFormat.of(["1,290", "2,500"])
    assert form.read("1,290") == 1290
    assert "2 cells such as 1,290" in str(form.notice("price"))
    assert NumberFormat.of(["1,290", "9.50"]).notice("price") is None
    assert NumberFormat.of(["1290"]).notice("price") is None


def test_a_mixed_column_refuses_what_it_cannot_trust() -> None:
    form = NumberFormat.of(["9.99", "8.50", "9,99", "1,290"])
    assert "mixed" in str(form.notice("price"))
    assert form.read("9.99") == Decimal("9.99")
    assert form.read("1,290.50") == Decimal("1290.50")
    assert code_of(form, "1,290") == "number_ambiguous"
    assert code_of(form, "9,99") == "number_unreadable"


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("", "number_missing"),
        ("N.A.", "number_missing"),
        ("null", "number_missing"),
        ("nan", "number_not_finite"),
        ("-inf", "number_not_finite"),
        ("1290 EUR", "unit_differs"),
        ("€1290", "unit_differs"),
        ("12 kg", "unit_differs"),
        ("call us", "number_unreadable"),
        ("about 1290", "number_unreadable"),
        ("10-20", "number_unreadable"),
        ("12.90.1", "number_unreadable"),
        ("1,29", "number_unreadable"),
        ("$12 USD", "number_unreadable"),
        ("1290 (was 1500)", "number_unreadable"),
        ("100²", "number_unreadable"),
        ("₿5", "unit_differs"),
        ("(5)", "number_unreadable"),
        ("0x10", "number_unreadable"),
        ("=1+1", "number_unreadable"),
        (".", "number_unreadable"),
    ],
)
def test_what_is_no_number_of_this_unit_has_its_code(cell: str, code: str) -> None:
    assert code_of(POINT, cell) == code


def test_a_number_without_unit_takes_none() -> None:
    assert POINT.read("12") == 12
    assert code_of(POINT, "12 kg", None) == "unit_differs"
    assert POINT.read("12 kg", "kg") == 12
    assert POINT.read("-3.5") == Decimal("-3.5")
    assert POINT.read("−$5", "USD") == -5


@given(st.decimals(-999_999_999, 999_999_999, places=2), st.sampled_from([".", ","]), st.booleans(), st.sampled_from(["", "$", " USD"]))
def test_a_written_price_is_read_back(value: Decimal, mark: str, grouped: bool, unit: str) -> None:
    words = f"{value:,.2f}" if grouped else f"{value:.2f}"
    if mark == ",":
        words = words.translate({ord(","): ".", ord("."): ","})
    words = unit + words if unit == "$" else words + unit
    form = NumberFormat.of([words])
    assert form.mark == mark
    assert form.read(words, "USD") == value


@given(st.text())
def test_any_cell_is_a_number_or_a_reason(cell: str) -> None:
    form = NumberFormat.of([cell])
    try:
        assert form.read(cell, "USD").is_finite()
    except CellError as problem:
        assert problem.code.startswith(("number_", "unit_"))  # noqa: PT017


def test_text_stays_as_it_is_but_for_controls_and_margins() -> None:
    for text in ("Sac à main", "カバン 👜", "תיק עור", '"Ada", the <b>bag</b>', "👩‍👩‍👧", "a  b", "<|end|>", "</script>"):
        assert clean_text(text) == text
    assert clean_text("  a\tb\r\n c\u2028d\u0085 ") == "a b c d"
    assert clean_text("a\x00b\x1b[31mc\x7f\ufeff\ud800") == "ab[31mc"
    assert clean_text("cafe\u0301") == "café"
    assert clean_text("evil\u202egpj.exe\u2066") == "evilgpj.exe"


@given(st.text())
def test_cleaning_is_done_after_once(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert clean == clean.strip()
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in clean)


def test_a_cell_is_shown_short_and_without_controls() -> None:
    assert shown("a\x1b[2J\n") == r"'a\x1b[2J\n'"
    assert len(shown("x" * 1000)) == 62


def test_what_is_taken_out_of_text_is_control_half_surrogates_and_reordering() -> None:
    for number in range(0x110000):
        char = chr(number)
        gone = unicodedata.category(char) in ("Cc", "Cs") or char in _BIDI or char == "\ufeff"
        assert bool(_GONE.fullmatch(char)) == gone, hex(number)
