"""The run folder while it trains: whose it is, whether to go on, from which checkpoint.

    OUT/started.json    settings and data that the training began with; written first
    OUT/.lock           held by the process that trains; the system lets go of it when that process ends, however it ends

Knows nothing of models.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError, SettingsError, told_as
from ..files import write_whole
from ..run_folder import MANIFEST
from ..settings import TrainSettings, to_plain
from .checkpoint import find_checkpoint, read_state

STARTED = "started.json"
FREE = {  # what may change when a training goes on: nothing of it moves a weight
    "data", "output_dir", "report_to", "run_name", "project", "dataloader_num_workers", "photo_memory", "save_total_limit", "vision_cache",
    "vision_cache_dir", "resume_from_checkpoint", "overwrite", "doctor", "strategy", "overfit_steps", "num_threads", "auto_find_batch_size",
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A run folder that is ours now. One in which no checkpoint was written yet starts anew, with whatever settings.

    Attributes:
        out: the folder. checkpoint: to go on from; None starts anew. finished: run.json is there, of the same training.
    """

    out: Path
    checkpoint: Path | None
    finished: bool


def claim(settings: TrainSettings, fingerprint: str, held: ExitStack, processes: int = 1) -> Claim:
    """Take the run folder: make it, go on in it, or refuse it; it stays locked until `held` is closed.

    Raises SettingsError when it holds something else, a training with other settings or data (told which), or when another
    process trains in it; RunError when the checkpoint asked for is none.
    """
    out = settings.output_dir
    if out.exists() and not out.is_dir():
        raise SettingsError(f"output_dir {out} is a file: name a folder")
    ours = (out / STARTED).exists() or (out / MANIFEST).exists() or (out / "log.jsonl").exists()
    if out.exists() and any(one.name != ".lock" for one in out.iterdir()):
        if not ours:
            again = ", so --overwrite does not delete it" if settings.overwrite else ""
            raise SettingsError(f"output_dir {out} is not empty and no run folder{again}: name another folder")
        _lock(out, held)
        if settings.overwrite:
            _empty(out)
        elif settings.resume_from_checkpoint == "never":
            raise SettingsError(f"output_dir {out} is not empty: name another folder, add --overwrite, or let it go on")
        elif (out / MANIFEST).exists() or find_checkpoint(out) is not None:
            _same_training(settings, fingerprint, out, processes)
            return Claim(out, _checkpoint(settings, out), (out / MANIFEST).exists())
    else:
        out.mkdir(parents=True, exist_ok=True)
        _lock(out, held)
    if settings.resume_from_checkpoint not in ("auto", "never"):
        raise SettingsError(f"resume_from_checkpoint {settings.resume_from_checkpoint}: {out} holds no training that could go on")
    started = {"settings": to_plain(settings), "data_fingerprint": fingerprint, "processes": processes}
    write_whole(out / STARTED, json.dumps(started, indent=2, ensure_ascii=False) + "\n")
    return Claim(out, None, False)


def _same_training(settings: TrainSettings, fingerprint: str, out: Path, processes: int) -> None:
    path = out / STARTED
    with told_as(RunError, OSError, ValueError, where=f"{path}: cannot be read, so the training cannot go on: add --overwrite"):
        started = json.loads(path.read_text(encoding="utf-8"))
    now, then = to_plain(settings), started["settings"]
    before = started.get("processes", 1)
    if (asked := now.pop("gradient_accumulation_steps") * processes) != (passes := then["gradient_accumulation_steps"] * before):
        raise SettingsError(
            f"{out} was trained with {passes} forward passes in a step ({passes // before} on each of {before} processes), now it would be "
            f"{asked} on {processes}: {_passes_again(passes, processes)}"
        )
    changed = [key for key in now if key not in FREE and now[key] != then.get(key, now[key])]
    if changed:
        words = ", ".join(f"{key} {then.get(key)} -> {now[key]}" for key in changed)
        raise SettingsError(f"{out} was trained with other settings ({words}): give the same ones, another output_dir, or --overwrite")
    if started["data_fingerprint"] != fingerprint:
        raise SettingsError(
            f"{settings.data} is not the dataset that {out} was trained on: give that one, another output_dir, or --overwrite"
        )


def _passes_again(passes: int, processes: int) -> str:
    """What to do for as many forward passes in a step as before."""
    if passes % processes:
        return f"take a number of processes that divides {passes}"
    return f"set gradient_accumulation_steps to {passes // processes}"


def _checkpoint(settings: TrainSettings, out: Path) -> Path | None:
    asked = settings.resume_from_checkpoint
    if asked == "auto":
        return find_checkpoint(out)
    folder = Path(asked)
    read_state(folder)
    return folder


def _empty(out: Path) -> None:
    for one in out.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        elif one.name != ".lock":
            one.unlink()


def _lock(out: Path, held: ExitStack) -> None:
    """Raises SettingsError when another process holds it. Does nothing where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return
    file = held.enter_context((out / ".lock").open("a", encoding="utf-8"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise SettingsError(f"output_dir {out}: another process trains in it: wait for it, or name another folder") from problem
