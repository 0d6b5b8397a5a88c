"""The evaluation folder: written beside its place and moved there when it is whole; read back with its format checked.

    OUT/evaluation.json         every figure with value, low, high and n; written last
    OUT/predictions.jsonl       the model on its own photos, one line a record, verbatim
    OUT/predictions-NAME.jsonl  the same for each baseline, and for each way to spoil the photo
    OUT/thumbnails/             small JPEGs of the gallery's photos        OUT/log.jsonl   the run's training log

Knows nothing of what the figures mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import RunError
from ..page.picture import thumbnail

FORMAT = "seeworth-evaluation/2"
MANIFEST = "evaluation.json"


@contextmanager
def evaluation_folder(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """A new folder beside `output` that becomes `output` when the block ends well, and is removed when it does not.

    What stood there before is kept until that moment. Raises RunError as `check_output` does.
    """
    check_output(output, overwrite=overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = output.with_name(f".{output.name}.new-{os.getpid()}")
    fresh.mkdir()
    try:
        yield fresh
        if output.exists():
            old = output.with_name(f".{output.name}.old-{os.getpid()}")
            output.rename(old)
            fresh.rename(output)
            shutil.rmtree(old)
        else:
            fresh.rename(output)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_output(output: Path, *, overwrite: bool) -> None:
    """Raise RunError when something stands at `output` that may not be replaced: only an evaluation folder ever is."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not is_evaluation(output):
        raise RunError(f"{output} is there and is no evaluation folder: choose another --output, or remove it yourself")
    if not overwrite:
        raise RunError(f"{output} holds an evaluation: choose another --output, or replace it with --overwrite")


def is_evaluation(folder: Path) -> bool:
    """Whether the folder holds an evaluation of this format."""
    try:
        return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["format"]).startswith(FORMAT.split("/")[0])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write evaluation.json in one step. Raises ValueError for NaN, which JSON does not have."""
    draft = folder / f".{MANIFEST}"
    draft.write_text(json.dumps({"format": FORMAT, **content}, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of evaluation.json. Raises RunError when it is missing, broken or of another format."""
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise RunError(f"{folder} is no evaluation folder, it has no {MANIFEST}: make one with seeworth evaluate") from problem
    except ValueError as problem:
        raise RunError(f"{path} is not JSON ({problem}): evaluate once more") from problem
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise RunError(f"{path}: found format {found!r}, expected {FORMAT!r}: evaluate once more with this version")
    return dict(content)


def write_thumbnail(image: Image.Image, path: Path) -> None:
    """A small JPEG, see `page.picture.thumbnail`."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(thumbnail(image))


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
