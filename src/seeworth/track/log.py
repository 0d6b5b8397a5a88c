"""Track: log.jsonl and speed.jsonl, and what the listeners hear of them.

    log.jsonl     one event a line: figures at a step, a table of answers, the summary at the end; no clock, no path outside the dataset
    speed.jsonl   what the clock says: photos per second and the like; another run of the same settings has other figures here

A resumed run cuts log.jsonl back to what it held when the checkpoint was written and goes on, so that the end is bit-equal to that of
a run that was never killed. Listeners keep count of the lines they hold: what they hold already is not told again, what
they lack (they were killed before it reached the disk, or are new) is told from the file. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ..errors import RunError, told_as
from .listener import Listener, Row

LOG, SPEED = "log.jsonl", "speed.jsonl"


class Track:
    """Writes every event of a run and passes it on.

    Args:
        folder: the run folder.
        listeners: what else hears the events; opened here.
        resume: what `state` returned when the checkpoint was written that the run goes on from; None starts anew.
        main: False in a process of rank > 0, where every method does nothing.

    Raises RunError when log.jsonl is not the one that `resume` speaks of, or cannot be written.
    """

    def __init__(
        self, folder: Path, listeners: Sequence[Listener] = (), *, resume: Mapping[str, Any] | None = None, main: bool = True
    ) -> None:
        self.path = folder / LOG
        self.main = main
        self.listeners: list[Listener] = []
        if not main:
            return
        with told_as(RunError, OSError, where=self.path):
            self.lines, self.hash = _cut(self.path, resume)
            self.speed_path = _whole_lines(folder / SPEED, anew=resume is None)
        self.start = time.monotonic()
        for listener in listeners:
            self._open(listener, (resume or {}).get("trackers", {}).get(listener.name))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures at an optimizer step, e.g. {"train/loss": 1.2}; decided by data, settings and weights, never by the clock."""
        self._event({"step": step, **{name: _number(value) for name, value in figures.items()}})

    def answers(self, step: int, name: str, rows: Sequence[Row]) -> None:
        """A table of answers, as `train.answers` makes its rows; `name` is e.g. "eval/answers"."""
        self._event({"step": step, name: list(rows)})

    def speed(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures that the clock decides, e.g. {"train/photos_per_second": 11.8}; they are kept out of log.jsonl."""
        if not self.main:
            return
        told = {name: _number(value) for name, value in figures.items()}
        self._write(self.speed_path, {"step": step, "seconds": round(time.monotonic() - self.start, 1), **told})
        for listener in list(self.listeners):
            if listener.heard <= self.lines:  # else a part of the run that it has seen before
                self._ask(listener, "speed", step, figures)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold to go on from here: JSON-able. All that was written until now is on the disk when it returns."""
        if not self.main:
            return {}
        with told_as(RunError, OSError, where=self.path), self.path.open("rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        trackers = {one.name: one.state() for one in list(self.listeners) if self._ask(one, "flush")}
        return {"lines": self.lines, "bytes": size, "sha256": self.hash.hexdigest(), "trackers": trackers}

    def finish(self, summary: Mapping[str, float], about: Mapping[str, Any]) -> None:
        """The end of a run whose folder is whole but for run.json: its best or last figures, and what run.json will say.

        Listeners keep what they keep of the run folder, and are closed; call it before `write_run`, so that nothing is lost by a kill.
        """
        self._event({"summary": {name: _number(value) for name, value in summary.items()}})
        self.state()
        for listener in list(self.listeners):
            self._ask(listener, "keep", about)
        self.close()

    def close(self, *, failed: bool = False) -> None:
        """Close the listeners; `failed`: the run ended by an error. Safe to call twice."""
        for listener in list(self.listeners):
            self._ask(listener, "close", failed)
        self.listeners = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close(failed=error is not None)

    def _event(self, event: Mapping[str, Any]) -> None:
        if not self.main:
            return
        self.hash.update(self._write(self.path, event))
        self.lines += 1
        for listener in list(self.listeners):
            self._tell(listener, self.lines, event)

    def _write(self, path: Path, event: Mapping[str, Any]) -> bytes:
        line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with (
            told_as(RunError, OSError, where=f"{path} cannot be written, the last checkpoint is kept"),
            path.open("ab", buffering=0) as file,
        ):
            written = file.write(line)
        if written != len(line):
            raise RunError(f"{path}: {written} of {len(line)} bytes were written: make room on the disk and give the command again")
        return line

    def _open(self, listener: Listener, state: Mapping[str, Any] | None) -> None:
        self.listeners.append(listener)
        if not self._ask(listener, "open", state):
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number > listener.heard and listener in self.listeners:
                    self._tell(listener, number, json.loads(line))

    def _tell(self, listener: Listener, number: int, event: Mapping[str, Any]) -> None:
        """One line of the log, unless the listener holds it already."""
        if number <= listener.heard:
            return
        figures = {name: value for name, value in event.items() if name not in ("step", "summary") and not isinstance(value, list)}
        tables = {name: value for name, value in event.items() if isinstance(value, list)}
        told = True
        if "summary" in event:
            told = self._ask(listener, "summary", _floats(event["summary"]))
        elif tables:
            told = all(self._ask(listener, "answers", event["step"], name, rows) for name, rows in tables.items())
        else:
            told = self._ask(listener, "log", event["step"], _floats(figures))
        listener.heard = number if told else listener.heard

    def _ask(self, listener: Listener, verb: str, *args: Any) -> bool:
        """Whether the listener did it. One that fails is told once on stderr and left out: a tracker never stops the work."""
        try:
            getattr(listener, verb)(*args)
        except Exception as problem:
            self.listeners.remove(listener)
            words = " ".join(str(problem).split()) or type(problem).__name__
            print(f"tracker {listener.name} failed and is left out from now on: {words}", file=sys.stderr, flush=True)
            if verb != "close":
                with suppress(Exception):  # what it held open, and set in the environment
                    listener.close(True)
            return False
        return True


def _cut(path: Path, resume: Mapping[str, Any] | None) -> tuple[int, Any]:
    """Cut the log back to what the state says; return its lines and the running sha256 of its bytes. Raises RunError."""
    digest = hashlib.sha256()
    if resume is None:
        path.write_bytes(b"")
        return 0, digest
    if not isinstance(resume, Mapping) or any(type(resume.get(name)) is not int or resume[name] < 0 for name in ("bytes", "lines")):
        raise RunError(f"{path}: the checkpoint does not say how much of it is to be kept: it was made by hand: name an earlier one")
    size, found = int(resume["bytes"]), path.stat().st_size if path.is_file() else 0
    if found < size:
        raise RunError(
            f"{path}: holds {found} bytes, the checkpoint was written when it held {size}: put the file back as it was, "
            "or start again with --resume_from_checkpoint never --overwrite"
        )
    with path.open("r+b") as file:
        digest.update(file.read(size))
        if digest.hexdigest() != resume.get("sha256"):
            raise RunError(
                f"{path}: its first {size} bytes are not those of the checkpoint, so it was changed: put it back as it was, "
                "or start again with --resume_from_checkpoint never --overwrite"
            )
        file.truncate(size)
        os.fsync(file.fileno())
    return int(resume["lines"]), digest


def _whole_lines(path: Path, anew: bool) -> Path:
    """Make a JSONL file ready to be appended to: empty, or without the torn line that a kill left at its end."""
    if anew or not path.is_file():
        path.write_bytes(b"")
        return path
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
    return path


def _number(value: float) -> float | str:
    """A figure as JSON has it; it has no infinity and no NaN, so they are words: "inf", "-inf", "nan"."""
    return value if math.isfinite(value) else str(float(value))


def _floats(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) if isinstance(value, str) else value for name, value in figures.items()}
