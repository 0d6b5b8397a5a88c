"""Conversations about photos: LLaVA's JSON and chat messages, as records of one question and one answer.

A record is the first turn of the user and the first of the assistant. The whole conversation is kept as JSON in the column
`conversation`. Knows nothing of files; `jsonl` and `parquet` give the objects.

    {"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat?"}, {"from": "gpt", "value": "A bag"}]}
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:..."}}]},
                  {"role": "assistant", "content": "A bag"}]}
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...task import Field, Task
from ..rows.cells import shown
from .jsonl import json_text, text_of
from .source import MAX_FREE_TEXT, BadCell, SourceRow, proper_row

TURNS = ("conversations", "messages", "conversation")  # keys that hold the turns
PHOTOS = ("image", "images", "image_path", "image_url")  # keys that hold photos beside them

_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "assistant"),
    "system": "system",
}
_MARKS = r"<\|?image(?:_?\d+)?\|?>|<ImageHere>|<\|vision_start\|><\|image_pad\|><\|vision_end\|>"  # where a photo stands in the text
_OURS = ("question", "answer", "photo", "conversation")


class Objects(Protocol):
    """Rows as nested values, such as JSON has them."""

    path: Path

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any] | BadCell]]: ...

    def keys(self) -> list[str]: ...


@dataclass(frozen=True)
class Turn:
    """Who says what. `photos` stand in the turn itself; None is a placeholder, whose photo stands beside the turns."""

    role: str
    text: str
    photos: tuple[Any, ...]


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
        words = {
            "more": "conversations have more turns than are trained now: the first question and its answer were taken",
            "system": "conversations open with a system prompt: it is kept in `conversation` and not trained",
        }
        return [*self._lasting, *(f"{self._tally[kind]} {text}" for kind, text in words.items() if self._tally[kind])]

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
        said = said if isinstance(said, list) else []
        dialogue = said
        while dialogue and _role(dialogue[0]) == "system":
            dialogue = dialogue[1:]
        if len(dialogue) < 2:
            raise BadCell("turns_missing", f"expected a question and its answer under {self._key}, found {len(dialogue)} turns")
        question, answer = map(_turn, dialogue[:2])
        if (question.role, answer.role) != ("user", "assistant"):
            raise BadCell("turns_order", f"expected user, then assistant, found {shown(question.role)}, then {shown(answer.role)}")
        path, data = _address(_the_photo(question, found))
        cells = {
            "question": question.text,
            "answer": answer.text,
            "photo": path,
            "conversation": json_text(_without_bytes(said)),
            **{name: text_of(found.get(other)) for other, name in self._others.items()},
        }
        row = proper_row(number, cells, {"photo": data} if data is not None else None)
        if not row.code:
            tally["more"] += len(dialogue) > 2
            tally["system"] += len(dialogue) < len(said)
        return row


def _turn(found: Any) -> Turn:
    """A turn, LLaVA's or a chat message's. Raises BadCell."""
    role = _role(found)
    if role is None:
        raise BadCell("turn_unreadable", f"expected from and value, or role and content, found {shown(text_of(found))}")
    content = found.get("value", found.get("content"))
    return _of_parts(role, content if isinstance(content, list) else [content])


def _role(found: Any) -> str | None:
    role = found.get("from", found.get("role")) if isinstance(found, dict) else None
    return _ROLES.get(role.lower(), role) if isinstance(role, str) else None


def _of_parts(role: str, parts: list[Any]) -> Turn:
    texts: list[str] = []
    photos: list[Any] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else "text"
        if kind in ("text", "input_text", "output_text"):
            texts.append(_words(part.get("text") if isinstance(part, dict) else part))
        elif kind in ("image", "image_url", "input_image"):
            photos.append(next((part[key] for key in ("image_url", "image", "url", "path") if part.get(key)), None))
        else:
            raise BadCell("turn_unreadable", f"expected text and photos, found a part of type {shown(text_of(kind))}")
    text = "\n".join(texts)
    if not photos:
        photos = [None] * len(re.findall(rf"(?i){_MARKS}", text))
    return Turn(role, re.sub(rf"(?i)[ \t]*(?:{_MARKS})[ \t]*", " ", text).strip(), tuple(photos))


def _words(text: Any) -> str:
    if text is None or isinstance(text, str):
        return text or ""
    raise BadCell("turn_unreadable", f"expected text, found {shown(text_of(text))}")


def _the_photo(question: Turn, found: Mapping[str, Any]) -> Any:
    """The one photo that the question is about. Raises BadCell (photo_missing, several_photos)."""
    beside: Any = next((found[key] for key in PHOTOS if found.get(key)), [])
    beside = beside if isinstance(beside, list) else [beside]
    asked = len(question.photos) or len(beside)
    if asked > 1:
        raise BadCell("several_photos", f"the question is about {asked} photos, expected one")
    photo = question.photos[0] if question.photos else None
    if photo is None and not beside:
        raise BadCell("photo_missing", "the question is about no photo: expected one in it, or under image or images")
    return beside[0] if photo is None else photo


def _address(photo: Any) -> tuple[str, bytes | None]:
    """(path, URL or data URI; bytes) of a photo as chats write it: text, bytes, {"url": ...}, {"path": ..., "bytes": ...}."""
    if isinstance(photo, dict):
        data = photo.get("bytes")
        text = next((one for key in ("url", "path", "image") if isinstance(one := photo.get(key), str)), "")
        photo = data if isinstance(data, bytes) and data else text
        if isinstance(photo, bytes):
            return text, photo
    if isinstance(photo, bytes):
        return "", photo
    if isinstance(photo, str):
        return photo, None
    raise BadCell("photo_missing", f"expected the path, URL or bytes of a photo, found {shown(text_of(photo))}")


def _without_bytes(value: Any) -> Any:
    """The conversation as it is kept: photos that stand in it are told, not repeated."""
    if isinstance(value, dict):
        return {key: _without_bytes(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_bytes(one) for one in value]
    return "(photo)" if isinstance(value, bytes) or (isinstance(value, str) and value[:11].lower() == "data:image/") else value
