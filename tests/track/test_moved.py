"""A moved run folder can be synced: its W&B files are found where they lie now."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.errors import RunError
from seeworth.track.moved import BLOCK, START, move, read_log, write_log

HEAD = b":W&B\xe1\xbe\x00"


@given(st.lists(st.integers(0, 3 * BLOCK).map(os.urandom), max_size=5), st.integers(0, 2 * BLOCK))
def test_what_is_written_is_read_and_a_torn_end_loses_only_itself(records: list[bytes], cut: int) -> None:
    whole = write_log(HEAD, records)
    assert list(read_log(whole)) == records
    torn = list(read_log(whole[: max(START, len(whole) - cut)]))
    assert torn == records[: len(torn)]


def test_the_paths_are_rewritten_and_nothing_else(straight: Path, tmp_path: Path, inspect: Callable[..., list[dict[str, Any]]]) -> None:
    (part,) = straight.glob("wandb/offline-run-*")
    log = next(part.glob("*.wandb"))
    assert write_log(log.read_bytes()[:START], read_log(log.read_bytes())) == log.read_bytes()  # our writer is W&B's
    moved = tmp_path / "elsewhere"
    shutil.copytree(straight, moved, symlinks=True)
    assert move(moved) > 0
    assert move(moved) == 0
    part_there = moved / part.relative_to(straight)
    for kind in ("run", "history", "summary", "config", "exit"):
        assert inspect(part_there, kind) == inspect(part, kind)
    paths = {}
    for folder, found in ((straight, part), (moved, part_there)):
        held = [Path(one["local_path"]) for artifact in inspect(found, "artifact") for one in artifact["manifest"]["contents"]]
        assert all(path.is_file() for path in held)
        paths[folder] = [path.relative_to(folder) for path in held]
    assert paths[straight] == paths[moved]


def test_what_cannot_be_made_ready_is_told(straight: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no W&B run"):
        move(tmp_path)
    shutil.copytree(straight, tmp_path / "first", symlinks=True)
    move(tmp_path / "first")
    moved = (tmp_path / "first").rename(tmp_path / "second")
    (moved / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"lacks model.safetensors, which W&B was to upload .*: move the whole run folder"):
        move(moved)
    log = next(moved.glob("wandb/offline-run-*/*.wandb"))
    log.write_bytes(b"something else")
    with pytest.raises(RunError, match=r"is no \.wandb file"):
        move(moved)
