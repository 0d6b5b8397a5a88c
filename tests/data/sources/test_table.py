"""CSV and TSV files as people and programs write them."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from seeworth.data.sources import CsvTable, open_source
from seeworth.errors import DataError


def cells(path: Path) -> list[dict[str, str]]:
    return [dict(row.cells) for row in open_source(path)]


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.TXT", ";")])
def test_the_delimiter_is_found(table: Callable[..., Path], name: str, mark: str) -> None:
    path = table(f"title{mark}price{mark}photo", f'"Bag{mark} red"{mark}"1{mark}2"{mark}a.jpg', name=name)
    assert cells(path) == [{"title": f"Bag{mark} red", "price": f"1{mark}2", "photo": "a.jpg"}]


def test_a_tab_in_a_tsv_header_wins_over_more_commas(table: Callable[..., Path]) -> None:
    assert open_source(table("a, b, c\tphoto", "1\t2", name="a.tsv")).columns == ["a, b, c", "photo"]


def test_quotes_line_breaks_and_blank_lines_are_read(table: Callable[..., Path]) -> None:
    path = table("title,photo", '"a ""bag""\nin two lines",x.jpg', "", "b,y.jpg")
    assert cells(path) == [{"title": 'a "bag"\nin two lines', "photo": "x.jpg"}, {"title": "b", "photo": "y.jpg"}]
    assert [row.number for row in open_source(path)] == [1, 2]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_the_encoding_is_found(table: Callable[..., Path], encoding: str) -> None:
    source = open_source(table("title,photo", "Sac à main é,a.jpg", encoding=encoding))
    assert [row.cells["title"] for row in source] == ["Sac à main é"]
    assert source.columns == ["title", "photo"]
    assert len(source.notices) == (encoding in ("cp1252", "latin-1"))


def test_a_table_that_is_not_utf8_keeps_its_euro_sign_and_is_told(table: Callable[..., Path]) -> None:
    source = open_source(table("price,photo", "5 €,a.jpg", encoding="cp1252"))
    assert next(iter(source)).cells["price"] == "5 €"
    assert "not UTF-8" in source.notices[0]


def test_a_row_of_another_length_is_marked_with_its_lines(table: Callable[..., Path]) -> None:
    rows = list(open_source(table("title,photo", "a", "b,b.jpg,more", 'c,"c.jpg', "d,d.jpg")))
    assert [row.code for row in rows] == ["row_shape"] * 3
    assert rows[0].problem == "expected 2 cells as in the header, found 1"
    assert rows[2].cells["photo"] == "c.jpg\nd,d.jpg\n"
    open_quote = list(open_source(table("title,photo", '"c,c.jpg', "d,d.jpg")))
    assert "lines 2 to 3 read as one row: is a quote left open?" in open_quote[0].problem


def test_a_source_can_be_read_again(table: Callable[..., Path]) -> None:
    source = open_source(table("title,photo", "a,a.jpg", "b,b.jpg"))
    assert list(source) == list(source)


def test_a_quote_that_never_closes_is_told_with_its_line(table: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seeworth.data.sources.table.MAX_CELL", 100)
    with pytest.raises(DataError, match=r"products.csv, from line 3 on: .*is a quote left open\?"):
        list(open_source(table("title,photo", "a,a.jpg", '"' + "x" * 200)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty; expected a header line"),
        (b"PK\x03\x04...", "found a spreadsheet or an archive"),
        (b"a,b\0c", "the header, line 1, holds a NUL character"),
        ("a,b\nc,d".encode("utf-16-le"), "found binary data"),
        (b"a,b\n" + bytes(range(64)) * 3 + bytes(20), "found binary data"),
        (b"title,photo,title\n", "names 'title' twice"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8\x41", "its text is damaged"),
    ],
)
def test_a_file_that_is_no_table_is_told(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words):
        open_source(path)


def test_an_unnamed_column_gets_a_name(table: Callable[..., Path]) -> None:
    assert open_source(table(",title, photo ", "0,a,a.jpg")).columns == ["column_1", "title", "photo"]


def test_what_is_no_source_is_told(tmp_path: Path, table: Callable[..., Path]) -> None:
    (tmp_path / "a.xlsx").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "dataset.json").touch()
    for name, words in [
        ("nowhere.csv", "found nothing"),
        ("a.xlsx", "save the table as .csv"),
        ("empty", "one sub-folder of photos for each class, found none"),
        ("dataset", "is a dataset folder already"),
    ]:
        with pytest.raises(DataError, match=words):
            open_source(tmp_path / name)
    with pytest.raises(DataError, match="folder that photo paths start from, found nothing"):
        open_source(table("a"), photos=tmp_path / "nowhere")
    with pytest.raises(DataError, match="leave --photos out"):
        open_source(tmp_path, photos=tmp_path)


def test_photos_start_from_the_table_or_the_folder_given(table: Callable[..., Path], tmp_path: Path) -> None:
    path = table("title,photo")
    assert CsvTable(path, tmp_path).photos == tmp_path
    assert open_source(path).photos == path.parent


def test_the_rows_decide_where_the_header_alone_could_be_cut_two_ways(table: Callable[..., Path]) -> None:
    source = open_source(table("Price, USD;Title, en;Photo", "10;Bag;0.jpg", "11;Hat;1.jpg"))
    assert source.columns == ["Price, USD", "Title, en", "Photo"]
    assert open_source(table('"a;b;c",photo', "1,2")).columns == ["a;b;c", "photo"]
    assert open_source(table("title|price|photo", "a, b|1,5|0.jpg")).columns == ["title", "price", "photo"]
    assert open_source(table("title,price,photo", "a,1,b", name="a.tsv")).columns == ["title", "price", "photo"]


def test_excels_first_line_says_the_delimiter(table: Callable[..., Path]) -> None:
    path = table("sep=;", "title;photo", "a, b;0.jpg", encoding="utf-8-sig")
    assert cells(path) == [{"title": "a, b", "photo": "0.jpg"}]


def test_a_packed_table_reads_as_the_plain_one(table: Callable[..., Path]) -> None:
    path = table("title,photo", "Hüte,0.jpg")
    packed = path.with_name("products.csv.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert cells(packed) == cells(path)
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"products.csv.gz: "):
        list(open_source(packed))


def test_extra_cells_do_no_harm_when_they_are_empty(table: Callable[..., Path]) -> None:
    assert [row.code for row in open_source(table("title,photo", "a,0.jpg,,", "b,1.jpg, ,x"))] == ["", "row_shape"]


def test_a_quote_that_is_never_closed_is_told_even_when_the_cells_seem_to_fit(table: Callable[..., Path]) -> None:
    good, bad = open_source(table("photo,title", "0.jpg,a", '1.jpg,"b', "2.jpg,c"))
    assert (good.code, bad.code) == ("", "row_shape")
    assert "lines 3 to 4 read as one row: is a quote left open?" in bad.problem
    with pytest.raises(DataError, match="a quote in the header, line 1, is never closed"):
        open_source(table('photo,"title', "0.jpg,a"))


def test_a_nul_refuses_its_row_alone(table: Callable[..., Path]) -> None:
    path = table("title,price,photo", *(f"a{number},5,{number}.jpg" for number in range(9)), "b,1\x002,0.jpg", "c,6,1.jpg")
    assert [row.code for row in open_source(path)] == [""] * 9 + ["row_unreadable", ""]


def test_a_header_alone_is_a_table_without_rows(table: Callable[..., Path]) -> None:
    source = open_source(table("title,photo"))
    assert (source.columns, list(source)) == (["title", "photo"], [])


def test_a_pointer_of_git_lfs_is_told(table: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="git lfs pull"):
        open_source(table("version https://git-lfs.github.com/spec/v1", "oid sha256:00"))


def test_a_line_without_end_is_told(table: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seeworth.data.sources.table.MAX_LINE", 50)
    with pytest.raises(DataError, match="from line 2 on: a line has over 50 characters"):
        list(open_source(table("title,photo", "a," * 100)))


def test_too_many_columns_are_told(table: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="has 1001 columns, expected at most 1000"):
        open_source(table(",".join(f"c{number}" for number in range(1001))))


def test_a_nul_in_the_first_rows_of_a_small_table_costs_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"title,photo\nBa\0g,a.jpg\nHat,b.jpg\n")
    rows = list(open_source(path))
    assert [row.code for row in rows] == ["row_unreadable", ""]
    assert "line 2 holds a NUL character" in rows[0].problem
