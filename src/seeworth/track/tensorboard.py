"""TensorBoard as a listener: event files in `OUT/tensorboard`, read by `tensorboard --logdir OUT/tensorboard`.

A resumed run adds an event file that hides what an earlier one says of later steps, which is how TensorBoard itself resumes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .listener import About, Row
from .photos import picture

SIDE = 336  # px, longer side of a shown photo
SHOWN = 8  # photos of an evaluation that are shown; the text has them all


class TensorBoard:
    """A log folder of TensorBoard; see `Listener`."""

    name = "tensorboard"

    def __init__(self, about: About) -> None:
        self.about = about
        self.heard = 0
        self.step = 0

    def open(self, state: Mapping[str, Any] | None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as problem:
            raise RuntimeError(f"TensorBoard is not installed ({problem}): pip install 'seeworth[track]'") from problem
        folder = self.about.folder / "tensorboard"
        self.step, self.heard = (state["step"], state["heard"]) if state and folder.is_dir() else (0, 0)
        self.writer = SummaryWriter(str(folder), purge_step=self.step + 1 if state else 0)
        if not self.heard:
            self.writer.add_text("settings", _code(json.dumps(self.about.config, indent=2, default=str)), 0)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.step = step
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)

    def speed(self, step: int, figures: Mapping[str, float]) -> None:
        self.log(step, figures)

    def answers(self, step: int, name: str, rows: Sequence[Row]) -> None:
        """The photos as images, and all the answers as one table in text."""
        from numpy import asarray

        self.step = step
        for number, row in enumerate(rows[:SHOWN]):
            if shown := picture(self.about.data, row, SIDE):
                self.writer.add_image(f"{name}/{number}", asarray(shown), step, dataformats="HWC")
        lines = [f"| {_cell(row['id'])} | {_cell(row['truth'])} | {_cell(row['answer'])} |" for row in rows]
        self.writer.add_text(name, "\n".join(["| id | truth | answer |", "| --- | --- | --- |", *lines]), step)

    def summary(self, figures: Mapping[str, float]) -> None:
        lines = [f"| {_cell(name)} | {value:.6g} |" for name, value in figures.items()]
        self.writer.add_text("summary", "\n".join(["| figure | value |", "| --- | --- |", *lines]), self.step)

    def flush(self) -> None:
        self.writer.flush()

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "heard": self.heard}

    def keep(self, about: Mapping[str, Any]) -> None:
        """TensorBoard keeps no artifacts."""

    def close(self, failed: bool) -> None:
        self.writer.close()


def _cell(words: object) -> str:
    """Words from data in a Markdown table: one line, and no mark of the table's own."""
    return " ".join(str(words).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
