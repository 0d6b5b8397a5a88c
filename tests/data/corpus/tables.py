"""Whole tables as a careless colleague or an attacker would hand them over, with what the import must make of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from .cells import BLANK, NUMBERS, TEXTS

HEADER = "title,category3_code,full_price,photo"


@dataclass(frozen=True)
class Table:
    """A file's bytes, its name, its rows when it can be read (None: it cannot), and how many of them are kept (None: any number)."""

    name: str
    data: bytes
    rows: int | None
    kept: int | None = None
    suffix: str = ".csv"


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def good(count: int, start: int = 0) -> list[str]:
    return [f"Bag {start + number},BAGS,{number + 10}.50,{number % 10}.jpg" for number in range(count)]


def tables() -> Iterator[Table]:
    lines = good(5)

    def table(*rows: str, header: str = HEADER) -> bytes:
        return "\n".join([header, *lines, *rows]).encode()

    plain = "\n".join([HEADER, *lines]) + "\n"
    for name, data in {
        "plain": plain.encode(),
        "with a BOM": b"\xef\xbb\xbf" + plain.encode(),
        "UTF-16": plain.encode("utf-16"),
        "Windows line ends": plain.replace("\n", "\r\n").encode(),
        "old Mac line ends": plain.replace("\n", "\r").encode(),
        "no last line end": plain.rstrip("\n").encode(),
        "blank lines": plain.replace("\n", "\n\n").encode(),
        "all quoted": "\n".join(",".join(map(quoted, line.split(","))) for line in [HEADER, *lines]).encode(),
        "semicolons": plain.replace(",", ";").encode(),
        "tabs": plain.replace(",", "\t").encode(),
        "spaces round the header": plain.replace(HEADER, " title , category3_code , full_price , photo ").encode(),
        "latin-1": plain.replace("Bag 1", "Sac à main").encode("latin-1"),
    }.items():
        yield Table(name, data, 5, 5)
    for name, data in {
        "nothing": b"",
        "a BOM alone": b"\xef\xbb\xbf",
        "line ends alone": b"\n\n\n",
        "a header alone": HEADER.encode(),
        "zeros": bytes(5000),
        "noise": random.Random(1).randbytes(5000),
        "a spreadsheet": b"PK\x03\x04" + bytes(500),
        "an old spreadsheet": b"\xd0\xcf\x11\xe0" + bytes(500),
        "a web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "a PDF": b"%PDF-1.7\n%\xe2\xe3",
        "half a character": HEADER.encode("utf-16")[:-1],
        "a column twice": f"{HEADER},title\n".encode() + b"a,b,1,0.jpg,c\n",
        "another header": b"name,price,image\nBag,10,0.jpg\n",
        "a quote left open in the header": b'"' + plain.encode(),
        "a header of 20,000 columns": b"a," * 20_000 + HEADER.encode() + b"\n",
        "every photo lost": "\n".join([HEADER, *(line.replace(".jpg", ".lost") for line in lines)]).encode(),
    }.items():
        yield Table(name, data, None)
    numbers = [f"Bag,BAGS,{quoted(cell)},0.jpg" for cell, _, _, _ in NUMBERS if len(cell) < 5000 and "\n" not in cell]
    yield Table("every number of the corpus", table(*numbers), 5 + len(numbers))
    # a table with a NUL in it is no text, and one in UTF-8 holds no half surrogate pair
    told = [cell for cell, _ in TEXTS if not set(cell) & {"\ud83d", "\0"}]
    titles = told + [cell for cell in BLANK if not set(cell) & {"\ud800", "\0"}]
    rows = [f"{quoted(cell)},BAGS,{number + 10}.25,{number % 10}.jpg" for number, cell in enumerate(titles)]
    yield Table("every text of the corpus", table(*rows), 5 + len(rows), 5 + len(told))
    addresses = [
        "",
        "../0.jpg",
        "/etc/passwd",
        "//host/0.jpg",
        "file:///0.jpg",
        "a\\..\\..\\0.jpg",
        ".",
        "..",
        "x" * 5000,
        "CON",
        "0.jpg/",
        "*",
        "~",
    ]
    rows = [f"Bag {number},BAGS,10.00,{quoted(cell)}" for number, cell in enumerate(addresses)]
    yield Table("every way to lead astray", table(*rows), 5 + len(rows), None)
    shapes = [
        "",
        "Bag",
        "Bag,BAGS",
        "Bag,BAGS,5.00,0.jpg,more",
        ",,,",
        ",,,,,,,,,,",
        '"Bag", BAGS,5.00,0.jpg',
        'Ba"g,BAGS,5.00,0.jpg',
        "Bag,BAGS,5.00," + "0.jpg" * 2,
    ]
    yield Table("rows of odd shapes", table(*shapes), 5 + len(shapes) - 1)
    yield Table("a quote left open", table('"Bag,BAGS,5.00,0.jpg', *good(20)), 6, 5)
    yield Table("mixed decimal marks", table('Bag,BAGS,"9,99",0.jpg', 'Bag,BAGS,"1,290",0.jpg'), 7, 5)
    yield Table("a title of 100,000 characters", table(f"{'x' * 100_000},BAGS,5.00,0.jpg"), 6, 5)
    yield Table(
        "900 columns",
        "\n".join([HEADER + "".join(f",c{n}" for n in range(900)), *(line + ",x" * 900 for line in lines)]).encode(),
        5,
        5,
    )
    yield Table("ids that repeat", "\n".join([f"{HEADER},id", *(f"{line},same" for line in lines)]).encode(), 5, 1)
    yield Table(
        "columns named as roles", "\n".join([f"{HEADER},width,sha256,group,phash", *(f"{line},1,2,3,4" for line in lines)]).encode(), 5, 5
    )
    yield Table("tab separated", plain.replace(",", "\t").encode(), 5, 5, ".tsv")
