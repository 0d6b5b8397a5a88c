"""The run folder while it trains: whose it is, whether to go on, from which checkpoint.

    OUT/started.json    settings and data that the training began with; written first
    OUT/.lock           held by the process that trains; the system lets go of it when that process ends, however it ends

Knows nothing of models.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError, SettingsError, told_as
from ..files import DRAFT, write_whole
from ..run_folder import MANIFEST
from ..settings import TrainSettings, to_plain
from .checkpoint import best_of, check_checkpoint, checkpoints, find_checkpoint, folder_of, forget_after

STARTED, LOCK = "started.json", ".lock"
FREE = {  # what may change when a training goes on: weights and log stay the same (num_threads: but for the rounding of sums)
    "data", "output_dir", "report_to", "run_name", "project", "dataloader_num_workers", "photo_memory", "save_steps",
    "save_total_limit", "vision_cache_dir", "resume_from_checkpoint", "overwrite", "doctor", "overfit_steps", "num_threads",
    "gradient_checkpointing", "auto_find_batch_size", "strategy",
}  # fmt: skip
_TENSORS_DRAFT = re.compile(r"\.tmp[0-9A-Za-z]{6}")  # what `save_file` writes before it renames
ANEW = "give the same ones, another output_dir, or --overwrite to train anew"


@dataclass
class Claim:
    """A run folder that is ours now. One in which no checkpoint was written yet starts anew, with whatever settings.

    Attributes:
        out: the folder. checkpoint: to go on from; None starts anew. finished: run.json is there, of the same training.
        instead: the text of started.json, where the folder still holds the run that this training replaces.
    """

    out: Path
    checkpoint: Path | None
    finished: bool
    instead: str | None = None

    def begin(self) -> None:
        """Delete the run that is replaced, where there is one: called when all that may be wrong was looked at. Raises SettingsError."""
        if self.instead is not None:
            with told_as(SettingsError, OSError, where=f"output_dir {self.out} cannot be written, name another folder"):
                _empty(self.out)
                write_whole(self.out / STARTED, self.instead)
        self.instead = None


def claim(
    settings: TrainSettings, fingerprint: str, held: ExitStack, processes: int = 1, *, task: Mapping[str, Any] | None = None
) -> Claim:
    """Take the run folder: make it, go on in it, or refuse it; it stays locked until `held` is closed.

    With `overwrite` nothing is deleted yet: a mistake that shows later must not cost the run that is there. `Claim.begin` does it.
    A checkpoint that is damaged is told and passed over for the one before: the training ends the same. Those after the one
    that is gone on from are deleted.

    Args:
        fingerprint: of the dataset. processes: that train together. task: what is asked and answered, JSON-able.

    Raises SettingsError when it holds something else, a training with other settings or data (told which), or when another
    process trains in it; RunError when the checkpoint asked for is none, or none is whole.
    """
    out = settings.output_dir
    with told_as(SettingsError, OSError, where=f"output_dir {out} cannot be written, name another folder"):
        _refuse_foreign(settings, out)
        if settings.overwrite:
            _refuse_to_delete(settings, out)
        out.mkdir(parents=True, exist_ok=True)
        _lock(out, held)
        there = bool(_names(out))
    if there and not settings.overwrite and settings.resume_from_checkpoint == "never":
        raise SettingsError(f"output_dir {out} is not empty: name another folder, add --overwrite, or let it go on")
    data = {"data_fingerprint": fingerprint, "task": None if task is None else json.loads(json.dumps(task))}
    started = json.dumps({"settings": to_plain(settings), **data, "processes": processes}, indent=2, ensure_ascii=False) + "\n"
    if there and settings.overwrite:
        return Claim(out, None, False, instead=started)
    if (out / MANIFEST).exists() or checkpoints(out):
        with told_as(RunError, KeyError, TypeError, where=f"{out / STARTED}: was changed by hand, name another output_dir"):
            _same_training(settings, data, out, processes)
        if (out / MANIFEST).exists():
            _need_whole(out)
            return Claim(out, None, True)
        checkpoint, step = _checkpoint(settings, out)
        forget_after(out, step)
        _sweep(out)
        return Claim(out, checkpoint, False)
    if settings.resume_from_checkpoint not in ("auto", "never"):
        raise SettingsError(f"resume_from_checkpoint {settings.resume_from_checkpoint}: {out} holds no training that could go on")
    with told_as(SettingsError, OSError, where=f"output_dir {out} cannot be written, name another folder"):
        write_whole(out / STARTED, started)
    return Claim(out, None, False)


def how_to_go_on(taken: Claim, overwrite: bool) -> str:
    """What to tell a user whose training was broken off."""
    if taken.instead is not None:
        return f"the run in {taken.out} is untouched"
    if (last := find_checkpoint(taken.out)) is None:
        return f"{taken.out} holds no checkpoint yet: the same command starts anew"
    return f"{last} stays: the same command goes on from there" + (", without --overwrite" if overwrite else "")


def _sweep(out: Path) -> None:
    """Delete what a kill left half written in the folder, which is ours and locked: drafts of ours, and those of safetensors."""
    for one in out.iterdir():
        if DRAFT.fullmatch(one.name) or _TENSORS_DRAFT.fullmatch(one.name):
            one.unlink(missing_ok=True)


def _names(out: Path) -> set[str]:
    """What is in the folder, but for the lock and what a kill left of a file half written."""
    return {one.name for one in out.iterdir() if one.name != LOCK and not DRAFT.fullmatch(one.name)}


def _refuse_foreign(settings: TrainSettings, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise SettingsError(f"output_dir {out} is a file: name a folder")
    if out.exists() and _names(out) and not any(_is_ours(out / name) for name in (STARTED, MANIFEST)):
        again = ", so --overwrite does not delete it" if settings.overwrite else ""
        raise SettingsError(f"output_dir {out} is not empty and no run folder{again}: name another folder")


def _refuse_to_delete(settings: TrainSettings, out: Path) -> None:
    """Raises SettingsError where --overwrite would delete what the training reads, or names what is to be deleted."""
    if settings.resume_from_checkpoint not in ("auto", "never"):
        raise SettingsError(
            f"resume_from_checkpoint {settings.resume_from_checkpoint} goes on in {out}, --overwrite empties it: leave one of them out"
        )
    emptied = {out.absolute(), out.resolve()}
    read = {"data": settings.data, **({} if settings.model == "tiny" else {"model": Path(settings.model)})}
    for name, path in read.items():
        places = [path.absolute(), path.resolve()]  # a link in the folder would be deleted too
        if path.exists() and emptied & {folder for place in places for folder in (place, *place.parents)}:
            raise SettingsError(f"{name} {path} lies in output_dir {out}, which --overwrite empties: name another output_dir")


def _is_ours(path: Path) -> bool:
    """Whether this is a started.json or a run.json of ours; both hold the settings."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and isinstance(found.get("settings"), dict)


def _need_whole(out: Path) -> None:
    """Raises RunError when run.json, which says that the training finished, cannot be read: a run that nothing could use."""
    if not _is_ours(out / MANIFEST):
        last = find_checkpoint(out)
        advice = f"delete it, and the same command goes on from {last}" if last else "add --overwrite to train anew"
        raise RunError(f"{out / MANIFEST}: is damaged, expected what `train` wrote: {advice}")


def _same_training(settings: TrainSettings, data: Mapping[str, Any], out: Path, processes: int) -> None:
    path = out / STARTED
    if not _is_ours(path):
        raise RunError(f"{path}: is damaged or not there, so the training cannot go on: name another output_dir, or add --overwrite")
    started = json.loads(path.read_text(encoding="utf-8"))
    now, then = to_plain(settings), started["settings"]
    if processes != (before := started.get("processes", 1)):
        asked, passes = now.pop("gradient_accumulation_steps") * processes, then["gradient_accumulation_steps"] * before
        if asked != passes:
            raise SettingsError(
                f"{out} was trained with {passes} forward passes in a step (processes {before}, each {passes // before}), now it would be "
                f"{asked} (processes {processes}, each {asked // processes}): {_passes_again(passes, processes)}"
            )
    changed = [key for key in now if key not in FREE and now[key] != then.get(key, now[key])]
    if changed:
        words = ", ".join(f"{key} {then.get(key)} -> {now[key]}" for key in changed)
        raise SettingsError(f"{out} was trained with other settings ({words}): {ANEW}")
    if started.get("data_fingerprint") != data["data_fingerprint"]:
        raise SettingsError(f"{settings.data} is not the dataset that {out} was trained on: {ANEW}")
    if started.get("task") != data["task"]:
        raise SettingsError(f"{settings.data} has another task (question, answer or fields) than {out} was trained on: {ANEW}")


def _checkpoint(settings: TrainSettings, out: Path) -> tuple[Path, int]:
    """The checkpoint to go on from, whole, and its steps."""
    if settings.resume_from_checkpoint != "auto":
        asked = _asked(settings, out)
        return asked, _whole(asked, out)
    for found in checkpoints(out):
        try:
            return found, _whole(found, out)
        except RunError as problem:
            print(f"checkpoint damaged, going on from the one before: {problem}", file=sys.stderr, flush=True)
    raise RunError(f"{out}: none of its checkpoints is whole, so the training cannot go on: add --overwrite to train anew")


def _asked(settings: TrainSettings, out: Path) -> Path:
    """The folder that `resume_from_checkpoint` names, by its path or by its name in the run folder."""
    folder = Path(settings.resume_from_checkpoint)
    folder = folder if folder.is_dir() else out / folder
    if folder.resolve() not in [one.resolve() for one in checkpoints(out)]:
        there = ", ".join(one.name for one in checkpoints(out))
        raise SettingsError(
            f"resume_from_checkpoint {settings.resume_from_checkpoint}: is no checkpoint of {out}, which has {there}: name one of "
            'these, or "auto" for the last'
        )
    return next(one for one in checkpoints(out) if one.resolve() == folder.resolve())


def _passes_again(passes: int, processes: int) -> str:
    """What to do for as many forward passes in a step as before."""
    if passes % processes:
        return f"take a number of processes that divides {passes}"
    return f"set gradient_accumulation_steps to {passes // processes}"


def _whole(folder: Path, out: Path) -> int:
    """Its steps, when it and the best one that it speaks of are as they were written. Raises RunError."""
    state = check_checkpoint(folder)
    step = int(state["step"])
    if folder.name != folder_of(out, step).name:
        raise RunError(f"{folder}: holds the checkpoint of step {step}: it was renamed")
    best = best_of(state)
    if best not in (None, step):
        check_checkpoint(folder_of(out, best))
    return step


def _empty(out: Path) -> None:
    """Delete a run folder's files: first what says finished, then what could be gone on from, last what says that it is ours."""
    (out / MANIFEST).unlink(missing_ok=True)
    forget_after(out, -1)
    for one in sorted(out.iterdir(), key=lambda one: one.name == STARTED):
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        elif one.name != LOCK:
            one.unlink()


def _lock(out: Path, held: ExitStack) -> None:
    """Raises SettingsError when another process holds it. Does nothing where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return
    file = held.enter_context((out / LOCK).open("a", encoding="utf-8"))
    os.register_at_fork(after_in_child=file.close)  # else a worker that outlives its killed parent by a moment holds it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise SettingsError(f"output_dir {out}: another process trains in it: wait for it, or name another folder") from problem
