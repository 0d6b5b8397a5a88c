"""What the page shows: evaluation.json in words, tables and charts, section by section.

Every number comes from evaluation.json; nothing is measured here, and the page's look is left to report.html and the package `page`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from markupsafe import Markup

from ..evaluate.estimate import Estimate
from ..evaluate.words import absent, figure, interval, number
from ..page import charts
from .cell import cell

Content: TypeAlias = Mapping[str, Any]

REST, ANOTHER, UNREAD = "(the rest)", "(not in the data)", "(unread)"
CATEGORIES = 40  # rows of a confusion chart, the most frequent ones
CURVE_POINTS = 300
MISTAKES = 200  # listed of a category field, the most frequent ones
POINTS = 5000  # of a scatter


def figure_rows(content: Content) -> dict[str, Any]:
    """The table of figures: names of the columns, and rows of cells with value, interval and n."""
    names = baseline_names(content)
    rows = []
    for name, one in content["figures"].items():
        found = [("model", one["model"]), *((each, one["baselines"].get(each)) for each in names)]
        cells = [_cell(who, data, one["unit"], absent(content["figures"], name, who)) for who, data in found]
        rows.append({"name": name, "label": one["label"], "main": one["main"], "cells": cells})
    return {"columns": ["model", *names], "rows": rows}


def baseline_names(content: Content) -> list[str]:
    """Every baseline that some figure has, in order."""
    return list(dict.fromkeys(name for one in content["figures"].values() for name in one["baselines"]))


def interval_charts(content: Content) -> list[Markup]:
    """One chart a field: the model and each baseline with its interval."""
    return [_interval_chart(one) for one in content["figures"].values() if one["main"]]


def skill_rows(content: Content) -> list[dict[str, Any]]:
    """One table a main figure: the model's skill against each baseline, the hardest marked, and what that means in a word."""
    words = {1: "better", 0: "no better", -1: "worse"}
    found = []
    for figure_name, one in content["skill"].items():
        rows = []
        for name, data in one["against"].items():
            skill = Estimate.from_dict(data["skill"])
            value = "none" if math.isnan(skill.value) else f"{skill.value:.2f}"
            ends = "no interval" if math.isnan(skill.low) else f"{skill.low:.2f} to {skill.high:.2f}"
            tone = {1: "good", 0: "mixed", -1: "bad"}[data["outcome"]]
            told = {"raw": data["skill"]["value"], "outcome": words[data["outcome"]], "tone": tone}
            cells = {"value": value, "interval": ends, "n": skill.n, **told}
            rows.append({"name": name, "best": name == one["best"], **cells})
        if rows:
            found.append({"figure": figure_name, "label": content["figures"][figure_name]["label"], "rows": rows})
    return found


def slice_tables(content: Content) -> list[dict[str, Any]]:
    """One table a column: a row a slice with n, groups, whether it is weak, and its figures."""
    found = []
    for column in content["slices"]:
        names = [name for name in content["figures"] if any(name in one["figures"] for one in column["slices"])]
        rows = []
        for one in column["slices"]:
            cells = [_cell("model", one["figures"].get(name), content["figures"][name]["unit"]) for name in names]
            rows.append({"name": one["name"], "n": one["n"], "groups": one["groups"], "weak": one["weak"], "cells": cells})
        labels = [content["figures"][name]["label"] for name in names]
        found.append({"column": column["column"], "labels": labels, "rows": rows, "weak": any(row["weak"] for row in rows)})
    return found


def learning_curves(content: Content, log: Path) -> list[Markup]:
    """Charts of the training log: losses, shares on validation records, and each number's mean error."""
    events = _read_log(log)
    shares = [(name, one["label"]) for name, one in content["figures"].items() if one["unit"] == "share"]
    errors = [(name, one) for name, one in content["figures"].items() if one["main"] and one["unit"] not in ("share", "similarity")]
    losses = [_curve(events, "train/loss", "train"), _curve(events, "eval/loss", "validation")]
    found = [
        charts.lines(losses, title="Loss by training step", x_axis="training step", y_axis="loss"),
        charts.lines(
            [_curve(events, f"eval/{name}", label, 100) for name, label in shares],
            title="Share of validation answers by training step", x_axis="training step", y_axis="% of validation records", top=100,
        ),
    ]
    for name, one in errors:
        axis = f"{one['label']}, {one['unit']}" if one["unit"] else one["label"]
        curve = _curve(events, f"eval/{name}", f"{one['label']} (validation)")
        found.append(charts.lines([curve], title=f"{one['label']} by training step", x_axis="training step", y_axis=axis))
    return [chart for chart in found if chart]


def scatters(content: Content) -> list[dict[str, Any]]:
    """Number read against true number, one chart a number field, with how many answers could not be drawn."""
    found = []
    for one in content["task"]["fields"]:
        scored = [(score, score["fields"][one["name"]]) for score in content["scores"] if one["name"] in score["fields"]]
        if one.get("kind") != "number" or not scored:
            continue
        unit = one.get("unit") or ""
        read = [(score, field) for score, field in scored if field["answer"] is not None]
        drawn = read[:: max(1, math.ceil(len(read) / POINTS))]
        points = [(float(f["truth"]), float(f["answer"]), _pair(score, f, unit)) for score, f in drawn]
        x_axis, y_axis = (f"{words}, {unit}" if unit else words for words in (f"true {one['name']}", f"{one['name']} read"))
        title = f"{one['name']}: read against true, {len(points)} records"
        chart = charts.scatter(points, title=title, x_axis=x_axis, y_axis=y_axis)
        found.append({"field": one["name"], "chart": chart, "drawn": len(points), "read": len(read), "unread": len(scored) - len(read)})
    return found


def confusions(content: Content) -> list[dict[str, Any]]:
    """One heat map a category field: true categories down, answered ones across."""
    found = []
    for field, pairs in content["confusion"].items():
        rows, columns, counts = confusion_table(pairs)
        right = sum(count for truth, answer, count in pairs if truth == answer)
        total = sum(count for *_, count in pairs)
        words = f"{field}: {right} of {total} right, over {len(rows)} categories"
        chart = charts.heatmap(rows, columns, counts, title=words)
        mistakes = _mistakes(pairs)
        listed, more = mistakes[:MISTAKES], max(0, len(mistakes) - MISTAKES)
        found.append({"field": field, "chart": chart, "words": words, "mistakes": listed, "more": more})
    return found


def confusion_table(pairs: Sequence[Sequence[Any]], most: int = CATEGORIES) -> tuple[list[str], list[str], list[list[int]]]:
    """Rows (true), columns (answered) and counts. Beyond the `most` frequent true categories all go into one row."""
    by_truth: dict[str, int] = {}
    for truth, _, count in pairs:
        by_truth[truth] = by_truth.get(truth, 0) + count
    kept = sorted(sorted(by_truth, key=lambda name: -by_truth[name])[:most])
    table: dict[tuple[str, str], int] = {}
    for truth, answer, count in pairs:
        row = truth if truth in kept else REST
        column = UNREAD if answer is None else answer if answer in kept else REST if answer in by_truth else ANOTHER
        table[row, column] = table.get((row, column), 0) + count
    rows = kept + [REST for _ in range(len(by_truth) > len(kept))]
    columns = rows + [name for name in (ANOTHER, UNREAD) if any(column == name for _, column in table)]
    return rows, columns, [[table.get((row, column), 0) for column in columns] for row in rows]


def grounding(content: Content) -> dict[str, Any] | None:
    """The bars of own and spoilt photos, how many answers changed, and each field's drop; None when it was left out."""
    data = content["grounding"]
    if data is None:
        return None
    modes = data["modes"]
    own = ("its own photo", data["own"]["value"], "own")
    rows = [_percent_bar(label, Estimate.from_dict(value), kind) for label, value, kind in (own, *_spoilt(modes))]
    n = data["own"]["value"]["n"]
    chart = charts.bars(rows, title=f"{data['label']} with own and with spoilt photos", axis=f"{data['label']}, % of {n} records")
    labels = [one["label"] for one in next(iter(modes.values()))["fields"].values()]
    table = [
        {
            "label": one["label"],
            "changed": cell(one["changed"], "share"),
            "drops": [_drop(each["drop"]) for each in one["fields"].values()],
        }
        for one in modes.values()
    ]
    share = Estimate.from_dict(data["share_of_skill"])
    part = f"{number(share.value, 'share')} ({interval(share, 'share')})" if share.n else ""
    return {"tone": data["tone"], "verdict": data["verdict"], "chart": chart, "labels": labels, "table": table, "share": part}


def _drop(data: Content) -> dict[str, Any]:
    return {**cell(data, "share"), "value": f"{figure(Estimate.from_dict(data).value, 'share')} points"}


def _spoilt(modes: Content) -> list[tuple[str, Content, str]]:
    """Label, estimate and style of each mode's bar."""
    kinds = {"blank": "blank", "text": "blank"}
    return [(one["label"], one["value"], kinds.get(name, "swapped")) for name, one in modes.items()]


def _cell(who: str, data: Content | None, unit: str, absent: str = "none") -> dict[str, Any]:
    if data is None:
        return {"who": who, "given": absent}
    return {"who": who, "given": "", **cell(data, unit)}


def _interval_chart(one: Content) -> Markup:
    unit, factor = one["unit"], 100 if one["unit"] == "share" else 1
    rows = []
    for name, data in (("model", one["model"]), *one["baselines"].items()):
        found = Estimate.from_dict(data)
        words = f"{number(found.value, unit)} ({interval(found, unit)})"
        kind = "model" if name == "model" else "other"
        rows.append(charts.Bar(name, factor * found.value, factor * found.low, factor * found.high, words, kind))
    top = 100 if unit == "share" else None
    axis = "% of records" if unit == "share" else unit or one["label"]
    better = "more is better" if one["higher_is_better"] else "less is better"
    title = f"{one['label']}, model and baselines with 95 % intervals"
    return charts.intervals(rows, title=title, axis=f"{one['label']}, {axis} ({better})", top=top)


def _percent_bar(label: str, one: Estimate, kind: str) -> charts.Bar:
    words = f"{number(one.value, 'share')} ({interval(one, 'share')})"
    return charts.Bar(label, 100 * one.value, 100 * one.low, 100 * one.high, words, kind)


def _mistakes(pairs: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """What was answered as what, the most frequent first, and which share of its true category that is."""
    total: dict[str, int] = {}
    for truth, _, count in pairs:
        total[truth] = total.get(truth, 0) + count
    wrong = sorted(((truth, answer, count) for truth, answer, count in pairs if truth != answer), key=lambda row: -row[2])
    return [
        {
            "truth": truth,
            "answer": UNREAD if answer is None else answer,
            "count": count,
            "share": count / total[truth],
            "words": f"{number(count / total[truth], 'share')} of {total[truth]}",
        }
        for truth, answer, count in wrong
    ]


def _pair(score: Content, field: Content, unit: str) -> str:
    truth, answer = (number(float(field[key]), unit) for key in ("truth", "answer"))
    return f"{charts.isolated(score['record_id'])}: true {truth}, read {answer}"


def _read_log(path: Path) -> list[dict[str, Any]]:
    """The events that have a step; a line cut short by a training that was killed is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("step"), int | float):
            events.append(event)
    return events


def _curve(events: Sequence[Content], key: str, label: str, factor: float = 1) -> charts.Line:
    points = [(float(e["step"]), factor * float(e[key])) for e in events if isinstance(e.get(key), int | float) and math.isfinite(e[key])]
    return charts.Line(label, points[:: max(1, math.ceil(len(points) / CURVE_POINTS))])
