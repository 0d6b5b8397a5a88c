"""A checkpoint: all that a training needs to go on bit by bit, in safetensors and JSON, whole or not there.

    OUT/checkpoint-N/weights.safetensors     what is trained, by parameter name, in the type it is trained in
    OUT/checkpoint-N/optimizer.safetensors   the optimizer's tensors, as "parameter/name"
    OUT/checkpoint-N/state.json              step, best figure, schedule, log position, the files' sizes and hashes; written last

Random numbers need no place in it: the loop draws them from (seed, step, process). The folder has another name until all is on
the disk, so that a kill at any moment leaves the one before. Knows nothing of the loop.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import RunError, told_as
from ..files import write_whole

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
UNFINISHED = ".unfinished"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What was written, or is to be.

    Attributes:
        step: optimizer steps done.
        weights: tensors that are trained, by name. optimizer: a torch optimizer's state_dict.
        state: JSON-able: whatever else the loop needs.
    """

    step: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    state: Mapping[str, Any]


def folder_of(out: Path, step: int) -> Path:
    return out / f"checkpoint-{step}"


def write_checkpoint(out: Path, checkpoint: Checkpoint) -> Path:
    """Write it and return its folder. Raises RunError when the disk takes it not; what was there before stays."""
    folder = folder_of(out, checkpoint.step)
    draft = folder.with_name(folder.name + UNFINISHED)
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        tensors, plain = _flat(checkpoint.optimizer)
        save_file({name: one.detach().contiguous() for name, one in checkpoint.weights.items()}, draft / WEIGHTS)
        save_file(tensors, draft / OPTIMIZER)
        files = {name: {"bytes": (draft / name).stat().st_size, "blake2b": _hash(draft / name)} for name in (WEIGHTS, OPTIMIZER)}
        for name in files:
            _to_disk(draft / name)
        state = {"format": FORMAT, "step": checkpoint.step, "files": files, "optimizer": plain, **checkpoint.state}
        write_whole(draft / STATE, json.dumps(state, indent=1, ensure_ascii=False) + "\n")
        _to_disk(draft)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        _to_disk(out)
    except (OSError, SafetensorError) as problem:
        shutil.rmtree(draft, ignore_errors=True)
        last = find_checkpoint(out)
        kept = f"{last} is whole: free some space and give the same command again" if last else "none was written before"
        raise RunError(f"{folder} could not be written ({problem}): {kept}") from problem
    return folder


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote. Raises RunError when it is not whole."""
    state = read_state(folder)
    for name, about in state["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != about["bytes"] or _hash(path) != about["blake2b"]:
            raise RunError(f"{path} is not as {STATE} says: it is damaged; delete {folder} and go on from the checkpoint before")
    with told_as(RunError, OSError, SafetensorError, where=folder):
        weights, tensors = load_file(folder / WEIGHTS), load_file(folder / OPTIMIZER)
    return Checkpoint(state["step"], weights, _nested(tensors, state["optimizer"]), state)


def read_state(folder: Path) -> dict[str, Any]:
    """state.json alone. Raises RunError when the folder is no checkpoint of ours."""
    path = folder / STATE
    with told_as(RunError, OSError, ValueError, where=f"{path}: expected a checkpoint of seeworth"):
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunError(f"{path}: expected format {FORMAT}: it was written by another seeworth; train anew with --overwrite")
    return state


def find_checkpoint(out: Path) -> Path | None:
    """The checkpoint with most steps that is whole by name and state; None when there is none."""
    found = [(int(name[1]), path) for path in out.glob("checkpoint-*") if (name := re.fullmatch(r"checkpoint-(\d+)", path.name))]
    return next((path for _, path in sorted(found, reverse=True) if (path / STATE).is_file()), None)


def forget_checkpoints(out: Path, keep: int, best: str | None) -> None:
    """Delete all but the last `keep` and the best; and what a kill left unfinished."""
    steps = sorted((int(path.name.removeprefix("checkpoint-")), path) for path in out.glob("checkpoint-*") if path.name[11:].isdigit())
    wanted = {path.name for _, path in steps[-max(keep, 1) :]} | {best}
    if best and len(wanted) > max(keep, 1) > 1:
        wanted.discard(steps[-max(keep, 1)][1].name)  # the best counts as one of them
        wanted.add(best)
    for path in [path for _, path in steps if path.name not in wanted] + list(out.glob(f"checkpoint-*{UNFINISHED}")):
        shutil.rmtree(path, ignore_errors=True)


def _flat(optimizer: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A torch optimizer's state_dict as tensors "number/name" and what is JSON."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for number, state in optimizer["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{number}/{name}"] = value.detach().cpu().contiguous()
            else:
                numbers.setdefault(str(number), {})[name] = value
    return tensors, {"numbers": numbers, "param_groups": optimizer["param_groups"]}


def _nested(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value
    for number, values in plain["numbers"].items():
        state.setdefault(int(number), {}).update(values)
    groups = [{key: tuple(value) if key == "betas" else value for key, value in group.items()} for group in plain["param_groups"]]
    return {"state": state, "param_groups": groups}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()  # type: ignore[arg-type,return-value]


def _to_disk(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def to_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: one.detach().to("cpu", copy=True) if one.device.type != "cpu" else one.detach() for name, one in tensors.items()}

