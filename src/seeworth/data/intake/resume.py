"""An import that may be killed at any moment: whether it begins, continues or is finished, and what it leaves behind.

    nothing there, or --overwrite               begin
    unfinished, and asked the same              continue; also when both commands say --overwrite
    unfinished, but asked otherwise             refused, with what differs
    finished but for the mark                   take the mark away
    held by another import                      refused
    finished, asked the same, source as it was  nothing to do

Knows nothing of rows or photos beyond the names of their files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError, SettingsError, told_as
from ...files import DRAFT
from ..dataset import LEDGER, MANIFEST, PHOTOS, UNFINISHED, clear_folder, look_into, read_manifest
from .ledger import Ledger

_PHOTO = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{1,8}")


def begin(folder: Path, asked: Mapping[str, Any], overwrite: bool) -> Ledger:
    """The ledger of an import that begins or continues, its folder ready. Where dataset.json is there, only the mark was left.

    Args:
        asked: JSON-able; all that decides what the dataset folder will hold.

    Raises SettingsError when the folder holds anything else, or another import writes into it.
    """
    look_into(folder, overwrite or (folder / UNFINISHED).exists())
    with told_as(SettingsError, OSError, where=folder):
        folder.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(folder / UNFINISHED)
        try:
            return _begin(folder, ledger, json.loads(json.dumps({**asked, "overwrite": overwrite})))
        except BaseException:
            ledger.close()
            raise


def is_finished(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether an import that was asked the same has finished here: it may have been killed on its way out, and is asked for again."""
    if (folder / UNFINISHED).exists() or not (folder / MANIFEST).exists():
        return False
    try:
        manifest = read_manifest(folder)
    except DataError:
        return False
    plain = json.loads(json.dumps(dict(asked)))
    own = {"seeworth": manifest.get("seeworth"), "task": manifest["task"], **manifest["source"]}
    same = all(own.get(key) == plain[key] for key in ("seeworth", "settings", "sha256", "columns"))
    return same and _same_task(plain["task"], own["task"])


def _same_task(asked: dict[str, Any], made: dict[str, Any]) -> bool:
    """A category that was asked for without choices has been given those found in the rows."""
    if len(asked["fields"]) != len(made["fields"]):
        return False
    pairs = zip(asked["fields"], made["fields"], strict=True)
    fields = [one if "choices" in one else one | {key: two[key] for key in two.keys() & {"choices"}} for one, two in pairs]
    return {**asked, "fields": fields} == made


def untouched(paths: Iterable[Path], folder: Path) -> bool:
    """Whether none of these files and folders was changed, made or put there since the dataset folder was finished.

    By the time of the last change of an inode, which no copying sets back. What is gone counts for nothing.
    """
    finished = (folder / MANIFEST).stat().st_mtime_ns
    for path in paths:
        try:
            if path.stat().st_ctime_ns > finished:
                return False
        except (OSError, ValueError):
            continue
    return True


def sweep(folder: Path, is_used: Callable[[str], bool]) -> None:
    """Delete what killed processes left half-written, and stored photos that no record uses. Raises OSError."""
    photos = folder / PHOTOS
    shelves = [path for path in photos.iterdir() if path.is_dir()] if photos.is_dir() else []
    for path in (path for place in (folder, *shelves) for path in list(place.iterdir())):
        file_name = f"{PHOTOS}/{path.parent.name}/{path.name}"
        is_photo = path.parent != folder and _PHOTO.fullmatch(path.name)
        if DRAFT.fullmatch(path.name) or (is_photo and not is_used(file_name)):
            path.unlink()
    for shelf in shelves:
        if not any(shelf.iterdir()):
            shelf.rmdir()


def _begin(folder: Path, ledger: Ledger, asked: dict[str, Any]) -> Ledger:
    before = ledger.asked
    finished = (folder / MANIFEST).exists()
    differences = _differences(before, asked) if before else []
    if before and not differences and (before["overwrite"] or not asked["overwrite"]):
        if not finished:
            ledger.resume()
        return ledger
    if not asked["overwrite"]:
        if before and not finished:
            raise SettingsError(
                f"{folder}: holds an unfinished import that was asked otherwise ({'; '.join(differences)}): "
                "give its command again to continue it, add --overwrite, or choose another folder"
            )
        if {path.name for path in folder.iterdir()} - LEDGER:
            if finished and not before:  # the mark is our own: its import finished while we looked
                ledger.path.unlink()
            look_into(folder, False)
    ledger.reset()
    clear_folder(folder, LEDGER)
    ledger.begin(asked)
    return ledger


def _differences(before: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What was asked before and is not now, in words."""
    old, new = _flat(before), _flat(asked)
    keys = [key for key in {**old, **new} if key != "overwrite" and old.get(key) != new.get(key)]
    return [f"{key} was {_short(old.get(key))}, is {_short(new.get(key))}" for key in keys]


def _flat(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the names of settings and of parts in one level."""
    flat: dict[str, Any] = {}
    for key, value in asked.items():
        parts = value if isinstance(value, dict) else {"": value}
        flat |= {inner if key == "settings" else f"{key} {inner}".strip(): one for inner, one in parts.items()}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."
