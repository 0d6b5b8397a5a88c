"""Field: one typed value of an answer, and the only place where a value becomes words and words a value.

Knows nothing of templates: where a field stands in an answer is the Task's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias, get_args

from .errors import TaskError
from .record import Value

Kind: TypeAlias = Literal["text", "category", "number"]

MAX_DIGITS = 15  # what a float64 column of metadata.parquet holds exactly

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?")
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


@dataclass(frozen=True)
class Field:
    """One value of an answer.

    Args:
        name: the column and the name between braces in the template.
        kind: "text" (any words), "category" (words from few), "number" (a finite decimal).
        unit: of a number, e.g. "USD"; shown in reports, accepted but not required beside the number in an answer.
        choices: of a category, all that are allowed; None leaves it open.
    """

    name: str
    kind: Kind = "text"
    unit: str | None = None
    choices: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise TaskError(f"field name {self.name!r}: expected letters, digits and _, as in {{title}}")
        if self.kind not in get_args(Kind):
            raise TaskError(f"field {self.name}: kind is {self.kind!r}, expected one of {', '.join(get_args(Kind))}")
        if self.unit and self.kind != "number":
            raise TaskError(f"field {self.name}: only a number has a unit, this is a {self.kind}")
        if self.unit is not None and (not isinstance(self.unit, str) or re.fullmatch(r"[\s0-9.,+-]*", self.unit)):
            raise TaskError(f"field {self.name}: a unit is a word as in 'USD', found {self.unit!r}: it could be taken for digits")
        if self.choices is not None and not self.choices:
            raise TaskError(f"field {self.name}: choices is empty: name at least one, or leave choices out")
        if self.choices is not None and self.kind != "category":
            raise TaskError(f"field {self.name}: only a category has choices, this is a {self.kind}")


def valid_value(one: Field, value: Any) -> Value:
    """The value as the task keeps it (Decimal for a number, str else). Raises TaskError that says what is wrong with it."""
    if one.kind == "number":
        return _valid_number(one, value)
    if not isinstance(value, str):
        raise TaskError(f"{one.name}: expected text, found {value!r}")
    if not value.strip():
        raise TaskError(f"{one.name}: is empty")
    if one.choices is not None and value not in one.choices:
        raise TaskError(f"{one.name}: {value!r} is none of the {len(one.choices)} choices")
    return value


def _valid_number(one: Field, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise TaskError(f"{one.name}: expected a number, found {value!r}")
    number = value if isinstance(value, Decimal) else Decimal(repr(float(value)) if isinstance(value, float) else value)
    if not number.is_finite():
        raise TaskError(f"{one.name}: expected a finite number, found {value}")
    if _digits(number) > MAX_DIGITS:
        raise TaskError(f"{one.name}: {value} has more than {MAX_DIGITS} digits")
    return number


def _digits(number: Decimal) -> int:
    """Digits needed to write a finite number without exponent or needless zeros: 1500 needs 4, 0.05 needs 3."""
    _, digits, exponent = number.as_tuple()  # not normalize(): it rounds to 28 digits, and overflows
    assert isinstance(exponent, int)
    needed = "".join(map(str, digits)).rstrip("0")
    exponent += len(digits) - len(needed)
    if not needed:
        return 1
    return max(len(needed), -exponent + 1) if exponent < 0 else len(needed) + exponent


def to_words(one: Field, value: Any) -> str:
    """The value in words, numbers without needless zeros. Raises TaskError as `valid_value` does."""
    value = valid_value(one, value)
    if isinstance(value, str):
        return value
    return format(value.normalize() if value else Decimal(0), "f")


def from_words(one: Field, word: str) -> tuple[Value, str]:
    """The value in `word`, and what is wrong with it ("" when nothing)."""
    if one.kind == "number":
        bare = word
        for mark in filter(None, (one.unit, _SYMBOLS.get(one.unit or ""))):
            bare = bare.removeprefix(mark).removesuffix(mark).strip()
        if not _NUMBER.fullmatch(bare):
            return "", f"{word[:40]!r} is not a number"
        try:
            return _valid_number(one, Decimal(bare.replace(",", ""))), ""
        except TaskError:
            return "", f"{word[:40]!r} has more than {MAX_DIGITS} digits"
    if not word.strip():
        return "", "is empty"
    if one.choices is not None and word not in one.choices:
        return "", f"{word[:40]!r} is none of the {len(one.choices)} choices"
    return word, ""


def field_dict(one: Field) -> dict[str, Any]:
    """Plain data for YAML and JSON, what is None left out; `field_of` is its inverse."""
    data = {key: value for key, value in asdict(one).items() if value is not None}
    return data | ({"choices": list(one.choices)} if one.choices is not None else {})


def field_of(row: Any, where: object) -> Field:
    """A field from plain data. Raises TaskError that names `where`."""
    if not isinstance(row, Mapping) or not isinstance(row.get("name"), str) or set(row) - {"name", "kind", "unit", "choices"}:
        raise TaskError(f"{where}: a field has name, kind, unit and choices, found {row!r}")
    choices = row.get("choices")
    if choices is not None and (not isinstance(choices, list | tuple) or not all(isinstance(c, str) for c in choices)):
        raise TaskError(f"{where}: field {row['name']}: choices are a list of words, found {choices!r}")
    return Field(row["name"], row.get("kind", "text"), row.get("unit"), None if choices is None else tuple(choices))
