"""Where a run's numbers go: log.jsonl always, and Weights & Biases as one more listener to the same events.

Everything of an offline W&B run lies inside the run folder, so that the folder can be moved and synced later. A listener that
fails is told once on stderr and left out from then on; it never stops the work. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

import json
import netrc
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

from .errors import SettingsError

STEP = "train/global_step"


class Listener(Protocol):
    """Hears every event of a run."""

    def log(self, step: int, figures: Mapping[str, float]) -> None: ...
    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def finish(self, summary: Mapping[str, float]) -> None: ...


class Track:
    """Writes every event to `folder/log.jsonl` and passes it on to the listeners.

    Args:
        folder: the run folder.
        listeners: what else hears the events.
    """

    def __init__(self, folder: Path, listeners: Sequence[Listener] = ()) -> None:
        self.path = folder / "log.jsonl"
        self.path.write_text("", encoding="utf-8")
        self.listeners = list(listeners)
        self.start = time.time()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures at an optimizer step, e.g. {"train/loss": 1.2}."""
        self._write({"step": step, "seconds": round(time.time() - self.start, 1), **figures})
        self._tell("log", step, figures)

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table of answers: each row holds `photo` (a path, or None), `truth`, `answer` and the fields read."""
        plain = [{key: str(value) for key, value in row.items()} for row in rows]
        self._write({"step": step, name: plain})
        self._tell("answers", step, name, rows)

    def finish(self, summary: Mapping[str, float]) -> None:
        """The best or last figures; closes the listeners."""
        self._write({"summary": dict(summary)})
        self._tell("finish", summary)

    def _write(self, event: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")

    def _tell(self, verb: str, *args: Any) -> None:
        for listener in list(self.listeners):
            try:
                getattr(listener, verb)(*args)
            except Exception as problem:  # a tracker's failure never stops the run
                self.listeners.remove(listener)
                print(f"tracker {type(listener).__name__} failed and is left out from now on: {problem}", file=sys.stderr)


class Wandb:
    """A Weights & Biases run inside `folder/wandb`; offline unless the user is logged in or WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, *, project: str, name: str, job_type: str, config: Mapping[str, Any]) -> None:
        home = (folder / "wandb").resolve()
        home.mkdir(parents=True, exist_ok=True)
        for variable, place in (("WANDB_DATA_DIR", "data"), ("WANDB_CACHE_DIR", "cache"), ("WANDB_CONFIG_DIR", "config")):
            os.environ[variable] = str(home / place)
        import wandb

        self.wandb = wandb
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", project),
            name=name,
            job_type=job_type,
            dir=str(folder.resolve()),
            config=dict(config),
            mode=wandb_mode(),
            settings=settings,
            reinit="create_new",
        )
        self.run.define_metric(STEP)
        for family in ("train/*", "eval/*", "final/*"):
            self.run.define_metric(family, step_metric=STEP)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log({**figures, STEP: step})

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        columns = list(rows[0])
        table = self.wandb.Table(columns=columns)
        for row in rows:
            cells = [self.wandb.Image(str(row[key])) if key == "photo" and row[key] else str(row[key]) for key in columns]
            table.add_data(*cells)
        self.run.log({name: table, STEP: step})

    def finish(self, summary: Mapping[str, float]) -> None:
        self.run.summary.update(dict(summary))
        self.run.finish()


def listeners(report_to: str, folder: Path, **about: Any) -> list[Listener]:
    """The trackers named in `report_to`, comma-separated. Raises SettingsError for a name that is not known.

    One that cannot start is told on stderr and left out.
    """
    found: list[Listener] = []
    for name in filter(None, (part.strip() for part in report_to.split(","))):
        if name == "none":
            continue
        if name != "wandb":
            raise SettingsError(f"report_to names {name!r}, expected wandb or none")
        try:
            found.append(Wandb(folder, **about))
        except Exception as problem:  # as above: never stops the run
            print(f"Weights & Biases could not start and is left out: {problem}", file=sys.stderr)
    return found


def wandb_mode() -> Any:
    """WANDB_MODE when set; else "online" where an API key is at hand, else "offline"."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return "online" if netrc.netrc().authenticators(host) else "offline"
    except (OSError, netrc.NetrcParseError):
        return "offline"
