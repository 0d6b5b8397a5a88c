"""What the page shows of the data itself: records that leak from the train split, and rows that the import refused.

Every number comes from evaluation.json; nothing is looked for here. data.html places it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from .cards import Thumbnails, bare, lines

Content: TypeAlias = Mapping[str, Any]


def leaks(content: Content, photos: Thumbnails) -> dict[str, Any]:
    """What was looked for and found, in a sentence with its tone, and cards of the first leaking records."""
    data = content.get("leaks")
    records = f"{content['data']['records']:,} {content['data']['split']} records"
    if data is None:
        text = "No train records were at hand, so nothing is known of leaks."
        return {"tone": "mixed", "text": text, "cards": []}
    counts = [data[what]["count"] for what in ("photo", "group")]
    if not any(counts):
        text = f"None of {records} shares its photo or its group with one of {data['train']:,} train records."
        return {"tone": "good", "text": text, "cards": []}
    text = (
        f"Of {records} {counts[0]:,} have the photo of a train record and {counts[1]:,} its group "
        f"({data['train']:,} train records): their figures are no measurement."
    )
    badness = {score["record_id"]: score["badness"] for score in content["scores"]}
    pairs: dict[str, dict[str, str]] = {}
    for what in ("photo", "group"):
        for record, other in data[what]["pairs"]:
            pairs.setdefault(record, {})[what] = other
    return {"tone": "bad", "text": text, "cards": [_card(one, found, photos(one), badness[one]) for one, found in pairs.items()]}


def _card(record: str, found: Mapping[str, str], photo: Any, badness: float) -> dict[str, Any]:
    fields = [
        {"name": f"the same {what}", "right": False, "off": "leak", "near": False, "lines": lines(("train record", other))}
        for what, other in found.items()
    ]
    return bare(record, photo, badness) | {"fields": fields}
