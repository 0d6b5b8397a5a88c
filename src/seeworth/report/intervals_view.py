"""What the page shows of intervals, of the model's confidence and of abstaining: evaluation.json in words, tables and charts.

Every number comes from evaluation.json; nothing is measured here. intervals.html places it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ..evaluate.estimate import Estimate
from ..evaluate.words import interval, number
from ..page import charts
from .cell import cell

Content: TypeAlias = Mapping[str, Any]


def shown(content: Content) -> dict[str, Any] | None:
    """The section; None for an evaluation of a version that knew no intervals."""
    data = content.get("intervals")
    if data is None:
        return None
    if data["why_not"]:
        return {"why_not": data["why_not"], "sentences": [], "fields": [], "reliability": [], "abstain": []}
    return {
        "why_not": "",
        "coverage": f"{100 * data['coverage']:g} %",
        "smallest": data["smallest"],
        "category": data["category"],
        "sentences": data["sentences"],
        "fields": [_field(name, one) for name, one in data["fields"].items()],
        "reliability": [_reliability(name, one) for name, one in data["reliability"].items() if one is not None],
        "abstain": [_abstain(name, one) for name, one in data["abstain"].items() if one["curve"]],
    }


def _field(name: str, data: Content) -> dict[str, Any]:
    return {
        "name": name,
        "scale": data["scale"],
        "groups": data["groups"],
        "records": data["records"],
        "ways": [_way(way, one, data["unit"], way == data["used"]) for way, one in data["ways"].items()],
        "categories": [_category(one) for one in data["categories"]],
        "without_own": len(data["without_own"]),
    }


def _way(way: str, data: Content, unit: str, used: bool) -> dict[str, Any]:
    factor = data["factor"]
    return {
        "way": way,
        "used": used,
        "coverage": cell(data["coverage"], "share"),
        "width": cell(data["width"], unit),
        "factor": None if factor is None else f"{factor['value']:.2f}",
        "endless": data["endless"],
    }


def _category(data: Content) -> dict[str, Any]:
    return {
        "category": data["category"],
        "wide": _wide(data["quantile"]),
        "groups": data["groups"],
        "coverage": cell(data["coverage"], "share"),
    }


def _wide(quantile: float | None) -> str:
    return "no end" if quantile is None else number(quantile)


def _reliability(field: str, data: Content) -> dict[str, Any]:
    points, rows = [], []
    for one in data["bins"]:
        found = Estimate.from_dict(one["accuracy"])
        ends = " to ".join(f"{100 * one[end]:.2f}" for end in ("from", "to"))
        rows.append({"says": f"{100 * one['confidence']:.2f} %", "ends": ends, **cell(one["accuracy"], "share")})
        words = f"says {number(one['confidence'], 'share')}, right {number(found.value, 'share')} ({interval(found, 'share')}) of {found.n}"
        points.append((100 * one["confidence"], charts.Bar("", 100 * found.value, 100 * found.low, 100 * found.high, words)))
    axes = {"x_axis": f"confidence in {field}, %", "y_axis": "right, %"}
    title = f"{field}: how often the model is right by how sure it is, {len(points)} bins of {data['n']} answers"
    return {
        "field": field,
        "chart": charts.reliability(points, title=title, **axes),
        "rows": rows,
        "ece": cell(data["ece"], "share"),
        "chance": number(data["chance"], "share"),
    }


def _abstain(field: str, data: Content) -> dict[str, Any]:
    curve = charts.Line("wrong among the answered", [(100 * answered, 100 * wrong) for answered, wrong in data["curve"]])
    title = f"{field}: errors by the share of records answered, the surest first"
    return {
        "field": field,
        "chart": charts.lines([curve], title=title, x_axis="records answered, %", y_axis=f"{field} wrong, %"),
        "answered": cell(data["answered"], "share"),
        "error": cell(data["error"], "share"),
    }
