"""Occlusion maps over the photos of cards: how far the answer moved with each part of the photo covered.

The numbers are those of EVALUATION/occlusion.json, see `predict.occlusion`; nothing is measured here. card.html places the maps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from markupsafe import Markup

from ..errors import RunError
from ..evaluate.words import figure
from ..page.charts import isolated

Content: TypeAlias = Mapping[str, Any]

FILE = "occlusion.json"
FAINT = 0.05  # of a change: a map whose largest is smaller is drawn as faint as it is
STRONG = 0.7  # opacity of the largest change


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Record id -> its map, with the `fields` of all; {} where none was made. Raises RunError for a file that cannot be read."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: {**one, "fields": content["fields"]} for name, one in content["records"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise RunError(f"{path} cannot be read ({type(problem).__name__}: {problem}): evaluate once more") from problem


def maps(one: Content | None, photo: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """A map for each field, numbers first: overlay, the strongest change in words, rows of numbers in words; [] where there is none."""
    if one is None or photo is None:
        return []
    kinds = {name: about["kind"] for name, about in one["fields"].items()}
    changes = sorted(one["changes"].items(), key=lambda pair: kinds[pair[0]] != "number")
    return [_map(field, grid, kinds[field] == "category", photo["width"], photo["height"]) for field, grid in changes]


def _map(field: str, grid: Sequence[Sequence[float | None]], category: bool, width: int, height: int) -> dict[str, Any]:
    known = [(abs(value), value, y, x) for y, row in enumerate(grid) for x, value in enumerate(row) if value is not None]
    most = max(known, default=(0.0, 0.0, 0, 0))
    words = f"{field}: no number was read"
    if known:
        words = f"{field}: {_moves(most[1], category)} where row {most[2] + 1}, column {most[3] + 1} is covered, the most of all"
    scale = STRONG / max(most[0], FAINT)
    wide, high = width / len(grid[0]), height / len(grid)
    drawn = Markup("").join(_cell(field, x, y, value, category, scale, wide, high) for size, value, y, x in known if size)
    label = f"{field}: what moves when a part of the photo is covered"
    chart = Markup('<svg class="looks" role="img" aria-label="{}" viewBox="0 0 {} {}" data-field="{}">{}</svg>')
    return {"field": field, "chart": chart.format(label, width, height, field, drawn), "words": words, "rows": list(_rows(grid, category))}


def _cell(field: str, x: int, y: int, value: float, category: bool, scale: float, wide: float, high: float) -> Markup:
    words = f"{isolated(field)}, row {y + 1}, column {x + 1} covered: {_moves(value, category)}"
    kind = "down" if (value > 0) == category else "up"
    place = (f"{part:.1f}" for part in (x * wide, y * high, wide, high))
    return Markup('<rect class="look {}" fill-opacity="{:.2f}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        kind, abs(value) * scale, *place, words
    )


def _moves(value: float, category: bool) -> str:
    """A change in words: of a number in %, of a category in points of its probability (which falls where the value is above 0)."""
    if category:
        return f"{_signed(-100 * value)} points of probability"
    return f"{_signed(100 * value)} %"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{figure(abs(round(value, 1)))}"


def _rows(grid: Sequence[Sequence[float | None]], category: bool) -> Iterator[list[str]]:
    for row in grid:
        yield ["none" if value is None else _signed(100 * (-value if category else value)) for value in row]
