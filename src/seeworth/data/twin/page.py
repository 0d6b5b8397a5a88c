"""The figures of a twin in words: a few lines for the terminal and one HTML page, twin.html, that holds no real title or photo.

Knows nothing of how anything was drawn or measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ...page.charts import Line
from ...page.charts import lines as line_chart
from ...page.picture import data_uri, thumbnail
from ...page.render import render
from ..metadata import Row
from ..photo.decode import open_photo
from .learn import K, Structure
from .measure import NEAREST, SPLITS, Distance, Figures, Interval, Nearest

_GALLERY = 12
_POINTS = 40


def lines(figures: Figures) -> Iterator[str]:
    """The summary that is printed."""
    yield f"fidelity: {_verdict(figures)}"
    for one in figures.distances:
        if not one.near:
            yield f"  farther apart: {one.what} ({one.how}) {one.twin:.3f}, two halves {one.halves:.3f} ({one.low:.3f} to {one.high:.3f})"
    yield "privacy: no title, code, address, id or photo of the real set is in the twin"
    yield from (f"  note: {words}" for words in _warnings(figures))
    for near in figures.nearest:
        yield f"  {near.what}: {_nearest_words(near)}"


def draw(folder: Path, figures: Figures, twin: Sequence[Row], structure: Structure, rows: int, photos: int) -> str:
    """The page."""
    return render(
        "seeworth.data.twin", "twin.html",
        facts=_facts(figures, structure, rows, photos), verdict=_verdict(figures), near=all(one.near for one in figures.distances),
        warnings=_warnings(figures),
        distances=[_cells(one) for one in figures.distances], part=figures.part, splits=SPLITS, k=K,
        nearest=[{"what": near.what, "words": _nearest_words(near), "chart": _nearest_chart(near), "compared": near.compared,
                  "n": (len(near.twin), len(near.real))} for near in figures.nearest],
        kinds=_kinds(structure), gallery=[_card(folder, row, structure) for row in twin[:_GALLERY]],
        seeworth=version("seeworth"), most=NEAREST,
    )  # fmt: skip


def _verdict(figures: Figures) -> str:
    total, near = len(figures.distances), sum(one.near for one in figures.distances)
    if not total:
        return f"the real set has {figures.groups} groups, too few for two halves to be compared; nothing can be said"
    if near == total:
        return f"in all {total} distances the twin is as near to the real set as two halves of the real set are to each other"
    return f"in {near} of {total} distances the twin is as near to the real set as two halves of the real set are to each other"


def _warnings(figures: Figures) -> list[str]:
    """What comes nearer to real rows than chance explains: 5 % of new real rows would."""
    return [
        f"{_told(near.closer, 100)} % of the twin's {near.what.split(',')[0]} come nearer to a real one than 19 in 20 real ones do to "
        "those of other groups; 5 % of new real ones would: categories of a group or two shine through, or the set is small"
        for near in figures.nearest if near.closer.low > 0.05
    ]  # fmt: skip


def _nearest_words(near: Nearest) -> str:
    return (
        f"nearest real one at {_told(near.median_twin)} in the middle (n = {len(near.twin)}), for real rows among other groups "
        f"{_told(near.median_real)} (n = {len(near.real)}); {_told(near.closer, 100)} % come nearer than 19 in 20 real ones do"
    )


def _told(one: Interval, times: float = 1.0) -> str:
    digits = 2 if times == 1 else 1
    return f"{times * one.value:.{digits}f} ({times * one.low:.{digits}f} to {times * one.high:.{digits}f})"


def _facts(figures: Figures, structure: Structure, rows: int, photos: int) -> list[tuple[str, str]]:
    return [
        ("rows of the twin", f"{rows:,}, of which {photos:,} have a photo"),
        ("measured on", f"{figures.twin_rows:,} of them, and all {figures.rows:,} real records in {figures.groups:,} groups"),
        ("real set", f"fingerprint {structure.fingerprint[:16]}…"),
    ]


def _cells(one: Distance) -> dict[str, Any]:
    return {
        "what": one.what, "how": one.how, "twin": f"{one.twin:.3f}", "halves": f"{one.halves:.3f}",
        "range": f"{one.low:.3f} to {one.high:.3f}", "near": one.near, "bar": _bar(one),
    }  # fmt: skip


def _bar(one: Distance) -> Markup:
    """The range of two halves as a line, their median as a tick, the twin as a dot."""
    top = 1.15 * max(one.high, one.twin, 1e-9)
    low, high, middle, twin = (f"{4 + 112 * value / top:.1f}" for value in (one.low, one.high, one.halves, one.twin))
    words = f"{one.what}: twin {one.twin:.3f}, two halves {one.low:.3f} to {one.high:.3f}"
    return Markup(
        '<svg class="spark" role="img" aria-label="{}" viewBox="0 0 120 16"><title>{}</title><path class="whisker" d="M{} 8H{}M{} 3v10"/>'
        '<circle class="dot {}" cx="{}" cy="8" r="4"/></svg>'
    ).format(words, words, low, high, middle, "model" if one.near else "far", twin)


def _nearest_chart(near: Nearest) -> Markup:
    """The share of rows whose nearest real row is at most so far away."""
    series = []
    for label, found in (("twin to real", near.twin), ("real to other groups", near.real)):
        places = np.linspace(0, 1, _POINTS + 1)
        series.append(Line(label, [(float(np.quantile(found, place)), 100 * float(place)) for place in places]))
    axis = "distance, 0 the same to 1 nothing in common"
    return line_chart(series, title=f"Nearest real neighbour: {near.what}", x_axis=axis, y_axis="% of rows", top=100)


def _kinds(structure: Structure) -> list[tuple[str, str]]:
    """What each column was taken for, and what became of it."""
    told = []
    for name in structure.columns:
        if name in structure.photos:
            words = "names the photo: the drawn one"
        elif name in structure.copies:
            other = structure.copies[name].replace("\0", "")
            words = f"repeats {other}"
        elif name in structure.path:
            words = "category tree: kept, drawn as whole paths"
        else:
            words = _kind_words(name, structure)
        told.append((name, words))
    return told


def _kind_words(name: str, structure: Structure) -> str:
    kind = structure.kinds[name]
    if kind == "number" and (base := structure.numbers[name].base):
        return f"number that goes with {base.column}: drawn" + (f", {base.exact:g} times it" if base.exact else "")
    if kind == "text" and (other := structure.texts[name].follows):
        return f"text that goes with {other}: words of {K} groups or more, all else invented"
    if kind == "category":
        values = {value for link in structure.links if link.column == name for given in link.given.values() for value in given.things}
        return "constant: kept" if len(values) == 1 else f"category of {len(values)} values: kept"
    return {
        "number": "number: drawn by category", "text": f"text: words of {K} groups or more, all else invented",
        "code": "code: same pattern, fresh characters",
        "url": "address: same pattern, at hosts that end in .example", "date": "date: drawn between real ones",
        "email": "emails: made up, at mail.example", "phone": "telephone numbers: same form, fresh digits",
    }[kind]  # fmt: skip


def _card(folder: Path, row: Row, structure: Structure) -> dict[str, Any]:
    """One row of the twin as the gallery shows it."""
    photo = thumbnail(open_photo(folder / row.file_name), 200) if row.file_name else None
    return {
        "uri": data_uri(photo) if photo else None,
        "fields": [(one.name, str(row.values[one.name]), one.unit or "") for one in structure.task.fields],
    }
