"""A checkpoint: all that a training needs to go on bit by bit, in safetensors and JSON, whole or not there.

    OUT/checkpoint-N/weights.safetensors     what is trained, by parameter name, in the type it is trained in
    OUT/checkpoint-N/optimizer.safetensors   the optimizer's tensors, as "parameter/name"
    OUT/checkpoint-N/state.json              step, best figure, order, log position, the files' sizes and hashes; written last
    OUT/checkpoint-N.unfinished, .gone       on its way in or out when a kill came: never read

Random numbers need no place in it: the loop draws them from (seed, step, process). The folder has another name until all is on
the disk, and gets another before it is deleted, so that a kill at any moment leaves the one before. Knows nothing of the loop.
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
UNFINISHED, GONE = ".unfinished", ".gone"
FORMAT = 1
MOST_STATE = 256 * 2**20  # bytes of a state.json


@dataclass(frozen=True)
class Checkpoint:
    """What was written, or is to be.

    Attributes:
        step: optimizer steps done.
        weights: tensors that are trained, by name. optimizer: a torch optimizer's state_dict.
        state: JSON-able: whatever else the loop needs; its ["best"]["step"], where there is one, names the best checkpoint so far.
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
        _delete(draft)
        draft.mkdir(parents=True)
        tensors, plain = _flat(checkpoint.optimizer)
        save_file({name: one.detach().contiguous() for name, one in checkpoint.weights.items()}, draft / WEIGHTS)
        save_file(tensors, draft / OPTIMIZER)
        files = {name: {"bytes": (draft / name).stat().st_size, "blake2b": _hash(draft / name)} for name in (WEIGHTS, OPTIMIZER)}
        state = {**checkpoint.state, "format": FORMAT, "step": checkpoint.step, "files": files, "optimizer": plain}
        write_whole(draft / STATE, _text({"seal": _seal(state), **state}))
        for path in (draft / WEIGHTS, draft / OPTIMIZER, draft / STATE, draft):
            _to_disk(path)
        _forget(folder)
        draft.rename(folder)
        _to_disk(out)
    except (OSError, SafetensorError) as problem:
        shutil.rmtree(draft, ignore_errors=True)
        last = find_checkpoint(out)
        kept = f"{last} is whole: free some space and give the same command again" if last else "none was written before"
        raise RunError(f"{folder} could not be written ({problem}): {kept}") from problem
    return folder


def read_checkpoint(folder: Path, *, checked: bool = False) -> Checkpoint:
    """Read what `write_checkpoint` wrote. Raises RunError when it is not whole. `checked`: `check_checkpoint` has looked already."""
    state = read_state(folder) if checked else check_checkpoint(folder)
    with told_as(RunError, OSError, SafetensorError, where=f"{folder} cannot be read, name an earlier one with --resume_from_checkpoint"):
        weights, tensors = load_file(folder / WEIGHTS), load_file(folder / OPTIMIZER)
    with told_as(RunError, KeyError, ValueError, TypeError, AttributeError, where=f"{folder} has no optimizer of ours"):
        return Checkpoint(state["step"], weights, _nested(tensors, state["optimizer"]), state)


def check_checkpoint(folder: Path) -> dict[str, Any]:
    """Its state, when every byte of it is as it was written. Raises RunError."""
    state = read_state(folder)
    for name, about in state["files"].items():
        path = folder / name
        with told_as(RunError, OSError, where=path):
            if not path.is_file() or path.stat().st_size != about["bytes"] or _hash(path) != about["blake2b"]:
                raise RunError(f"{path} is not as {STATE} says: it is damaged")
    return state


def read_state(folder: Path) -> dict[str, Any]:
    """state.json alone. Raises RunError when the folder is no checkpoint of ours, or its state is not as it was written."""
    path = folder / STATE
    with told_as(RunError, OSError, ValueError, RecursionError, where=f"{path}: expected a checkpoint of seeworth"):
        if path.exists() and not (path.is_file() and path.stat().st_size <= MOST_STATE):
            raise RunError(f"{path}: expected the state of a checkpoint, found a device, a pipe or over {MOST_STATE // 2**20} MB")
        state = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(state, dict) or "seal" not in state or "format" not in state:
        raise RunError(f"{path}: is not the state of a checkpoint of seeworth")
    if state["format"] != FORMAT:
        raise RunError(f"{path}: has format {state['format']}, expected {FORMAT}: it was written by another seeworth")
    if state.pop("seal") != _seal(state):
        raise RunError(f"{path}: is not as it was written: it is damaged, or was changed by hand")
    if not _well_formed(state):
        raise RunError(f"{path}: is not the state of a checkpoint of seeworth: it was made by hand")
    return state


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints that are there by name, the one with most steps first."""
    found = [(int(name[1]), path) for path in out.glob("checkpoint-*") if (name := re.fullmatch(r"checkpoint-([0-9]+)", path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def find_checkpoint(out: Path) -> Path | None:
    """The checkpoint with most steps that has a state; None when there is none. `check_checkpoint` tells whether it is whole."""
    return next((path for path in checkpoints(out) if (path / STATE).is_file()), None)


def forget_checkpoints(out: Path, keep: int) -> None:
    """Delete all but the last, the best, and of the others the latest that make `keep` with them; and what a kill left.

    One is only kept together with the best that it speaks of: a training could not end from it without. Raises RunError when the last
    is damaged; then nothing is deleted.
    """
    found = checkpoints(out)
    kept = _needed(found[0]) if found else set()
    for path in found:
        try:
            needed = kept | _needed(path)
        except RunError:
            continue
        if len(needed) <= keep:
            kept = needed
    for path in found:
        if path.name not in kept:
            _forget(path)
    for path in out.glob("checkpoint-*"):
        if path.name.endswith((UNFINISHED, GONE)):
            _delete(path)


def forget_after(out: Path, step: int) -> None:
    """Delete the checkpoints of more than `step` steps, the last one first: whenever a kill comes, the rest are a training's."""
    for path in checkpoints(out):
        if int(path.name.removeprefix("checkpoint-")) > step:
            _forget(path)


def best_of(state: Mapping[str, Any]) -> int | None:
    """The step of the best checkpoint that a state speaks of."""
    step: int | None = state.get("best", {}).get("step")
    return step


def _well_formed(state: Mapping[str, Any]) -> bool:
    """Whether it has what every state has; a seal alone says only that it was not changed since."""
    files, best, plain = state.get("files"), state.get("best", {}), state.get("optimizer")
    return (
        type(state.get("step")) is int
        and state["step"] >= 0
        and isinstance(plain, dict)
        and isinstance(files, dict)
        and files.keys() == {WEIGHTS, OPTIMIZER}
        and all(isinstance(one, dict) and {"bytes", "blake2b"} <= one.keys() for one in files.values())
        and isinstance(best, dict)
        and (best.get("step") is None or type(best["step"]) is int)
    )


def _needed(folder: Path) -> set[str]:
    """What has to be there to go on from a checkpoint: itself and the best."""
    best = best_of(read_state(folder))
    return {folder.name} if best is None else {folder.name, folder_of(folder.parent, best).name}


def _forget(folder: Path) -> None:
    """Delete a checkpoint; half of it never stands under its name."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        gone = folder.with_name(folder.name + GONE)
        _delete(gone)
        folder.rename(gone)
        _delete(gone)


def _delete(path: Path) -> None:
    """A folder, or a link to one: what it points to is not ours."""
    if path.is_symlink():
        path.unlink()
    else:
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
    """The inverse of `_flat`. JSON has lists for tuples, of which torch has betas and Muon's coefficients."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value
    for number, values in plain["numbers"].items():
        state.setdefault(int(number), {}).update(values)
    groups = [
        {key: tuple(value) if isinstance(value, list) and key != "params" else value for key, value in group.items()}
        for group in plain["param_groups"]
    ]
    return {"state": state, "param_groups": groups}


def _text(state: Mapping[str, Any]) -> str:
    return json.dumps(state, indent=1) + "\n"


def _seal(state: Mapping[str, Any]) -> str:
    return hashlib.blake2b(_text(state).encode(), digest_size=16).hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _to_disk(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def to_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: one.detach().to("cpu", copy=True) if one.device.type != "cpu" else one.detach() for name, one in tensors.items()}
