"""Text files as people save them: plain or .gz, in UTF-8 with or without BOM, UTF-16, else Windows-1252.

Tells a file's encoding and opens it. Knows nothing of tables.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from contextlib import AbstractContextManager
from pathlib import Path, PurePath
from typing import IO, cast

from ...errors import DataError, told_as

NOT_UTF8 = "the table is not UTF-8; it was read as Windows-1252 (latin-1): check its accents and currency signs"
DAMAGE = (OSError, EOFError, zlib.error)  # what reading a file, compressed or not, may raise

_STRAY = 3  # NULs at the start of a file that is text all the same: their rows are refused

_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_BINARIES = {
    b"PK\x03\x04": "a spreadsheet or an archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or an archive",
    b"PAR1": "Parquet",
    b"\x89PNG": "a photo",
    b"\xff\xd8\xff": "a photo",
    b"%PDF": "a PDF",
    b"version https://git-lfs": "a Git LFS pointer",
}


def format_of(path: PurePath) -> str:
    """The suffix that tells the format, in lower case: ".csv" of a.CSV and of a.csv.gz."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked when its name ends in .gz."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def open_text(path: Path, encoding: str, newline: str = "", errors: str = "strict") -> IO[str]:
    """The file's text; `newline` "" keeps line breaks as they are and knows all kinds, "\\n" knows that one alone."""
    if path.suffix.lower() == ".gz":
        return cast("IO[str]", gzip.open(path, "rt", encoding=encoding, newline=newline, errors=errors))
    return path.open(encoding=encoding, newline=newline, errors=errors)


def told(path: Path) -> AbstractContextManager[None]:
    """Whatever reading a file may raise, as a DataError that names it."""
    return told_as(DataError, *DAMAGE, UnicodeError, where=path)


def marked_encoding(path: Path) -> str | None:
    """The encoding that a byte order mark says, None when there is none. Raises DataError for what is no text."""
    with told(path), open_bytes(path) as file:
        start = file.read(4096)
    for mark, what in _BINARIES.items():
        if start.startswith(mark):
            advice = "fetch the file itself with `git lfs pull`" if "LFS" in what else "save the table as CSV"
            raise DataError(f"{path}: expected text, found {what}: {advice}")
    marked = next((name for bom, name in _BOMS.items() if start.startswith(bom)), None)
    if not marked and start.count(b"\0") > max(_STRAY, len(start) // 100):
        raise DataError(f"{path}: expected text, found binary data: save the table as CSV in UTF-8")
    return marked


def encoding_of(path: Path) -> tuple[str, str | None]:
    """(encoding, what the reader should know of it). Raises DataError for what is no text, or damaged text."""
    marked = marked_encoding(path)
    for encoding in (marked,) if marked else ("utf-8-sig", "cp1252", "latin-1"):
        if _reads_as(path, encoding):
            return encoding, None if marked or encoding == "utf-8-sig" else NOT_UTF8
    raise DataError(f"{path}: its text is damaged: save the table as CSV in UTF-8")


def _reads_as(path: Path, encoding: str) -> bool:
    with told_as(DataError, *DAMAGE, where=path), open_text(path, encoding) as file:
        try:
            while file.read(1 << 20):
                pass
        except UnicodeError:
            return False
    return True
