"""Laws of cells, over drawn ones: a column written one way reads back; a cell of another way never becomes a wrong number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from seeworth.data.rows.cells import CellError, NumberFormat, clean_text, is_blank

Writer = Callable[[Decimal], str]


def parted(value: Decimal, gap: str, mark: str, places: int = 2) -> str:
    """1290.5 -> "1,290.50" with any gap between thousands and any decimal mark."""
    return f"{value:,.{places}f}".translate({ord(","): gap, ord("."): mark})


def indian(value: Decimal) -> str:
    whole, fraction = f"{abs(value):.2f}".split(".")
    head, tail = whole[:-3], whole[-3:]
    groups = [head[max(i - 2, 0) : i] for i in range(len(head), 0, -2)][::-1]
    return ("-" if value < 0 else "") + ",".join([*groups, tail]) + "." + fraction


STYLES: dict[str, tuple[Writer, str]] = {  # name: (how one value is written, the unit)
    "plain": (lambda v: f"{v:.2f}", "USD"),
    "English": (lambda v: parted(v, ",", "."), "USD"),
    "dollars": (lambda v: f"${parted(v, ',', '.')}", "USD"),
    "code before": (lambda v: f"USD {parted(v, ',', '.')}", "USD"),
    "code after": (lambda v: f"{parted(v, ',', '.')} USD", "USD"),
    "German": (lambda v: f"{parted(v, '.', ',')} EUR", "EUR"),
    "euro sign": (lambda v: f"{parted(v, '.', ',')} €", "EUR"),
    "plain comma": (lambda v: parted(v, "", ","), "EUR"),
    "French": (lambda v: f"{parted(v, chr(0x202F), ',')} €", "EUR"),
    "spaces": (lambda v: parted(v, " ", ","), "EUR"),
    "spaces and point": (lambda v: parted(v, "\u00a0", "."), "USD"),
    "thin spaces": (lambda v: parted(v, "\u2009", "."), "USD"),
    "Swiss": (lambda v: f"CHF {parted(v, chr(39), '.')}", "CHF"),
    "Swiss, curly": (lambda v: f"Fr. {parted(v, '’', '.')}", "CHF"),
    "Brazilian": (lambda v: f"R$ {parted(v, '.', ',')}", "BRL"),
    "Swedish": (lambda v: f"{parted(v, ' ', ',')} kr", "SEK"),
    "Danish": (lambda v: f"kr. {parted(v, '.', ',')}", "DKK"),
    "Indian": (lambda v: f"₹{indian(v)}", "INR"),
    "Arabic": (lambda v: parted(v, "٬", "٫").translate({48 + i: 0x660 + i for i in range(10)}), "EGP"),
    "wide": (lambda v: parted(v, "，", "．").translate({48 + i: 0xFF10 + i for i in range(10)}), "JPY"),
}
values = st.decimals(Decimal("0.01"), 999_999_999, places=2)


@given(st.sampled_from(sorted(STYLES)), st.lists(values, min_size=1, max_size=20), st.booleans())
def test_a_column_written_in_any_one_style_reads_back_exactly(style: str, column: list[Decimal], negative: bool) -> None:
    write, unit = STYLES[style]
    cells = [write(-value if negative and style in ("plain", "English", "spaces", "plain comma") else value) for value in column]
    form = NumberFormat.of(cells)
    assert not form.mixed
    assert [abs(form.read(cell, unit)) for cell in cells] == column


@given(st.sampled_from(sorted(STYLES)), st.lists(st.integers(1, 999_999_999), min_size=1, max_size=20))
def test_whole_numbers_between_ones_with_decimals_follow_their_column(style: str, column: list[int]) -> None:
    write, unit = STYLES[style]
    cells = [write(Decimal("0.05")), *(whole(write(Decimal(value))) for value in column)]
    form = NumberFormat.of(cells)
    assert [form.read(cell, unit) for cell in cells[1:]] == column


def whole(cell: str) -> str:
    """Without the two decimals, which are zeros."""
    return re.sub(r"[.,٫．](00|٠٠|００)(?![\d.,])", "", cell)


@given(
    st.sampled_from(["English", "German", "plain", "plain comma"]),
    st.sampled_from(sorted(STYLES)),
    st.lists(values, min_size=3, max_size=9),
    values,
)
def test_a_cell_of_another_style_is_read_right_or_refused_never_wrong(
    style: str, stray: str, column: list[Decimal], value: Decimal
) -> None:
    """A lone mark before three digits is what the rule calls ambiguous; with two decimals written there is none."""
    write, unit = STYLES[style]
    cells = [write(one) for one in column] * 2
    odd, odd_unit = STYLES[stray]
    form = NumberFormat.of([*cells, odd(value)])
    for cell, true, its in [*zip(cells, column * 2, [unit] * len(cells), strict=True), (odd(value), value, odd_unit)]:
        try:
            assert form.read(cell, its) == true
        except CellError as problem:
            assert problem.code in ("number_unreadable", "number_ambiguous")  # noqa: PT017


SIGNS = st.text("0123456789.,-+ '’e$€%()kr٫٬٣½\u00a0\u202f\u200f:–", max_size=14)


@given(SIGNS, st.sampled_from([".", ","]))
def test_what_is_read_has_the_digits_that_were_written(cell: str, mark: str) -> None:
    """No digit is made up, dropped or moved, but for zeros at the ends and the exponent's."""
    try:
        number = NumberFormat(mark).read(cell, "USD")
    except CellError:
        return
    written = "".join(str(unicodedata.decimal(char)) for char in cell if char.isdecimal())
    if "e" not in cell:
        assert "".join(map(str, number.as_tuple().digits)).strip("0") == written.strip("0")


@given(st.text(max_size=80) | st.text("\u0315\u0300\u0344\u0323a\u200d\u2028 \t", max_size=80))
def test_cleaning_is_done_after_once_and_leaves_nothing_that_harms(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    clean.encode()
    assert unicodedata.is_normalized("NFC", clean)
    assert not any(unicodedata.category(char) in ("Cc", "Cs") or char in "\u202d\u202e\u2066\u2067\u2028" for char in clean)
    assert is_blank(clean) or any(unicodedata.category(char)[0] not in "CZ" or unicodedata.category(char) in ("Co", "Cn") for char in clean)


@given(st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40))
def test_letters_signs_and_digits_of_any_script_are_kept(text: str) -> None:
    assert clean_text(text) == unicodedata.normalize("NFC", text)
