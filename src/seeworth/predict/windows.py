"""Inputs on their way to other machines: windows of them in an Arrow file, and what comes out of it there.

A window is what an engine looks at in one go, so it travels in one piece: one row. Its photos' bytes travel with it, so no other machine
needs the folder where they lie. Writer and reader stand here together: `unpacked(packed(items)) == items`. Knows nothing of Ray or of
models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import PhotoError
from ..record import Record, read_turns, write_turns
from .inputs import Input

SCHEMA = pa.schema([("items", pa.list_(pa.large_string())), ("photos", pa.list_(pa.list_(pa.large_binary())))])
"""`items` has an Input without its bytes as JSON; `photos` of each Input the bytes of its photos, null where one is still a file."""


@dataclass(frozen=True)
class Carried(Input):
    """An input that has left the machine where its photos are files.

    Attributes:
        carried: of each of `record.all_photos` the bytes. Apart from `data`, whose weight decides how inputs are cut into windows: these
            are in one already.
    """

    carried: tuple[bytes, ...] = ()

    def photo_bytes(self) -> list[bytes]:
        return list(self.carried)


def carried(item: Input) -> Input:
    """The input with the bytes of all its photos; refused, with the reason, where one cannot be read."""
    if item.refused is not None:
        return item
    try:
        photos = tuple(item.photo_bytes())
    except PhotoError as problem:
        return replace(item, data=(), refused=(problem.code, str(problem)))
    return Carried(**{one.name: getattr(item, one.name) for one in fields(Input)} | {"data": ()}, carried=photos)


def write_windows(path: Path, windows: Iterable[Sequence[Input]]) -> int:
    """Write windows, holding one at a time; one whose lines are all there is left out. Returns how many were written."""
    count = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for window in windows:
            if not all(item.done for item in window):
                writer.write_batch(packed(window))
                count += 1
    return count


def read_window(path: Path, number: int) -> list[Input]:
    """The window of that number, counted from 0, of a file that `write_windows` wrote; no other is read."""
    with pa.memory_map(str(path)) as file:
        return unpacked(pa.ipc.open_file(file).get_batch(number).to_pylist()[0])


def packed(items: Sequence[Input]) -> pa.RecordBatch:
    """A window as one row."""
    photos = [list(one.carried if isinstance(one, Carried) else one.data) for one in items]
    return pa.RecordBatch.from_pylist([{"items": [_to_json(one) for one in items], "photos": photos}], SCHEMA)


def unpacked(row: Mapping[str, Any]) -> list[Input]:
    """What a row of `packed`, as plain data, was made of."""
    return [_from_json(text, tuple(photos)) for text, photos in zip(row["items"], row["photos"], strict=True)]


def _to_json(item: Input) -> str:
    """In ASCII, which holds names that are no text. A number is a list of its digits, words are words."""
    record = item.record
    told = {
        "number": item.number,
        "photo": item.photo,
        "inside": item.inside,
        "refused": item.refused,
        "done": item.done,
        "carried": isinstance(item, Carried),
        "id": record.id,
        "photos": [str(path) for path in record.all_photos],
        "values": {key: [str(value)] if isinstance(value, Decimal) else value for key, value in record.values.items()},
        "group": record.group,
        "split": record.split,
        "turns": None if record.turns is None else write_turns(record.turns),
        "sizes": record.sizes,
    }
    return json.dumps(told)


def _from_json(text: str, photos: tuple[bytes | None, ...]) -> Input:
    told = json.loads(text)
    paths = [Path(path) for path in told["photos"]]
    record = Record(
        told["id"],
        paths[0] if paths else None,
        {key: Decimal(value[0]) if isinstance(value, list) else value for key, value in told["values"].items()},
        told["group"],
        told["split"],
        tuple(paths[1:]),
        None if told["turns"] is None else read_turns(told["turns"]),
        tuple((width, height) for width, height in told["sizes"]),
    )
    refused = None if told["refused"] is None else (told["refused"][0], told["refused"][1])
    known = {"inside": told["inside"], "refused": refused, "done": told["done"]}
    if told["carried"]:
        return Carried(told["number"], record, told["photo"], **known, carried=tuple(one for one in photos if one is not None))
    return Input(told["number"], record, told["photo"], photos, **known)
