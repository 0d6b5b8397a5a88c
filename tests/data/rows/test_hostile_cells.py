"""Every cell of the corpus has its fate, whatever decimal mark its column has; and no cell costs more than a moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from corpus.cells import BLANK, NUMBERS, TEXTS

from seeworth.data.dataset import Rejected
from seeworth.data.rows.address import LocalPhoto, address_of
from seeworth.data.rows.cells import CellError, NumberFormat, clean_text, is_blank, shown
from seeworth.data.rows.reader import Columns, Draft, RowReader, Seen
from seeworth.data.sources import SourceRow, open_source
from seeworth.errors import PhotoError, TaskError
from seeworth.task import Field, valid_value

HEADER = "title,category3_code,full_price,photo"


def fate(form: NumberFormat, cell: str, unit: str | None) -> str | Decimal:
    """The number, or the code of what refuses it."""
    try:
        number = form.read(cell, unit)
        valid_value(Field("price", "number", unit), number)
    except CellError as problem:
        words, code = problem.words, problem.code
    except TaskError:
        return "number_too_long"
    else:
        return number
    assert words
    assert words.isprintable()
    assert len(words) < 250
    return code


@pytest.mark.parametrize(("cell", "unit", "point", "comma"), NUMBERS, ids=lambda word: repr(word)[:40])
def test_a_number_is_read_as_its_column_writes_numbers(cell: str, unit: str | None, point: str, comma: str) -> None:
    start = time.process_time()
    for mark, expected in ((".", point), (",", comma)):
        found = fate(NumberFormat(mark), cell, unit)
        assert found == (expected if expected.startswith(("number", "unit")) else Decimal(expected))
    NumberFormat.of([cell])
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    "cell",
    ["1" + "," * 999_999 + "x", " " * 1_000_000, "\t " * 400_000 + "x", "a" + "\u0315\u0300" * 200_000, "1 " * 500_000, "9" * 1_000_000],
    ids=("marks", "spaces", "tabs", "combining marks", "numbers", "digits"),
)
def test_a_cell_of_a_million_characters_takes_no_time_to_refuse(cell: str) -> None:
    start = time.process_time()
    assert isinstance(fate(NumberFormat(), cell, "USD"), str)
    assert time.process_time() - start < 2  # measured: at most 0.7, for the combining marks


@pytest.mark.parametrize(("cell", "kept"), TEXTS, ids=lambda word: ascii(word)[:40])
def test_text_is_kept_as_it_is_but_for_what_harms(cell: str, kept: str) -> None:
    assert clean_text(cell) == kept
    assert not is_blank(kept)


@pytest.mark.parametrize("cell", BLANK, ids=ascii)
def test_text_that_shows_nothing_is_missing(cell: str) -> None:
    assert is_blank(clean_text(cell))


@pytest.mark.parametrize("cell", ["a\x1b[2Jb", "\x9b31m", "\u202etxt", "a\nb", "\ud800", "x" * 10_000, "\x07" * 100])
def test_what_is_shown_of_a_cell_is_one_short_line_without_escape_codes(cell: str) -> None:
    assert shown(cell).isprintable()
    assert len(shown(cell)) < 300


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        *(
            (word, "outside")
            for word in ("/etc/passwd", "../x.jpg", "a/../../x.jpg", r"..\..\x.jpg", "/proc/self/mem", r"\\\\host\\share\\a.jpg", "./../x")
        ),
        *(
            (word, "bad_address")
            for word in (
                "//host/share/a.jpg",
                "file:///etc/passwd",
                "FILE:/etc/passwd",
                "data:image/png;base64,AA",
                "javascript://x",
                "ftp://x/a.jpg",
                "gopher://x",
                "blob:x",
                "s3://b/k",
            )
        ),
        *((word, "missing") for word in ("a\0b.jpg", "\ud800.jpg", "a/" * 5000, "x" * 5000)),
        *((word, "photo_missing") for word in ("", "  ", "N.A.", "nan", "null", "-")),
    ],
    ids=lambda word: ascii(word)[:40],
)
def test_an_address_that_leads_astray_is_refused(tmp_path: Path, cell: str, code: str) -> None:
    start = time.process_time()
    with pytest.raises(PhotoError) as problem:
        address_of(tmp_path, cell)
    assert problem.value.code == code
    assert str(problem.value).isprintable()
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    "cell", ["CON", "nul.jpg", "C:\\photos\\a.jpg", "a\nb.jpg", "\udcff.jpg", "~/a.jpg", "$HOME/a.jpg", "*.jpg", "|ls", "a.jpg:stream"]
)
def test_an_odd_name_is_a_file_of_the_folder_and_nothing_else(tmp_path: Path, cell: str) -> None:
    found = address_of(tmp_path, cell)
    assert isinstance(found, LocalPhoto)
    assert found.path.is_relative_to(tmp_path.resolve())


@pytest.fixture
def reader(table: Callable[..., Path]) -> RowReader:
    source = open_source(table(HEADER))
    return RowReader(source, source.task, Columns.of(source, source.task, None))


@pytest.mark.parametrize("title", [cell for cell, _ in TEXTS] + list(BLANK), ids=lambda word: ascii(word)[:40])
def test_a_row_of_any_title_is_written_and_read_by_the_task_or_refused(reader: RowReader, title: str) -> None:
    found = reader.read(SourceRow(1, {"title": title, "category3_code": "BAGS", "full_price": "10", "photo": "0.jpg"}))
    if isinstance(found, Draft):
        assert found.values["title"] == clean_text(title)
        assert reader.task.read(reader.task.write(found.values)).values["title"] == clean_text(title)
    else:
        assert title in BLANK
        assert found.code == "text_missing"
        assert json.dumps(found.reason, ensure_ascii=True).isprintable()


def draft(number: int, name: str, title: str = "Bag", **changes: str) -> Draft:
    return Draft(
        number,
        name,
        LocalPhoto(Path("a.jpg")),
        changes.get("cell", "a.jpg"),
        changes.get("group", ""),
        None,
        {"title": title, "price": Decimal(5)},
    )


def test_a_row_that_repeats_another_is_a_duplicate_and_an_id_with_other_content_too() -> None:
    seen = Seen()
    assert seen.take(draft(1, "a"), "00") is None
    code, words = seen.take(draft(2, "a"), "00") or ("", "")
    assert (code, words) == ("duplicate_row", "row 1 is the same in every cell and in its photo")
    assert (seen.take(draft(3, "a", "Hat"), "00") or ("",))[0] == "duplicate_id"
    assert (seen.take(draft(4, "a"), "01") or ("",))[0] == "duplicate_id"
    assert seen.take(draft(5, "b", "Hat"), "00") is None
    assert seen.take(draft(6, "c", cell="b.jpg"), "00") is None  # the same photo under another name: another row
    assert seen.take(draft(7, "d", group="P1"), "00") is None
    assert (seen.take(draft(8, "d", "Cap"), "02") or ("",))[0] == "duplicate_id"
    assert seen.take(draft(9, "\ud800"), "00") is not None


def test_two_rows_that_differ_in_one_cell_are_never_taken_for_one() -> None:
    seen = Seen()
    for number in range(1, 20_001):
        assert seen.take(draft(number, str(number), f"Bag {number}"), "00") is None
    for number in range(1, 20_001, 97):
        assert seen.take(draft(30_000, str(number), f"Bag {number}"), "00") == (
            "duplicate_row",
            f"row {number} is the same in every cell and in its photo",
        )


def test_a_refusal_is_one_line_of_ascii() -> None:
    one = Rejected(1, "\ud800", "\x1b[2J", "text_missing", "\u202e")
    assert json.dumps(one.__dict__).isascii()
