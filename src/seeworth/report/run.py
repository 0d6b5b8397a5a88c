"""The verb `report`: an evaluation folder -> one HTML file that opens from disk and fetches nothing.

`view` says what is shown, report.html places it, the package `page` has style sheet and charts. Knows nothing of models or of measuring.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import UndefinedError
from rich.console import Console

from ..errors import RunError, told_as
from ..evaluate import run as evaluation
from ..evaluate.folder import read_manifest
from ..evaluate.show import show as show_figures
from ..files import write_whole
from ..page.render import render as template
from ..settings import EvaluateSettings, ReportSettings
from . import cards, compare_view, data_view, intervals_view, records, view

PAGE = "report.html"


def run(settings: ReportSettings) -> Path:
    """Write the page; return its path. Raises RunError when the folder holds no evaluation."""
    path = settings.output or settings.evaluation / PAGE
    page = render(settings.evaluation)
    with told_as(RunError, OSError, where=path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page)
    print(f"report: {path}")
    return path


def evaluate_and_report(settings: EvaluateSettings) -> None:
    """The verb `evaluate`: measure, print the figures, and draw the page. Raises RunError for a fault that the evaluation found."""
    folder = evaluation.run(settings)
    run(ReportSettings(evaluation=folder))
    evaluation.demand(read_manifest(folder), folder, allow_ungrounded=settings.allow_ungrounded)


def show(folder: Path, console: Console | None = None) -> None:
    """Print an evaluation's figures and where its page is. Raises RunError when the folder holds no evaluation."""
    console = console or Console()
    show_figures(read_manifest(folder), console)
    console.print(f"report: {folder / PAGE}", markup=False, highlight=False, soft_wrap=True)


def render(folder: Path) -> str:
    """The page of an evaluation folder. Raises RunError when the folder holds no evaluation, or a broken one."""
    content = read_manifest(folder)
    where = f"{folder / 'evaluation.json'} is broken, evaluate once more"
    with told_as(RunError, KeyError, TypeError, IndexError, ValueError, AttributeError, UndefinedError, where=where):
        shown = _sections(content, folder)
        return template("seeworth.report", "report.html", content=content, **shown)


def _sections(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    photos = cards.Thumbnails(content, folder)
    return {
        "table": view.figure_rows(content),
        "interval_charts": view.interval_charts(content),
        "skills": view.skill_rows(content),
        "slices": view.slice_tables(content),
        "curves": view.learning_curves(content, folder / "log.jsonl"),
        "scatters": view.scatters(content),
        "confusions": view.confusions(content),
        "grounding": view.grounding(content),
        "galleries": cards.galleries(content, photos),
        "records": records.table(content),
        "leaks": data_view.leaks(content, photos),
        "comparison": compare_view.shown(content, photos),
        "intervals": intervals_view.shown(content),
    }
