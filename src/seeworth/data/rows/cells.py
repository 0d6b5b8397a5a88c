"""What a table's cell means: text as it is kept, numbers as people write them.

A column of numbers is written one way, so its decimal mark is decided once, from all its cells (`NumberFormat.of`),
never cell by cell. The rule:

    evidence   1,290.00 and 1.290,00 (the last mark is the decimal), 1290,5 and 0.125 (a lone mark that cannot part
               thousands is the decimal), 1,290,000 (a mark that stands twice is not)
    one mark   in evidence: it is the column's decimal mark, and the ambiguous cells, 1,290 or 1.290, follow it
    none       the point is the decimal mark and the comma parts thousands; when there are ambiguous cells, a notice says so
    both       more cells decide and those of the other kind are refused; so are the ambiguous ones, unless the other
               kind is a slip of less than one cell in a hundred

Knows nothing of files, photos or tasks other than a field's unit.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

MISSING = {"", "-", "--", "–", "—", "n.a.", "n/a", "n.a", "na", "#n/a", "<na>", "none", "null", "(null)", "nil", "?"}
"""Cells that say "no value" where a number or a photo is expected, in lower case."""

_NO_TEXT = {"-", "--", "–", "—", "n.a.", "n/a", "#n/a", "<na>", "nan", "null", "(null)", "?"}  # "NA" and "None" may be words
_MAX_NUMBER = 80  # characters of a cell that holds one number
_MAX_MARKS = 30  # combining marks on one letter: the Stream-Safe Text Format of Unicode Annex 15

_SYMBOLS = {  # sign -> the units it may stand for
    "$": {"USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN"},
    "us$": {"USD"},
    "c$": {"CAD"},
    "ca$": {"CAD"},
    "a$": {"AUD"},
    "au$": {"AUD"},
    "nz$": {"NZD"},
    "s$": {"SGD"},
    "hk$": {"HKD"},
    "nt$": {"TWD"},
    "mx$": {"MXN"},
    "r$": {"BRL"},
    "€": {"EUR"},
    "euro": {"EUR"},
    "£": {"GBP"},
    "¥": {"JPY", "CNY"},
    "円": {"JPY"},
    "元": {"CNY"},
    "rmb": {"CNY"},
    "₹": {"INR"},
    "rs": {"INR", "PKR", "LKR"},
    "₩": {"KRW"},
    "₺": {"TRY"},
    "tl": {"TRY"},
    "₽": {"RUB"},
    "₪": {"ILS"},
    "฿": {"THB"},
    "₫": {"VND"},
    "₱": {"PHP"},
    "₴": {"UAH"},
    "kr": {"SEK", "NOK", "DKK", "ISK"},
    "zł": {"PLN"},
    "kč": {"CZK"},
    "ft": {"HUF"},
    "lei": {"RON"},
    "fr": {"CHF"},
    "sfr": {"CHF"},
}
_LINES = re.compile(r"\r\n|[\n\r\v\f\x85\u2028\u2029]")
_BREAKS = re.compile(r"[\t\n\r\v\f\x1c-\x1f\x85\u2028\u2029]+")
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # reorder the text around them, even outside the cell
_GONE = re.compile(rf"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff{_BIDI}]")  # Unicode's Cc and Cs, byte order marks, _BIDI
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and signs that show nothing
_GAP = "['’ \u00a0\u2000-\u200a\u202f\u3000]"
_SPACED = re.compile(rf"(?<![\d.,])\d{{1,3}}({_GAP})\d{{3}}(?:\1\d{{3}})*(?!\d)")  # 1 290 000, the same gap between all
_SIGNS = str.maketrans("−＋－，．､،٬٫＄￥￡￦％", "-+-,.,,'.$¥£₩%")  # signs of other scripts; ٬ parts thousands, ٫ is decimal
_CELL = re.compile(r"(?P<before>[^\d.,+-]*)(?P<sign>[+-]?)(?P<between>[^\d.,+-]*)(?P<body>[.,]?\d[\d.,]*(?:e[+-]?\d+)?)(?P<after>\D*)")
_GROUPS = {mark: re.compile(rf"\d{{1,3}}(?:{re.escape(mark)}\d{{2,3}})*{re.escape(mark)}\d{{3}}") for mark in ".,"}  # 1,290,000; 12,90,000
_WORD = re.compile(r"[0-9A-Za-z]")
_PLAIN = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,2})?")  # nothing to part, to clean or to translate: most cells
_EXPONENT = re.compile(r"\d+(?:\.\d+)?e[+\-]?\d{1,3}")


class CellError(Exception):
    """A cell that gives no value; `code` and `words` for rejected.jsonl."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


def clean_text(text: str) -> str:
    """Text as a dataset keeps it: Unicode NFC, trimmed, line breaks and tabs as one space, other control characters gone.

    Letters of any script, emoji with their joiners, right-to-left marks and quotes stay as they are; half surrogate pairs,
    signs that reorder the text around them and combining marks beyond 30 on one letter go.
    """
    if text.isascii() and text.isprintable():  # most cells; the rest would change nothing
        return text.strip()
    text = " ".join(part for part in (part.strip(" ") for part in _BREAKS.split(text)) if part)
    return _few_marks(unicodedata.normalize("NFC", _few_marks(_GONE.sub("", text)))).strip()


def clean_lines(text: str) -> str:
    """Text of several lines as a conversation keeps it: each line as `clean_text` has it, but for the white space it begins with."""
    lines = []
    for line in _LINES.split(text):
        words = clean_text(line)
        indent = re.match(r"[ \t]*", line)[0] if words else ""  # type: ignore[index]  # it matches nothing, too
        lines.append(indent + words)
    return "\n".join(lines).strip()


def is_blank(text: str) -> bool:
    """Whether cleaned text shows nothing, or only says that there is none."""
    if text.lower() in _NO_TEXT:
        return True
    return not _WORD.match(text) and all(char in _BLANKS or unicodedata.category(char) in ("Cf", "Zs", "Mn", "Me") for char in text)


def shown(cell: str) -> str:
    """A cell as an error shows it: quoted, no control characters, at most 60 characters."""
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


def _few_marks(text: str) -> str:
    """Without the combining marks that follow _MAX_MARKS others: sorting a long run of them takes for ever."""
    kept, run = [], 0
    for char in text:
        run = run + 1 if unicodedata.combining(char) else 0
        if run <= _MAX_MARKS:
            kept.append(char)
    return "".join(kept)


@dataclass(frozen=True)
class NumberFormat:
    """How one column writes its numbers.

    Attributes:
        mark: the decimal mark, "." or ",".
        mixed: cells of both kinds were found, at least one in a hundred, so that an ambiguous cell cannot be trusted.
        ambiguous: cells that alone could be read either way, such as 1,290.
        evidence: whether any cell showed the decimal mark.
    """

    mark: str = "."
    mixed: bool = False
    ambiguous: int = 0
    evidence: bool = False

    @classmethod
    def of(cls, cells: Iterable[str]) -> NumberFormat:
        """Decide from all cells of a column; see the rule at the top."""
        votes: Counter[str] = Counter()
        for cell in cells:
            if _PLAIN.fullmatch(cell):
                votes["." if "." in cell else ""] += 1
            elif match := _match(cell):
                votes[_mark_shown(match["body"])] += 1
        points, commas = votes["."], votes[","]
        mixed = min(points, commas) > 0 and 100 * min(points, commas) >= points + commas
        return cls("," if commas > points else ".", mixed, votes["?"], points + commas > 0)

    def notice(self, column: str) -> str | None:
        """What a person should know of how this column was read; None when it was plain."""
        if self.mixed:
            return (
                f"column {column}: decimal points and decimal commas are mixed; read with {self.mark!r} as decimal mark, "
                "cells of the other kind and ambiguous ones are refused"
            )
        if self.ambiguous and not self.evidence:
            return f"column {column}: {self.ambiguous} cells such as 1,290 or 1.290 read two ways; the comma was taken to part thousands"
        return None

    def read(self, cell: str, unit: str | None = None) -> Decimal:
        """The number in a cell.

        Raises CellError, whose code is number_missing, number_not_finite (nan, inf), number_unreadable,
        number_ambiguous (in a mixed column) or unit_differs (a currency or measure beside it that is not `unit`).
        """
        if _PLAIN.fullmatch(cell) and (self.mark == "." or "." not in cell):
            return Decimal(cell)
        bare = clean_text(cell)
        if bare.lower() in MISSING:
            raise CellError("number_missing", f"expected a number, found {shown(bare)}")
        if bare.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise CellError("number_not_finite", f"expected a finite number, found {shown(bare)}")
        match = _match(cell)
        if len(bare) > _MAX_NUMBER and not re.search(r"[^\d.,+-]", bare):
            raise CellError("number_too_long", f"{len(bare)} characters, expected at most {_MAX_NUMBER} of a number")
        words = [word for part in ("before", "between", "after") if (word := match[part].strip())] if match else []
        if not match or len(words) > 1:
            raise CellError("number_unreadable", f"expected a number, found {shown(bare)}")
        if words and not _stands_for(words[0], unit):
            code = "unit_differs" if _is_unit(words[0]) else "number_unreadable"
            raise CellError(code, f"expected a number {f'in {unit}' if unit else 'without unit'}, found {shown(bare)}")
        if self.mixed and _mark_shown(match["body"]) == "?":
            raise CellError("number_ambiguous", f"{shown(bare)} in a column that mixes decimal points and commas")
        number = self._value(match["body"])
        if number is None:
            raise CellError("number_unreadable", f"expected a number with {self.mark!r} as its column's decimal mark, found {shown(bare)}")
        return -number if match["sign"] == "-" else number

    def _value(self, body: str) -> Decimal | None:
        other = "," if self.mark == "." else "."
        if _EXPONENT.fullmatch(body):
            whole, fraction = body, ""
        else:
            whole, _, fraction = body.partition(self.mark)
            if _GROUPS[other].fullmatch(whole):
                whole = whole.replace(other, "")
            if not re.fullmatch(r"\d*", whole) or not re.fullmatch(r"\d*", fraction) or not whole + fraction:
                return None
        try:
            return Decimal(f"{whole or 0}.{fraction}" if fraction else whole)
        except InvalidOperation:
            return None


def _match(cell: str) -> re.Match[str] | None:
    """The parts of a cell that holds one number, in lower case and plain digits: before, sign, between, body, after."""
    text = re.sub(r"٫(\d{3})(?!\d)", r"٫\g<1>0", clean_text(cell)).translate(_SIGNS)  # 12٫500 must not look like 12 thousand
    if len(text) > _MAX_NUMBER:
        return None
    text = "".join(char for char in text if unicodedata.category(char) != "Cf").lower()  # marks of direction, zero-width spaces
    text = _SPACED.sub(lambda number: re.sub(_GAP, "", number[0]), text)
    text = re.sub(r"([^\W\d_])\.(?!\d)", r"\1", text)  # kr. and Fr. 5
    text = re.sub(r"^([^\W\d_]+)\.(?=\d)", lambda word: word[1] if word[1] in _SYMBOLS else word[0], text)  # Rs.500
    if re.search(r"[^\W\d_][.,]\d", text):
        return None  # USD.50: half a dollar, or fifty?
    text = re.sub(r"(?<=\d):[-–—]+(?!\d)", "", text)  # 1290:-
    text = re.sub(r"(?<=\d)([.,])[-–—]+(?!\d)", r"\g<1>00", text)  # 1.290,- shows that its comma is the decimal mark
    text = re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), text)  # digits of any script
    return _CELL.fullmatch(text)


def _mark_shown(body: str) -> str:
    """Which decimal mark a number shows: "." or ",", "?" when it could be either, "" when it has no mark."""
    points, commas = body.count("."), body.count(",")
    if "e" in body:
        return "." if points else ""
    if not points and not commas:
        return ""
    if points and commas:
        return "." if body.rfind(".") > body.rfind(",") else ","
    mark, other = (".", ",") if points else (",", ".")
    if points + commas > 1:
        return other
    whole, _, fraction = body.partition(mark)
    if len(fraction) == 3 and 1 <= len(whole) <= 3 and not whole.startswith("0"):
        return "?"
    return mark


def _stands_for(word: str, unit: str | None) -> bool:
    """Whether the word or sign beside a number, in lower case, is this unit: "us $" and "kr." too."""
    word = word.replace(" ", "")
    bare = word.removesuffix(".")
    return unit is not None and (unit.lower() in (word, bare) or unit.upper() in _SYMBOLS.get(bare, ()))


def _is_unit(word: str) -> bool:
    """Whether a word or sign may be a currency or a measure at all."""
    word = word.replace(" ", "").removesuffix(".")
    return (len(word) <= 4 and word.isalpha()) or word in _SYMBOLS or word == "%" or (len(word) == 1 and unicodedata.category(word) == "Sc")
