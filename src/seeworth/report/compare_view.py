"""What the page shows of a comparison with another model: evaluation.json in words and tables, with the photos of what changed.

Every number comes from evaluation.json; nothing is measured here. compare.html places it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ..evaluate.compare import difference_words
from .cards import Thumbnails, bare, lines
from .cell import cell

Content: TypeAlias = Mapping[str, Any]
HEADINGS = (("better", "Changed for the better"), ("worse", "Changed for the worse"))
MARKS = {1: ("better", "good"), 0: ("no clear difference", "mixed"), -1: ("worse", "bad"), None: ("", "mixed")}


def shown(content: Content, photos: Thumbnails) -> dict[str, Any] | None:
    """The section; None where nothing was compared."""
    data = content.get("comparison")
    if data is None:
        return None
    badness = {score["record_id"]: score["badness"] for score in content["scores"]}
    return {
        "other": data["other"],
        "records": data["records"],
        "verdict": data["verdict"],
        "warnings": data["warnings"],
        "rows": [_row(name, one) for name, one in data["figures"].items()],
        "changes": data["changes"],
        "galleries": [
            {
                "heading": heading,
                "many": data["changes"][kind],
                "cards": [_card(one, photos(one["record_id"]), badness[one["record_id"]]) for one in data["changed"][kind]],
            }
            for kind, heading in HEADINGS
        ],
    }


def _row(name: str, one: Content) -> dict[str, Any]:
    word, tone = MARKS[one["outcome"]]
    cells = {who: cell(one[who], one["unit"]) for who in ("ours", "other")}
    n = one["difference"]["n"]
    difference = {"words": difference_words(one), "n": n, "outcome": word if n else "", "tone": tone, "raw": one["difference"]["value"]}
    return {"name": name, "label": one["label"], "main": one["main"], **cells, "difference": difference}


def _card(one: Content, photo: Any, badness: float) -> dict[str, Any]:
    fields = [
        {"name": name, "right": False, "off": "", "lines": lines(("true", data["truth"]), ("now", data["ours"]), ("other", data["other"]))}
        for name, data in one["fields"].items()
        if data["ours"] != data["other"]
    ]
    words = [one["ours"], one["other"]]
    return bare(one["record_id"], photo, badness) | {"fields": fields, "words": words, "summary": "The words of both"}
