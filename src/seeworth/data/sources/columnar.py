"""Arrow columns -> cells: text as a CSV of the same rows would have it, and the photos that stand in them.

A column holds photos when it is `struct<bytes, path>` (Hugging Face's image), bytes, or a list of these, of which the first
counts. Whatever is a photo's bytes is never kept as text. Knows nothing of files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from .jsonl import json_text
from .source import SourceRow, proper_row

BROKEN = object()  # in place of text that is not UTF-8

_DECODED = 2**27  # bytes that the text of a column's batch may have in memory
_PHOTO_ROWS = 16  # rows of photos in memory at a time


def holds_photos(kind: Any) -> bool:
    """Whether a column of this type holds photos as bytes."""
    if _is_list(kind) or pa.types.is_dictionary(kind):
        return holds_photos(kind.value_type)
    if pa.types.is_struct(kind):
        return {kind.field(place).name for place in range(kind.num_fields)} == {"bytes", "path"}
    return _is_bytes(kind)


def class_names(schema: Any) -> dict[str, list[str]]:
    """Of columns that hold Hugging Face class labels (numbers), the names of the classes, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        labels = {name: one["names"] for name, one in features.items() if isinstance(one, dict) and one.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: names for name, names in labels.items() if isinstance(names, list) and all(isinstance(one, str) for one in names)}


def rows_of(
    batch: Any, start: int, names: Mapping[str, str], classes: Mapping[str, list[str]], several: Counter[str]
) -> Iterator[SourceRow]:
    """The rows of a record batch, numbered from `start`; `names` maps the batch's columns to the source's.

    Rows that hold several photos in one column are counted in `several`.
    """
    kinds = {field.name: field.type for field in batch.schema}
    step = _PHOTO_ROWS if any(map(holds_photos, kinds.values())) else max(batch.num_rows, 1)
    for offset in range(0, batch.num_rows, step):
        part = batch.slice(offset, step)
        texts: dict[str, list[Any]] = {}
        photos: dict[str, list[bytes | None]] = {}
        for name, column in names.items():
            array = part.column(part.schema.get_field_index(name))
            if holds_photos(kinds[name]):
                texts[column], photos[column], more = _photos(array)
                several[column] += more
            else:
                texts[column] = _labels(array, classes[name]) if name in classes else _texts(array)
        for place in range(part.num_rows):
            cells = {column: values[place] for column, values in texts.items()}
            embedded = {column: data for column, values in photos.items() if (data := values[place]) is not None}
            yield _row(start + offset + place, cells, embedded)


def _row(number: int, cells: dict[str, Any], embedded: dict[str, bytes]) -> SourceRow:
    if broken := [name for name, cell in cells.items() if cell is BROKEN]:
        kept = {name: cell for name, cell in cells.items() if cell is not BROKEN}
        return SourceRow(number, kept, "row_unreadable", f"{broken[0]}: its text is not UTF-8, or nested too deeply")
    return proper_row(number, cells, embedded)


def _texts(array: Any) -> list[Any]:
    """The cells of a column; "" for null and for NaN, BROKEN for what cannot be read."""
    import pyarrow.compute as pc  # here, and not for tables that need none: it takes long to load

    if pa.types.is_dictionary(array.type):
        if len(array) * _longest(array.dictionary) > _DECODED:
            return _shared(array, _text)
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_floating(kind):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, kind), array)
    if not (pa.types.is_nested(kind) or pa.types.is_string(kind)):
        try:
            array = pc.cast(array, pa.string())
        except pa.ArrowException:
            return [_text(one) for one in array]
    try:
        return [_as_cell(one) for one in array.to_pylist()]
    except (ValueError, RecursionError):  # some text is not UTF-8
        return [_text(one) for one in array]


def _longest(values: Any) -> int:
    """Bytes of the longest text among values; 0 when they are no text."""
    import pyarrow.compute as pc

    return (pc.max(pc.binary_length(values)).as_py() or 0) if is_words(values.type) else 0


def _shared(array: Any, read: Callable[[Any], Any]) -> list[Any]:
    """The values of a dictionary column, read once however often they stand."""
    places = array.indices.to_pylist()
    values = {place: read(pa.scalar(None) if place is None else array.dictionary[place]) for place in set(places)}
    return [values[place] for place in places]


def _text(scalar: Any) -> Any:
    try:
        return _as_cell(scalar.as_py())
    except (ValueError, RecursionError):
        return BROKEN


def _as_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json_text(_plain(value)) if isinstance(value, dict | list | tuple) else str(value)


def _plain(value: Any) -> Any:
    """Nested values with what JSON has no word for as text: NaN as nothing, dates as they read."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value != value:
        return None
    return float(value) if isinstance(value, Decimal) else value


def _labels(array: Any, names: list[str]) -> list[str]:
    """Class labels as words; a number beyond the names stays a number, and -1 (Hugging Face: no label) is nothing."""
    return [
        "" if one is None or one == -1 else names[one] if isinstance(one, int) and 0 <= one < len(names) else str(one)
        for one in array.to_pylist()
    ]


def _photos(array: Any) -> tuple[list[str], list[bytes | None], int]:
    """(path, bytes) of the photo in each row, and how many rows hold several."""
    paths: list[str] = []
    photos: list[bytes | None] = []
    several = 0
    values = _shared(array, lambda one: one.as_py()) if pa.types.is_dictionary(array.type) else array.to_pylist()
    for value in values:
        several += isinstance(value, list) and len(value) > 1
        while isinstance(value, list):
            value = value[0] if value else None
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        paths.append(path if isinstance(path, str) else "")
        photos.append(data or None)
    return paths, photos, several


def is_words(kind: Any) -> bool:
    """Whether a column holds text or bytes."""
    return _is_bytes(kind) or any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string))


def _is_bytes(kind: Any) -> bool:
    types = pa.types
    return any(test(kind) for test in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view))


def _is_list(kind: Any) -> bool:
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))
