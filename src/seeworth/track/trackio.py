"""Trackio as a listener: a database in `OUT/trackio`, shown by `TRACKIO_DIR=OUT/trackio trackio show`; or the place TRACKIO_SPACE_ID names.

Trackio writes a moment later in a thread of its own; a resumed run asks the database which lines of the log it holds. It finds its run by
project and name, which in a place that the user named may be another training's: there the checkpoint's id must be its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .listener import LINE, About, Row
from .photos import picture

SIDE = 336  # px, longer side of a shown photo


class Trackio:
    """A run of Trackio; see `Listener`."""

    name = "trackio"

    def __init__(self, about: About) -> None:
        self.about = about
        self.heard = 0
        self.folder = (about.folder / "trackio").resolve()
        self.ours = False

    def open(self, state: Mapping[str, Any] | None) -> None:
        self.ours = "TRACKIO_DIR" not in os.environ
        if self.ours:
            os.environ["TRACKIO_DIR"] = str(self.folder)
            if state is None:  # of a start that was killed before its first checkpoint, perhaps with other settings
                shutil.rmtree(self.folder, ignore_errors=True)
        self.trackio = _import()
        with contextlib.redirect_stdout(io.StringIO()):  # it greets at length
            self.run = self.trackio.init(
                self.about.project,
                name=self.about.name,
                config=_plain(self.about.config),
                resume="allow" if self.ours or self._goes_on(state) else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.heard = self._lines()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log({**figures, LINE: self.heard + 1}, step=step)

    def speed(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=step)

    def answers(self, step: int, name: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        cells = [self._row(row) for row in rows]
        table = self.trackio.Table(columns=list(cells[0]), data=[list(one.values()) for one in cells])
        self.run.log({name: table, LINE: self.heard + 1}, step=step)

    def summary(self, figures: Mapping[str, float]) -> None:
        """Trackio has no summary: the last figures are on its curves already."""

    def flush(self) -> None:
        """Nothing: what its thread had not written is told again."""

    def state(self) -> dict[str, Any]:
        return {"id": self.run.id}

    def keep(self, about: Mapping[str, Any]) -> None:
        """The run folder is the model's home; Trackio is told no copy."""

    def close(self, failed: bool) -> None:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self.trackio.finish()
        finally:
            if self.ours:
                os.environ.pop("TRACKIO_DIR", None)
            self.ours = False

    def _row(self, row: Row) -> dict[str, Any]:
        shown = picture(self.about.data, row, SIDE)
        cells = {"id": row["id"], "photo": shown and self.trackio.Image(shown), "truth": row["truth"], "answer": row["answer"]}
        return cells | {f"{name} read": field["read"] for name, field in row["fields"].items()} | {"problems": "; ".join(row["problems"])}

    def _goes_on(self, state: Mapping[str, Any] | None) -> bool:
        """Whether the run of this name is the checkpoint's, as far as can be asked: a Space or a server is not."""
        from trackio.sqlite_storage import SQLiteStorage

        if state is None or "TRACKIO_SPACE_ID" in os.environ or "TRACKIO_SERVER_URL" in os.environ:
            return state is not None
        latest = SQLiteStorage.get_latest_run_record_by_name(self.about.project, self.about.name)
        return latest is not None and latest["id"] == state["id"]

    def _lines(self) -> int:
        """The highest line of log.jsonl in the database."""
        from trackio.sqlite_storage import SQLiteStorage

        logs = SQLiteStorage.get_logs(self.about.project, self.about.name, run_id=self.run.id)
        return max((int(one[LINE]) for one in logs if LINE in one), default=0)


def _import() -> Any:
    """trackio, which settles at its import where a process keeps everything. Raises RuntimeError."""
    try:
        import trackio
        from trackio.utils import TRACKIO_DIR
    except ImportError as problem:
        raise RuntimeError(f"Trackio is not installed ({problem}): pip install 'seeworth[track]'") from problem
    if Path(TRACKIO_DIR) != Path(os.environ["TRACKIO_DIR"]):
        raise RuntimeError(f"it keeps to one folder a process, and {TRACKIO_DIR} was first: train the next run in a process of its own")
    return trackio


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, str | int | float | bool | None) else str(value) for key, value in config.items()}
