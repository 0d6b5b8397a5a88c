"""run.json, by which a run folder says that its training finished and what it was: written by `train`, read by all that use a run.

Knows nothing of models, so that `evaluate` can read it without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import RunError
from .files import write_whole

FORMAT = 1
MANIFEST = "run.json"


def write_run(folder: Path, about: Mapping[str, Any]) -> None:
    """Write run.json in one step, after everything else in the folder: that it is there means that the training finished."""
    write_whole(folder / MANIFEST, manifest(about))


def manifest(about: Mapping[str, Any]) -> str:
    """The text of run.json."""
    return json.dumps({"format": FORMAT, **about}, indent=2, ensure_ascii=False) + "\n"


def read_run(folder: Path) -> dict[str, Any]:
    """What run.json says. Raises RunError when it is not there, damaged, or of another format version."""
    path = folder / MANIFEST
    if not path.is_file():
        what = "its training did not finish" if (folder / "log.jsonl").exists() else f"{MANIFEST} is not there"
        raise RunError(f"{folder} is no finished run ({what}): give the --output_dir of a training that ended")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise RunError(f"{path} cannot be read as JSON ({problem}): train once more") from problem
    found = about.get("format") if isinstance(about, dict) else None
    if found != FORMAT:
        raise RunError(f"{path} has format {found!r}, this version reads {FORMAT}: train once more")
    if lost := {"task", "data", "model", "method", "dtype", "attn_implementation"} - set(about):
        raise RunError(f"{path} has no {', '.join(sorted(lost))}: it was changed by hand or damaged: train once more")
    return dict(about)
