"""What the page shows of a comparison with another model: evaluation.json in words and tables, with the photos of what changed.

Every number comes from evaluation.json; nothing is measured here. compare.html places it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ..evaluate.compare import difference_words
from .cell import cell

Content: TypeAlias = Mapping[str, Any]
HEADINGS = (("better", "Changed for the better"), ("worse", "Changed for the worse"))
MARKS = {1: ("better", "good"), 0: ("no clear difference", "mixed"), -1: ("worse", "bad"), None: ("", "mixed")}


def shown(content: Content, photo: Callable[[int], Any]) -> dict[str, Any] | None:
    """The section; None where nothing was compared. `photo` gives the thumbnail of the N-th record, or None."""
    data = content.get("comparison")
    if data is None:
        return None
    place = {score["record_id"]: index for index, score in enumerate(content["scores"])}
    return {
        "other": data["other"],
        "records": data["records"],
        "verdict": data["verdict"],
        "warnings": data["warnings"],
        "rows": [_row(name, one) for name, one in data["figures"].items()],
        "changes": data["changes"],
        "galleries": [
            {"heading": heading, "many": data["changes"][kind], "cards": _cards(data["changed"][kind], place, photo)}
            for kind, heading in HEADINGS
        ],
    }


def _cards(changed: Sequence[Content], place: Mapping[str, int], photo: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [_card(one, photo(place[one["record_id"]])) for one in changed]


def _row(name: str, one: Content) -> dict[str, Any]:
    word, tone = MARKS[one["outcome"]]
    cells = {who: cell(one[who], one["unit"]) for who in ("ours", "other")}
    n = one["difference"]["n"]
    difference = {"words": difference_words(one), "n": n, "outcome": word if n else "", "tone": tone}
    return {"name": name, "label": one["label"], "main": one["main"], **cells, "difference": difference}


def _card(one: Content, photo: Any) -> dict[str, Any]:
    fields = [{"name": name, **data} for name, data in one["fields"].items() if data["ours"] != data["other"]]
    return {"id": one["record_id"], "photo": photo, "fields": fields, "ours": one["ours"], "other": one["other"]}
