"""Conversations about photos: LLaVA's JSON and chat messages, of any number of turns and photos, none included.

A row is a whole conversation, in the column `conversation` as `record.write_turns` writes it; `question` and `answer` are its last
two turns. What is no proper conversation is refused. Knows nothing of files; `jsonl` and `parquet` give the objects.

    {"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat?"}, {"from": "gpt", "value": "A bag"}]}
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:..."}}]},
                  {"role": "assistant", "content": "A bag"}]}
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ...record import Turn, check_turns, write_turns
from ...task import Field, Task
from ..rows.cells import clean_lines, shown
from .jsonl import text_of
from .source import MAX_FREE_TEXT, BadCell, SourceRow, bytes_of_uri, proper_row

TURNS = ("conversations", "messages", "conversation")  # keys that hold the turns
PHOTOS = ("image", "images", "image_path", "image_url")  # keys that hold photos beside them

_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "assistant"),
    "system": "system",
}
# where a photo stands in the text, with the photo's number if it has one
_MARKS = re.compile(r"(?i)<\|?image(?:_?(\d+))?\|?>|<ImageHere>|<\|vision_start\|><\|image_pad\|><\|vision_end\|>")
_OURS = ("question", "answer", "photo", "conversation")


class Objects(Protocol):
    """Rows as nested values, such as JSON has them."""

    path: Path

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any] | BadCell]]: ...

    def keys(self) -> list[str]: ...


@dataclass(frozen=True)
class Place:
    """Where a photo stands in a turn: `photo` when it stands there itself, else a placeholder, of the photo with a `number` (from 1)
    beside the turns, or of the next one."""

    photo: Any = None
    number: int | None = None


@dataclass(frozen=True)
class Said:
    """One turn as it was found: its role in our words where we have one, words and photos in order."""

    role: str
    parts: list[str | Place]


def turns_key(objects: Iterable[dict[str, Any]]) -> str | None:
    """The key under which the first object that holds a conversation does so, None when none holds one."""
    for found in objects:
        for key in TURNS:
            turns = found.get(key)
            if isinstance(turns, list) and turns and isinstance(turns[0], dict) and {"from", "role"} & set(turns[0]):
                return key
    return None


class ConversationTable:
    """Conversations as a table of question, answer, photo, conversation and the objects' other keys."""

    task = Task(question="{question}", answer="{answer}", fields=(Field("question"), Field("answer")))
    max_text = MAX_FREE_TEXT
    conversations = True

    def __init__(self, objects: Objects, key: str, photos: Path) -> None:
        self.path = objects.path
        self.photos = photos
        self._objects = objects
        self._key = key
        self._others: dict[str, str] = {}
        for other in objects.keys():  # noqa: SIM118  # no dict
            if other not in (key, *PHOTOS):
                name = other
                while name in (*_OURS, *self._others.values()):
                    name = f"source_{name}"
                self._others[other] = name
        self.columns = [*_OURS, *self._others.values()]
        own_ids = "id" in self._others and self._ids_differ()
        self.defaults: Mapping[str, str] = {"photo": "photo", "id": "id" if own_ids else ""}
        self._lasting = [] if own_ids or "id" not in self._others else ["ids are missing or stand twice: records are named by row number"]
        self._tally: Counter[str] = Counter()

    @property
    def notices(self) -> list[str]:
        words = {"turns": "have several questions", "photos": "are about several photos", "words": "are words alone"}
        told = [f"{self._tally[kind]} {text}" for kind, text in words.items() if self._tally[kind]]
        return [*self._lasting, *([f"of the conversations, {', '.join(told)}"] if told else [])]

    def __iter__(self) -> Iterator[SourceRow]:
        tally: Counter[str] = Counter()
        for number, found in self._objects:
            try:
                if isinstance(found, BadCell):
                    raise found
                yield self._row(number, found, tally)
            except BadCell as problem:
                cells = {} if isinstance(found, BadCell) else {"id": text_of(found.get("id"))[:200]}
                yield SourceRow(number, cells, problem.code, problem.words)
            except RecursionError:
                yield SourceRow(number, {}, "row_unreadable", "it is nested too deeply")
        self._tally = tally

    def only(self, columns: Collection[str]) -> Iterator[SourceRow]:
        return iter(self)

    def _ids_differ(self) -> bool:
        """Whether every object has an id of its own; ids are held as 64-bit hashes meanwhile."""
        seen: set[int] = set()
        for _, found in self._objects:
            if isinstance(found, dict):
                name = text_of(found.get("id"))
                if not name.strip() or hash(name) in seen:
                    return False
                seen.add(hash(name))
        return True

    def _row(self, number: int, found: Mapping[str, Any], tally: Counter[str]) -> SourceRow:
        said: Any = found.get(self._key)
        heard = [_said(one) for one in said] if isinstance(said, list) else []
        turns, photos = _placed([one for one in heard if one.parts or one.role != "system"], _beside(found))
        if fault := check_turns(turns, len(photos)):
            raise BadCell(*fault)
        (path, data), *further = [_address(photo) for photo in photos] or [("", None)]
        cells = {
            "question": _words(turns[-2]),
            "answer": _words(turns[-1]),
            "photo": path,
            "conversation": write_turns(turns),
            **{name: text_of(found.get(other)) for other, name in self._others.items()},
        }
        row = proper_row(number, cells, {"photo": data} if data is not None else None)
        if not row.code:
            tally["turns"] += sum(turn.role == "user" for turn in turns) > 1
            tally["photos"] += len(photos) > 1
            tally["words"] += not photos
        return replace(row, further=tuple(further), photoless=not photos)


def _said(found: Any) -> Said:
    """A turn, LLaVA's or a chat message's. Raises BadCell."""
    role = found.get("from", found.get("role")) if isinstance(found, dict) else None
    if not isinstance(role, str):
        raise BadCell("turn_unreadable", f"expected from and value, or role and content, found {shown(text_of(found))}")
    content = found.get("value", found.get("content"))
    return Said(_ROLES.get(role.lower(), role), _parts(content if isinstance(content, list) else [content]))


def _parts(parts: list[Any]) -> list[str | Place]:
    """Words and photos in order. Placeholders among the words count where no part of the turn is a photo, and go anyway."""
    found: list[str | Place] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else "text"
        if kind in ("text", "input_text", "output_text"):
            found.append(_text(part.get("text") if isinstance(part, dict) else part))
        elif kind in ("image", "image_url", "input_image"):
            photo = next((part[key] for key in ("image_url", "image", "url", "path") if part.get(key)), None)
            found.append(Place(photo, _number(part.get("index"), 1)))
        else:
            raise BadCell("turn_unreadable", f"expected text and photos, found a part of type {shown(text_of(kind))}")
    marked = not any(isinstance(one, Place) for one in found)
    split: list[str | Place] = []
    for one in found:
        split += _at_marks(one, marked) if isinstance(one, str) else [one]
    return _tidy(split)


def _at_marks(text: str, marked: bool) -> list[str | Place]:
    """The words between placeholders and, where these count, the placeholders."""
    pieces = _MARKS.split(text)  # words, number, words, number, ..., words
    if not marked:
        return [" ".join(one.strip(" \t") for one in pieces[::2])]
    places = [Place(number=_number(number)) for number in pieces[1::2]]
    return [pieces[0], *(one for place, words in zip(places, pieces[2::2], strict=True) for one in (place, words))]


def _tidy(parts: list[str | Place]) -> list[str | Place]:
    """Words cleaned, those that nothing parts as one, and none that say nothing."""
    found: list[str | Place] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(last := found[-1], str):
            found[-1] = f"{last}\n{part}"
        else:
            found.append(part)
    cleaned = [clean_lines(one) if isinstance(one, str) else one for one in found]
    return [one for one in cleaned if one != ""]


def _number(found: Any, more: int = 0) -> int | None:
    """A photo's number, from 1; None where there is none, or nothing that could be one."""
    text = "" if isinstance(found, bool) else str(found)
    return int(text) + more if re.fullmatch(r"[0-9]{1,6}", text) else None


def _text(text: Any) -> str:
    if text is None or isinstance(text, str):
        return text or ""
    raise BadCell("turn_unreadable", f"expected text, found {shown(text_of(text))}")


def _beside(found: Mapping[str, Any]) -> list[Any]:
    """The photos that stand beside the turns."""
    beside: Any = next((found[key] for key in PHOTOS if found.get(key)), [])
    return list(beside) if isinstance(beside, list) else [beside]


def _placed(said: list[Said], beside: list[Any]) -> tuple[list[Turn], list[Any]]:
    """The turns with every photo in its place, and the photos in the order of their places. Raises BadCell.

    Photos beside turns that have places for none stand before the first turn of the user.
    """
    places = [part for one in said for part in one.parts if isinstance(part, Place)]
    first = next((one for one in said if one.role == "user"), None)
    if not places and beside and first:
        places = [Place() for _ in beside]
        first.parts[:0] = places
    photos = _chosen(places, beside)
    numbers = iter(range(len(photos)))
    turns = [Turn(one.role, tuple(part if isinstance(part, str) else next(numbers) for part in one.parts)) for one in said]  # type: ignore[arg-type]  # check_turns looks at the role
    return turns, photos


def _chosen(places: list[Place], beside: list[Any]) -> list[Any]:
    """The photo of each place. Raises BadCell (photo_missing, photo_count)."""
    empty = [place for place in places if place.photo is None]
    if not empty:
        return [place.photo for place in places]
    if not beside:
        raise BadCell("photo_missing", f"the turns have places for {len(empty)} photos, no photo is given in them, under image or images")
    if len(empty) != len(beside):
        raise BadCell("photo_count", f"the turns have places for {len(empty)} photos, {len(beside)} are given: expected one for each")
    numbers = [place.number for place in empty]
    if all(number is None for number in numbers):
        numbers = list(range(1, len(beside) + 1))
    if sorted(number or 0 for number in numbers) != list(range(1, len(beside) + 1)):
        named = ", ".join(map(str, numbers[:8]))
        raise BadCell("photo_count", f"the places name the photos {named}, expected 1 to {len(beside)}, each once")
    mine = iter([beside[number - 1] for number in numbers if number])
    return [next(mine) if place.photo is None else place.photo for place in places]


def _words(turn: Turn) -> str:
    return " ".join(part for part in turn.parts if isinstance(part, str))


def _address(photo: Any) -> tuple[str, bytes | None]:
    """(path or URL, bytes) of a photo as chats write it: text, a data URI, bytes, {"url": ...}, {"path": ..., "bytes": ...}."""
    if isinstance(photo, dict):
        data = photo.get("bytes")
        text = next((one for key in ("url", "path", "image") if isinstance(one := photo.get(key), str)), "")
        photo = data if isinstance(data, bytes) and data else text
        if isinstance(photo, bytes):
            return text, photo
    if isinstance(photo, bytes):
        return "", photo
    if isinstance(photo, str):
        return ("", bytes_of_uri(photo)) if photo[:5].lower() == "data:" else (photo, None)
    raise BadCell("photo_missing", f"expected the path, URL or bytes of a photo, found {shown(text_of(photo))}")
