"""Listener: the shape of a tracker; `listeners` makes those that `report_to` names. Knows nothing of any tracker's insides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ..errors import SettingsError

STEP = "train/global_step"
"""The axis of every figure: optimizer steps done."""
LINE = "log_line"
"""Beside each event at a tracker: which line of log.jsonl it is, from 1; says what the tracker holds when it is opened again."""

Row: TypeAlias = Mapping[str, Any]
"""One answered record, JSON-able: id, photo (relative to the dataset folder), truth, answer, fields, problems; see `train.answers`."""


@dataclass(frozen=True)
class About:
    """What a tracker is told of a run before its first event.

    Attributes:
        folder: the run folder; all that a tracker writes lies in it.
        data: the dataset folder, where the photos of the answers lie.
        project, name, job_type: how the run is filed.
        config: the resolved settings, and the fingerprint of the data.
    """

    folder: Path
    data: Path
    project: str
    name: str
    job_type: str
    config: Mapping[str, Any]


class Listener(Protocol):
    """A tracker. Every method may raise: `Track` tells it and goes on without.

    Attributes:
        name: as report_to has it.
        heard: how many lines of log.jsonl it holds; set by `open` from what it finds, counted on by `Track`.
    """

    name: str
    heard: int

    def open(self, state: Mapping[str, Any] | None) -> None:
        """Start, or go on with the run of which `state` was said."""

    def log(self, step: int, figures: Mapping[str, float]) -> None: ...
    def speed(self, step: int, figures: Mapping[str, float]) -> None: ...
    def answers(self, step: int, name: str, rows: Sequence[Row]) -> None: ...
    def summary(self, figures: Mapping[str, float]) -> None: ...

    def flush(self) -> None:
        """Bring what was heard to the disk."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, JSON-able: the run's id."""
        ...

    def keep(self, about: Mapping[str, Any]) -> None:
        """The run folder is whole but for run.json, which will say `about`: keep the model as an artifact, where the tracker has such."""

    def close(self, failed: bool) -> None: ...


def listeners(report_to: str, about: About, *, main: bool = True) -> list[Listener]:
    """The trackers named in `report_to`, comma-separated, not yet opened; none where `main` is False (a process of rank > 0).

    Raises SettingsError for a name that is not known.
    """
    return [_MAKERS[name](about) for name in tracker_names(report_to) if main]


def tracker_names(report_to: str) -> list[str]:
    """The trackers that `report_to` names, each once. Raises SettingsError for a name that is not known."""
    names = [part.strip() for part in report_to.split(",") if part.strip()]
    for name in names:
        if name not in (*_MAKERS, "none"):
            raise SettingsError(f"report_to names {name!r}, expected some of {', '.join(_MAKERS)}, or none")
    if "none" in names and len(names) > 1:
        raise SettingsError(f"report_to is {report_to!r}: none stands alone, or name the trackers without it")
    return [name for name in dict.fromkeys(names) if name != "none"]


def _wandb(about: About) -> Listener:
    from .wandb import Wandb

    return Wandb(about)


def _tensorboard(about: About) -> Listener:
    from .tensorboard import TensorBoard

    return TensorBoard(about)


def _trackio(about: About) -> Listener:
    from .trackio import Trackio

    return Trackio(about)


_MAKERS: dict[str, Callable[[About], Listener]] = {"wandb": _wandb, "tensorboard": _tensorboard, "trackio": _trackio}
