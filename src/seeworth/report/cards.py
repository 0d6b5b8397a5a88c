"""A record as a card with its photo, in every gallery of the page, and which galleries there are. card.html places a card.

Every number comes from evaluation.json; nothing is measured here.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from ..errors import RunError
from ..evaluate.words import figure
from ..page.picture import data_uri
from . import looks

Content: TypeAlias = Mapping[str, Any]

NEAR = 25  # % off that is still shown as near
WORDS = "The model's words"


class Thumbnails:
    """The photos of an evaluation folder, by record id."""

    def __init__(self, content: Content, folder: Path) -> None:
        self.evaluation = folder
        self.place = {score["record_id"]: index for index, score in enumerate(content["scores"])}

    def __call__(self, record_id: str) -> dict[str, Any] | None:
        """The thumbnail as data URI with width and height; None when there is none. Raises RunError for what is no small JPEG."""
        path = self.evaluation / "thumbnails" / f"{self.place[record_id]}.jpg"
        try:
            data = path.read_bytes()
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                width, height = image.size
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise RunError(f"{path}: expected a JPEG thumbnail ({problem}): evaluate once more") from problem
        return {"uri": data_uri(data), "width": width, "height": height}


def galleries(content: Content, photos: Thumbnails) -> list[dict[str, Any]]:
    """Each gallery: its kind, heading, a sentence on what it holds, and its cards."""
    units = units_of(content)
    scores = {score["record_id"]: score for score in content["scores"]}
    seen = looks.read(photos.evaluation)
    found = []
    for kind, (heading, about, none) in _ABOUT.items():
        ids = content["gallery"].get(kind)
        notes = content.get("gallery_notes", {}).get(kind, {})
        cards = [card(scores[one], units, photos(one), notes.get(one, ()), seen.get(one)) for one in ids or ()]
        many = content.get("gallery_found", {}).get(kind, len(cards))
        sentence = about if cards else _UNKNOWN.get(kind, none) if ids is None else none
        mapped = list(dict.fromkeys(each["field"] for one in cards for each in one["looks"]))
        found.append({"looks": mapped, "kind": kind, "heading": heading, "about": sentence, "cards": cards, "found": many})
    return found


_ABOUT = {  # kind -> heading, what it holds, what is said when it holds nothing
    "worst": ("Worst answers", "The largest errors, over all fields.", "There are too few answers to tell worst from best."),
    "best": ("Best answers", "The smallest errors, over all fields.", "There are too few answers to tell best from worst."),
    "surprising": (
        "Most surprising answers",
        "Where the model was surest and most wrong: a wrong category by its probability, a number by its error beside the model's own 90 % "
        "interval. The fields take turns.",
        "No answer is wrong beyond what the model itself thought possible.",
    ),
    "unread": ("Answers that could not be read", "Not every field could be read from these words.", "Every answer could be read."),
    "unsure": (
        "Answers to abstain from",
        "By the thresholds chosen on the validation records these would be refused, the least sure first.",
        "By the thresholds chosen on the validation records no answer would be refused.",
    ),
}  # fmt: skip
_UNKNOWN = {
    "surprising": "The predictions do not say how sure the model is, so none can be called surprising.",
    "unsure": "No threshold says from which doubt on the model should abstain.",
}


def bare(record: str, photo: Any, badness: float) -> dict[str, Any]:
    """A card that says no more than which record it is; whoever draws it adds to it."""
    empty: dict[str, Any] = {"notes": [], "looks": [], "fields": [], "words": [], "summary": "", "problems": []}
    return {"id": record, "alt": f"Photo of record {record}", "photo": photo, "badness": badness, **empty}


def card(score: Content, units: Mapping[str, str], photo: Any, notes: Sequence[str], seen: Content | None) -> dict[str, Any]:
    """A card of one answer: its photo, with its map where there is one (`seen`), what was read beside what is true, and the words."""
    fields = [_field(name, data, units.get(name, "")) for name, data in score["fields"].items()]
    alt = f"Photo of record {score['record_id']}, true {fields[0]['name']}: {fields[0]['lines'][0]['words']}"
    said = {"fields": fields, "words": [score["text"]], "summary": WORDS, "problems": score["problems"]}
    about = bare(score["record_id"], photo, score["badness"])
    return about | said | {"alt": alt, "notes": list(notes), "looks": looks.maps(seen, photo)}


def units_of(content: Content) -> dict[str, str]:
    """Field -> its unit, "" where it has none."""
    return {one["name"]: one.get("unit") or "" for one in content["task"]["fields"]}


def compared(data: Content, unit: str) -> dict[str, Any]:
    """Truth and reading in words, whether they agree, and by how much they do not."""
    truth, answer = data["truth"], data["answer"]
    if unit:
        truth, answer = (None if each is None else f"{float(each):,.10g} {unit}" for each in (truth, answer))
    if answer is None:
        return {"truth": truth, "answer": None, "right": False, "off": "not read", "near": False}
    if "absolute_error" in data:
        percent = data.get("percentage_error", math.inf)
        off = f"{figure(percent)} % off" if math.isfinite(percent) else "off"
        return {"truth": truth, "answer": answer, "right": not data["absolute_error"], "off": off, "near": percent <= NEAR}
    right = bool(data.get("exact", data.get("correct")))
    off = "" if right else f"similarity {figure(data['similarity'], 'similarity')}" if "similarity" in data else "wrong"
    return {"truth": truth, "answer": answer, "right": right, "off": off, "near": False}


def lines(*pairs: tuple[str, str | None]) -> list[dict[str, Any]]:
    """What different people say of a field: who, and their words (None: nothing)."""
    return [{"who": who, "words": words} for who, words in pairs]


def _field(name: str, data: Content, unit: str) -> dict[str, Any]:
    found = compared(data, unit)
    said: Sequence[tuple[str, str | None]] = [("true", found["truth"])]
    if not found["right"]:
        said = [*said, ("read", found["answer"])]
    off = "" if found["right"] else found["off"]
    return {"name": name, "right": found["right"], "off": off, "near": found["near"], "lines": lines(*said)}
