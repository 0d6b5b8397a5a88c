"""Which column of a table holds what: the user's choice, the task file's, else the usual names; never a guess between two.

Knows nothing of rows and cells.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import DataError, SettingsError
from ...task import Field, Task
from ..sources import Source
from .cells import shown

PHOTO_COLUMNS = (
    "photo", "file_name", "image", "imageurl", "image_url", "image_path", "path", "filename", "file",
    "image_link", "image_src", "images", "image_urls", "photo_url", "photos", "img", "img_url", "picture",
)  # fmt: skip
GROUP_COLUMNS = ("product_code", "item_group_id")
CURRENCY_COLUMNS = ("currency_code", "currency")
ROLES = ("photo", "id", "group", "split", "currency")

_ALSO_CALLED = {  # words that a catalogue may use for the part of a field's name; they help to advise, nothing is read by them
    "title": {"name", "product", "title", "label"},
    "category3": {"category", "type", "class", "department"},
    "category": {"category", "type", "class", "label"},
    "price": {"price", "amount", "cost", "msrp"},
}
_CURRENCIES = {"usd", "eur", "gbp", "jpy", "cny", "inr", "cad", "aud", "chf", "sek", "nok", "dkk", "pln", "krw", "brl", "mxn", "rmb"}
_SIGNS = {"€": "eur", "£": "gbp", "₹": "inr", "₩": "krw"}


@dataclass(frozen=True)
class Columns:
    """Which column holds what.

    Attributes:
        fields: task field -> column.
        photo: path of the photo. id: of the record, None numbers the rows. group: of one article, None: each photo its own.
        split: the source's own, None: to be drawn. currency: of the prices, None: not told.
    """

    fields: Mapping[str, str]
    photo: str
    id: str | None = None
    group: str | None = None
    split: str | None = None
    currency: str | None = None

    @classmethod
    def of(cls, source: Source, task: Task, chosen: Mapping[str, str] | None, fields: Iterable[Field] | None = None) -> Columns:
        """The user's choice over the defaults: a field's column has its name, see PHOTO_COLUMNS and so on for the roles.

        The usual names of the photo's column are known however they are written: `Image Src` is image_src. An empty name
        ("") switches a role's default off. `fields` are those of the task's that are read, all when left out. Raises SettingsError
        for a choice of something that the task has not, DataError for a column that the source has not, or one whose name says
        another currency than the field's unit.
        """
        chosen = dict(chosen or {})
        own_fields = task.fields if fields is None else tuple(fields)
        names = [one.name for one in own_fields]
        if taken := sorted(set(names) & set(ROLES)):
            raise SettingsError(f"the task has a field named {taken[0]!r}, a word that --columns needs: name the field otherwise")
        for key, column in chosen.items():
            _check_choice(source, names, key, column)
        _need_fields(source, names, chosen)
        columns = {name: chosen.get(name, name) for name in names}
        for one in own_fields:
            _need_currency(source, columns[one.name], one.unit)
        defaults = {"id": ("id",), "group": GROUP_COLUMNS, "split": (), "currency": CURRENCY_COLUMNS}
        roles: dict[str, Any] = {"photo": chosen.get("photo") or _photo_column(source)}
        for role, usual in defaults.items():
            own = (source.defaults[role],) if role in source.defaults else usual
            roles[role] = chosen.get(role, next((name for name in own if name in source.columns), None)) or None
        return cls(columns, **roles)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _check_choice(source: Source, names: list[str], key: str, column: Any) -> None:
    """Raise when one of the user's choices cannot be."""
    if key not in (*names, *ROLES):
        raise SettingsError(f"--columns names {key!r}; it may name {', '.join((*names, *ROLES))}{_closest(key, (*names, *ROLES))}")
    if not isinstance(column, str) or (not column and key in (*names, "photo")):
        raise SettingsError(f"--columns {key}: expected the name of a column, found {column!r}")
    if column and column not in source.columns:
        raise DataError(_has_no(source, column, f"--columns {key}={column}"))


def _need_fields(source: Source, names: list[str], chosen: Mapping[str, str]) -> None:
    """Raise when a field has no column, with the choice of columns that perhaps is meant."""
    missing = [name for name in names if name not in chosen and name not in source.columns]
    if not missing:
        return
    words = _has_no(source, missing[0], f"the task's field {missing[0]!r}")
    if len(missing) > 1:
        words += f"; nor one for {', '.join(map(repr, missing[1:]))}"
    guesses = {name: near for name in missing if (near := _nearest(name, source.columns))}
    advice = ", ".join(f"{name}: {_yaml(guesses.get(name, 'COLUMN'))}" for name in missing)
    raise DataError(f"{words}. Say which it is, as in --columns '{{{advice}}}', or give a --task of your own")


def _photo_column(source: Source) -> str:
    if own := source.defaults.get("photo"):
        return own
    plain: dict[str, list[str]] = {}
    for column in source.columns:
        plain.setdefault(_plain(column), []).append(column)
    found = next((plain[name] for name in PHOTO_COLUMNS if name in plain), [])
    if len(found) > 1:
        words = f"{' and '.join(map(repr, found))} could both be the photo"
        raise DataError(f"{source.path}: {words}: say which with --columns '{{photo: NAME}}'")
    if not found:
        raise DataError(
            f"{source.path}: expected a column that names the photo, {_list(list(PHOTO_COLUMNS))}; found {_list(source.columns)}: "
            "say it with --columns '{photo: NAME}'"
        )
    return found[0]


def _need_currency(source: Source, column: str, unit: str | None) -> None:
    """Raise when a column's name says one currency and the field's unit another: `price_eur` for USD."""
    said = {_SIGNS[sign] for sign in _SIGNS if sign in column} | ({column.lower().rpartition("_")[2]} & _CURRENCIES)
    said |= set(re.findall(r"\(\s*([a-z]{3})\s*\)", column.lower())) & _CURRENCIES
    if unit and unit.lower() in _CURRENCIES and said and unit.lower() not in said:
        raise DataError(
            f"{source.path}: column {column!r} is in {min(said).upper()}, the task in {unit}: map another column, "
            f"or give a --task whose field has `unit: {min(said).upper()}`"
        )


def _has_no(source: Source, column: str, what: str) -> str:
    near = _nearest(column, source.columns)
    guess = f": did you mean {near!r}?" if near else ""
    return f"{source.path}: has no column {column!r}, which {what} needs; its columns are {_list(source.columns)}{guess}"


def _nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was perhaps meant: one spelt like it, else one whose words mean the same."""
    by_plain = {_plain(one): one for one in names}
    if near := difflib.get_close_matches(_plain(name), by_plain, n=1, cutoff=0.5):
        return by_plain[near[0]]
    wanted = set().union(*(_ALSO_CALLED.get(part, {part}) for part in re.split(r"_(?=[a-z])", name.lower())))
    scores = {one: len(wanted & set(plain.split("_"))) for plain, one in by_plain.items()}
    best = max(scores, key=lambda one: scores[one], default=None)
    return best if best is not None and scores[best] else None


def _closest(name: str, names: Iterable[str]) -> str:
    near = _nearest(name, names)
    return f": did you mean {near!r}?" if near else ""


def _plain(name: str) -> str:
    """A name without capitals, spaces and signs: `Image Src`, `image-src` and `image_src` are one."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def _yaml(name: str) -> str:
    return name if re.fullmatch(r"\w[\w -]*", name) else '"' + name.replace('"', '\\"') + '"'


def _list(names: list[str]) -> str:
    told = ", ".join(name if len(name) <= 60 else shown(name) for name in names[:40])
    return told + (f" and {len(names) - 40} more" if len(names) > 40 else "")
