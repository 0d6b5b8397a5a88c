"""What a column of cells is: found from its cells alone, so that the columns of any shop will do. Knows nothing of tasks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from ..rows.cells import MISSING
from .codes import EMAIL, PHONE, URL
from .numbers import DateModel, Writing

Kind: TypeAlias = Literal["category", "number", "text", "code", "url", "date", "email", "phone"]

_PHONE_NAME = re.compile(r"(?i)phone|mobile|fax|(?:^|_)tel(?:_|$)")
_CODE_NAME = re.compile(r"(?i)(?:^|_)(?:id|code|sku|ean|gtin|upc|asin|ref|uuid|isbn)(?:_|$)")
_FEW = 50  # values that a column may always have and still be one of categories
_DIGITS = 10  # the same of a column of numbers


def kind_of(name: str, cells: Sequence[str], groups: Sequence[str], k: int) -> Kind:
    """The kind of one column.

    Args:
        cells: of every row; cells that are missing, see `is_missing`, do not count.
        k: a value is common when at least k groups have it.

    A category (a constant and a boolean are ones, too) has few values, nearly all common: what a person could write about one row
    alone is never kept as it is.
    """
    rows = [(cell.strip(), group) for cell, group in zip(cells, groups, strict=True) if not is_missing(cell)]
    present = [cell for cell, _ in rows]
    if not present:
        return "category"
    if _share(EMAIL, present) >= 0.8:
        return "email"
    if _share(URL, present) >= 0.8:
        return "url"
    signed = sum(cell.startswith(("+", "(")) for cell in present) > len(present) / 2
    if _share(PHONE, present) >= 0.8 and (_PHONE_NAME.search(name) or signed):
        return "phone"
    if DateModel.of(present):
        return "category" if _is_category(rows, k, len(set(groups)) // 10) and len(set(present)) < 3 else "date"
    if "currency" in name.lower() and all(re.fullmatch(r"[A-Z]{3}", cell) for cell in present):
        return "category"
    if _is_category(rows, k, min(_DIGITS, len(set(groups)) // 10 + 2)):
        return "category"
    if _looks_like_codes(name, present) and not _is_category(rows, k, _FEW):
        return "code"
    if Writing.of(present):
        return "number"
    return "category" if _is_category(rows, k, max(_FEW, len(set(groups)) // 10)) else "text"


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.strip().lower() in MISSING or cell.strip().lower() == "nan"


def common(rows: Sequence[tuple[str, str]], k: int) -> Mapping[str, bool]:
    """Of each value whether at least k groups have it."""
    owners: dict[str, set[str]] = defaultdict(set)
    for value, group in rows:
        owners[value].add(group)
    return {value: len(groups) >= k for value, groups in owners.items()}


def _is_category(rows: Sequence[tuple[str, str]], k: int, most: int) -> bool:
    found = common(rows, k)
    short = sum(map(len, found)) <= 60 * len(found)
    return short and len(found) <= most and sum(found[value] for value, _ in rows) >= 0.9 * len(rows)


def _looks_like_codes(name: str, cells: Sequence[str]) -> bool:
    """One word with digits in it, or numbers too long and too alike to be amounts."""
    sample = cells[:5000]
    if any(re.search(r"\s", cell) or not cell.isascii() for cell in sample):
        return False
    if sum(any(char.isdigit() for char in cell) for cell in sample) < len(sample) / 2:
        return bool(_CODE_NAME.search(name))
    if not all(re.fullmatch(r"[+-]?[\d.,]+", cell) for cell in sample):
        return Writing.of(sample) is None
    whole = all(cell.isdigit() for cell in sample)
    padded = any(re.match(r"0\d", cell) for cell in sample)
    alike = len({len(cell) for cell in sample}) == 1 and len(sample[0]) >= 5 and len(set(sample)) > len(sample) / 5
    return whole and (padded or alike or bool(_CODE_NAME.search(name)))


def _share(pattern: re.Pattern[str], cells: Sequence[str]) -> float:
    return sum(pattern.fullmatch(cell) is not None for cell in cells) / len(cells)
