"""The export folder: made beside its place, moved there when the proof is done, and never on top of what is not an export.

    OUT/ weights or adapter, config, processor, tokenizer files   OUT/run.json, task.yaml, intervals.json: it is a run folder too
    OUT/README.md   the model card                                OUT/export.json   what was proven, and every file's hash; written last

Knows nothing of models.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import RunError, SettingsError, told_as
from ..evaluate.folder import file_hash
from ..files import write_whole

FORMAT = "seeworth-export/1"
MANIFEST = "export.json"


@contextmanager
def export_folder(output: Path, run: Path, *, overwrite: bool) -> Iterator[Path]:
    """A new folder beside `output` that becomes `output` when the block ends well, and is removed when it does not.

    What stood there before is kept until that moment. What an export that was killed has left there is removed. Raises as
    `check_output` does.
    """
    check_output(output, run, overwrite=overwrite)
    output = output.resolve()
    with told_as(SettingsError, OSError, where=f"output {output} cannot be made, name another folder"):
        output.parent.mkdir(parents=True, exist_ok=True)
        _sweep(output)
        fresh = output.with_name(f".{output.name}.new-{os.getpid()}")
        fresh.mkdir()
    try:
        yield fresh
        _move(fresh, output)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _sweep(output: Path) -> None:
    """Remove drafts of this folder whose process is gone; a large model's is many gigabytes."""
    for one in output.parent.iterdir():
        before, _, pid = one.name.rpartition("-")
        if before == f".{output.name}.new" and pid.isdigit() and (int(pid) == os.getpid() or not _lives(int(pid))):
            shutil.rmtree(one)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return True


def _move(fresh: Path, output: Path) -> None:
    if not output.exists():
        fresh.rename(output)
        return
    old = output.with_name(f".{output.name}.old-{os.getpid()}")
    output.rename(old)
    fresh.rename(output)
    shutil.rmtree(old)


def check_output(output: Path, run: Path, *, overwrite: bool) -> None:
    """Raise SettingsError when output and run lie within each other, or when something stands there that may not be replaced."""
    here, there = output.resolve(), run.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise SettingsError(f"output {output} and the run {run} lie within each other: name a folder outside of it")
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise SettingsError(f"output {output} is there and is no folder: name another one")
    if not output.exists() or not any(output.iterdir()):
        return
    if not is_export(output):
        raise SettingsError(f"output {output} is there and is no export: name another folder, or remove it yourself")
    if not overwrite:
        raise SettingsError(f"output {output} holds an export: name another folder, or replace it with --overwrite")


def is_export(folder: Path) -> bool:
    """Whether the folder holds a finished export."""
    try:
        return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["format"]).startswith(FORMAT.split("/")[0])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """export.json: what the caller says, and size and SHA-256 of every file that is there already."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": file_hash(path)} for path in sorted(folder.iterdir()) if path.is_file()}
    whole = {"format": FORMAT, **content, "files": files}
    write_whole(folder / MANIFEST, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What export.json says. Raises RunError when it is not there, or of another format."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise RunError(f"{folder} holds no {MANIFEST} that can be read: export once more") from problem
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(f"{folder / MANIFEST} is not of the format {FORMAT}: export once more with this version")
    return content
