"""What MODEL names: a run folder, or plain weights with a task. Its task and what tells it apart are known at once, its weights on demand.

Knows nothing of what is answered nor of what is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..encode import Encoder
from ..errors import SettingsError
from ..intervals import NAME, Intervals, read_intervals
from ..memory import keep_freed_memory
from ..run_folder import MANIFEST, read_run
from ..settings import PredictSettings
from ..task import Task
from .vlm import VLM, held_to, load_base, load_run

TASK_FILE = "task.yaml"


@dataclass(frozen=True)
class Named:
    """A model that is not loaded yet.

    Attributes:
        about: plain data that another model, or the same one trained further, does not share. intervals: None where it has none.
    """

    settings: PredictSettings
    task: Task
    about: Mapping[str, Any]
    intervals: Intervals | None
    is_run: bool

    def held(self) -> Task | None:
        """What answers are held to, as `load` finds it: the task, with the categories that may be said; None where words are free."""
        if not self.settings.constrained:
            return None
        if self.is_run:
            return held_to(read_run(Path(self.settings.model)), self.task, self.settings.free_categories)
        return self.task.without_choices() if self.settings.free_categories else self.task

    def load(self, held: Task | None = None) -> VLM:
        """Its weights on this machine's device. `held`: what `held` told where the records are; None looks it up here.

        Raises ModelError, RunError.
        """
        asked = self.settings
        if self.is_run:
            return load_run(
                Path(asked.model),
                batch_size=asked.batch_size,
                max_new_tokens=asked.max_new_tokens,
                constrained=held or asked.constrained,
                free_categories=asked.free_categories,
                distribution=asked.distribution,
                samples=asked.samples,
            )
        keep_freed_memory()
        model, processor = load_base(asked.model)
        return VLM(
            model.eval(),
            Encoder(processor, self.task),
            batch_size=asked.batch_size,
            max_new_tokens=asked.max_new_tokens,
            name=Path(asked.model).name,
            constrained=held or self.held(),
            distribution=asked.distribution,
            samples=asked.samples,
        )


def named(settings: PredictSettings) -> Named:
    """What `settings.model` names. Raises RunError for a folder that is no run, SettingsError for a task too many or one that lacks."""
    folder = Path(settings.model)
    if (folder / MANIFEST).is_file():
        if settings.task is not None:
            raise SettingsError(f"{folder} is a run and knows its task: leave --task out")
        about = read_run(folder)
        intervals = read_intervals(folder) if (folder / NAME).is_file() else None
        hashes = {name: _hash(folder / name) for name in (MANIFEST, NAME) if (folder / name).is_file()}
        return Named(settings, Task.from_dict(about["task"], where=folder / MANIFEST), hashes, intervals, True)
    task = settings.task or (folder / TASK_FILE if (folder / "config.json").is_file() else None)
    if task is None:
        read_run(folder)  # says what is wrong with it
    if task is None or not task.is_file():
        raise SettingsError(f"{settings.model}: is no run, so say what is asked of it: --task task.yaml with question, answer and fields")
    found = Task.load(task)
    return Named(settings, found, {"model": settings.model, "task": found.to_dict(), **_weights(folder)}, None, False)


def _weights(folder: Path) -> dict[str, Any]:
    """The hash of the configuration, and size and time of each file of weights: to hash gigabytes takes as long as to answer."""
    if not (folder / "config.json").is_file():
        return {}
    files = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(folder.glob("*.safetensors"))}
    return {"config.json": _hash(folder / "config.json"), **files}


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
