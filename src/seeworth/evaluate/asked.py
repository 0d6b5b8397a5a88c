"""Asking: the model on its own photos and on spoilt ones, and the baselines; each one's words are written as they come.

Knows nothing of figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console

from ..data.ablate import blank, blur, swap, swap_within, without
from ..errors import DataError, SettingsError
from ..predict.baselines import baselines
from ..predict.heads import See, vision_baselines
from ..predict.predictor import Predictor
from ..record import Prediction, Record, write_predictions
from ..task import Task
from .core import Baseline
from .grounding import JUDGED, LABELS, label_of
from .occlusion import Cover
from .show import watched

LADDER = (2, 6, 18)  # % of the shorter side: small print, shape, and all but the colours are gone
MODES = (*LABELS, "blur")


@dataclass(frozen=True)
class Rivals:
    """What a loaded model can give besides its answers: to baselines what its vision tower sees, and itself before fine-tuning, and why
    one is not there; and a map of what its answer to a record hangs on."""

    see: See | None = None
    before: Predictor | None = None
    left_out: tuple[str, ...] = ()
    cover: Cover | None = None


@dataclass(frozen=True)
class Asker:
    """Asks and writes the words down: predictions.jsonl of whoever has no name, predictions-NAME.jsonl of the others."""

    folder: Path
    console: Console

    def __call__(self, predictor: Predictor, records: Sequence[Record], label: str, name: str = "") -> list[Prediction]:
        predictions: list[Prediction] = []

        def kept() -> Iterator[Prediction]:
            for prediction in watched(predictor(records), len(records), label, self.console):
                predictions.append(prediction)
                yield prediction

        ending = f"-{name.replace(' ', '-')}" if name else ""
        write_predictions(self.folder / f"predictions{ending}.jsonl", kept())
        return predictions


def modes_of(words: str) -> list[str]:
    """ "blank,text" -> its modes. Raises SettingsError for one that there is not, or when none is left that the verdict hangs on."""
    found = [one.strip() for one in words.split(",") if one.strip()]
    if strange := [one for one in found if one not in MODES]:
        raise SettingsError(f"grounding_modes: {strange[0]!r} is none, expected some of {', '.join(MODES)}")
    if not set(found) & set(JUDGED):
        judged = ", ".join(JUDGED)
        raise SettingsError(f"grounding_modes: expected at least one of {judged}, found {words!r}; grounding_records 0 asks none")
    return found


def ask_modes(
    ask: Asker, predictor: Predictor, task: Task, records: Sequence[Record], *, modes: Sequence[str], many: int, seed: int
) -> tuple[dict[str, list[Prediction]], list[str]]:
    """Ask again with spoilt photos: predictions by mode, and in sentences why a mode, or all of it, was left out.

    At most `many` records of one photo each are asked, drawn by the seed.
    """
    left_out = "The grounding check was left out: "
    single = [record for record in records if len(record.all_photos) == 1]  # what can be exchanged one for one
    if not many:
        return {}, [f"{left_out}grounding_records is 0."]
    if not single:
        return {}, [f"{left_out}no record has just one photo."]
    chosen = sorted(np.random.default_rng(seed).choice(len(single), min(many, len(single)), replace=False))
    asked = [single[index] for index in chosen]
    categories = task.of_kind("category")
    found: dict[str, list[Prediction]] = {}
    lacks = []
    with TemporaryDirectory(prefix="seeworth-spoilt-") as place:
        for mode in modes:
            made = _spoilt(mode, asked, Path(place), categories[0].name if categories else None, seed)
            if isinstance(made, str):
                lacks.append(f"{label_of(mode)} was left out of the grounding check: {made}.")
                continue
            for name, spoil in made.items():
                with _words_alone(predictor):
                    found[name] = ask(predictor, spoil(), f"answering with {label_of(name)}", name)
    return found, [one[0].upper() + one[1:] for one in lacks]


def ask_baselines(
    ask: Asker,
    task: Task,
    records: Sequence[Record],
    *,
    train: Sequence[Record],
    validation: Sequence[Record],
    answered: Sequence[Prediction],
    rivals: Rivals,
    seed: int,
) -> dict[str, Baseline]:
    """Fit every baseline on the train records and ask it; then the model before fine-tuning, where there is one."""
    ask.console.print("fitting the baselines on the train photos", highlight=False)
    fitted: list[Any] = [*baselines(task, train, answered)]
    if rivals.see is not None:
        fitted += vision_baselines(task, train, validation, rivals.see, seed=seed)
    found = {}
    for one in fitted:
        predictions = list(one(records))
        write_predictions(ask.folder / f"predictions-{one.name.replace(' ', '-')}.jsonl", predictions)
        found[one.name] = Baseline(predictions, one.given)
    if (before := rivals.before) is not None:
        found[before.name] = Baseline(ask(before, records, f"answering as the {before.name}", before.name))
    return found


def _spoilt(mode: str, records: list[Record], place: Path, category: str | None, seed: int) -> dict[str, Callable[[], list[Record]]] | str:
    """What makes the records of a mode, by name, a blur having several; or why there are none."""
    if mode == "blank":
        return {mode: lambda: blank(records, place / mode)}
    if mode == "text":
        return {mode: lambda: without(records)}
    if mode == "blur":
        return {f"blur_{percent}": _blurred(records, place, percent) for percent in LADDER}
    if mode == "same_category":
        if category is None:
            return "the task has no category"
        within = swap_within(records, seed, category)
        return {mode: lambda: within} if within else "no two records of one category are of different groups"
    try:
        swapped = swap(records, seed, category)
    except DataError as problem:
        return str(problem)
    return {mode: lambda: swapped}


def _blurred(records: list[Record], place: Path, percent: int) -> Callable[[], list[Record]]:
    return lambda: blur(records, place / f"blur_{percent}", percent)


@contextmanager
def _words_alone(predictor: Predictor) -> Iterator[None]:
    """Features of photos that were made up are not worth their room on the disk, nor is how likely other answers to them were."""
    off = ((getattr(predictor, "features", None), "keep", False), (predictor, "distribution", False), (predictor, "samples", 0))
    switched = [(one, name) for one, name, _ in off if hasattr(one, name)]
    before = [getattr(one, name) for one, name in switched]
    for one, name, value in off:
        if hasattr(one, name):
            setattr(one, name, value)
    try:
        yield
    finally:
        for (one, name), value in zip(switched, before, strict=True):
            setattr(one, name, value)
