"""A run folder that was moved: make its offline W&B run ready for `wandb sync` where it lies now.

    python -m seeworth.track.moved OUT
    wandb sync OUT/wandb/offline-run-*

W&B writes down where each file of an artifact lies, as an absolute path, and photos in tables are such files. All of them are in the run
folder; this rewrites the paths in the .wandb files to where the folder is. A .wandb file is a log in LevelDB's format
(https://github.com/google/leveldb/blob/main/doc/log_format.md) of protobuf records, behind a header of 7 bytes.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import RunError, SeeworthError, told_as
from ..files import write_whole

BLOCK = 32768  # bytes
HEADER = struct.Struct("<IHB")  # of a piece: CRC-32 of type and data, length, type
MAGIC = b":W&B"
START = 7  # bytes of the file's own header
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def move(folder: Path) -> int:
    """Rewrite the paths in every .wandb file of the run folder; return how many were changed. A second call changes nothing.

    Raises RunError when there is no W&B run in the folder, or a file that a path speaks of is not in it.
    """
    folder = folder.resolve()
    logs = sorted(folder.glob("wandb/*run-*/run-*.wandb"))
    if not logs:
        raise RunError(f"{folder} holds no W&B run (wandb/offline-run-*): give the run folder of a training that had --report_to wandb")
    with told_as(RunError, OSError, where=folder):
        return sum(_rewrite(log, folder) for log in logs if not log.parent.is_symlink())


def read_log(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file, up to a torn one at its end. Raises ValueError for another kind of file."""
    if data[:4] != MAGIC:
        raise ValueError("is no .wandb file")
    place, pieces = START, b""
    while place + HEADER.size <= len(data):
        if (rest := BLOCK - place % BLOCK) < HEADER.size:
            place += rest
            continue
        crc, length, kind = HEADER.unpack_from(data, place)
        piece = data[place + HEADER.size : place + HEADER.size + length]
        if len(piece) < length or not FULL <= kind <= LAST or zlib.crc32(bytes([kind]) + piece) != crc:
            return
        pieces = piece if kind in (FULL, FIRST) else pieces + piece
        if kind in (FULL, LAST):
            yield pieces
        place += HEADER.size + length


def write_log(start: bytes, records: Iterable[bytes]) -> bytes:
    """A .wandb file of these records behind its own header."""
    out = bytearray(start)
    for record in records:
        first = True
        while first or record:
            if (rest := BLOCK - len(out) % BLOCK) < HEADER.size:
                out += bytes(rest)
                rest = BLOCK
            piece, record = record[: rest - HEADER.size], record[rest - HEADER.size :]
            kind = (FULL if first else LAST) if not record else (FIRST if first else MIDDLE)
            out += HEADER.pack(zlib.crc32(bytes([kind]) + piece), len(piece), kind) + piece
            first = False
    return bytes(out)


def _rewrite(log: Path, folder: Path) -> int:
    from wandb.proto.wandb_internal_pb2 import Record

    data, records, changed = log.read_bytes(), [], 0
    with told_as(RunError, ValueError, where=log):
        for raw in read_log(data):
            record = Record.FromString(raw)
            if record.HasField("artifact") and (here := _relocate(record.artifact.manifest, folder)):
                raw, changed = record.SerializeToString(), changed + here
            records.append(raw)
    if changed:
        write_whole(log, write_log(data[:START], records))
    return changed


def _relocate(manifest: Any, folder: Path) -> int:
    """Change the paths of an artifact's manifest; return how many were changed. Ours have far fewer than the 100,000 files from which on
    W&B writes a manifest of its own.
    """
    changed = 0
    for entry in manifest.contents:
        if entry.local_path and (found := _now(entry.local_path, folder)) != entry.local_path:
            entry.local_path, changed = found, changed + 1
    return changed


def _now(path: str, folder: Path) -> str:
    """Where a file lies that lay at `path`: there, or at the longest end of this path that is in the folder. Raises RunError."""
    parts = Path(path).parts
    for start in range(1, len(parts)):
        here = folder.joinpath(*parts[start:])
        if here.is_file():
            return str(here)
    if Path(path).is_file():
        return path
    raise RunError(f"{folder} lacks {Path(path).name}, which W&B was to upload from {path}: move the whole run folder")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m seeworth.track.moved OUT")
    try:
        print(f"{move(Path(sys.argv[1]))} paths rewritten: now `wandb sync {sys.argv[1]}/wandb/offline-run-*`")
    except SeeworthError as problem:
        sys.exit(f"seeworth.track.moved: {problem}")
