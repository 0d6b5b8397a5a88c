"""Blocks of bytes by key, appended to files that are mapped into memory: what any number of processes may write at once.

    NAME.blocks    the blocks, one behind the other
    NAME.index     64 bytes a block, written after it: key, place, length, checksum of the block, checksum of the entry

Each writer has a pair of files of its own, so there is nothing to lock: two writers may store the same block twice and never spoil
one. What a kill, a full disk or a cut cable leaves half written has no entry, or one whose checksum or length does not fit, and is
not there for a reader. Nothing is synced to the disk: after a power cut the checksums tell what arrived.
Knows nothing of what the blocks hold.
"""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
import struct
import sys
import threading
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARD_BYTES = 2**30  # of one file: a mapping counts as a whole against the kernel's idea of too much memory
SPARE_BYTES = 2**30  # of the disk are left to others, checkpoints above all

_FIELDS = struct.Struct("<32sQQ8xI")  # key, place, length, crc32 of the block
_ENTRY = _FIELDS.size + 4  # and crc32 of these


def tell_stderr(words: str) -> None:
    """Where a store tells what went wrong, unless it is told another place."""
    print(words, file=sys.stderr, flush=True)


@dataclass(slots=True)
class _Block:
    name: str
    place: int
    length: int
    crc: int
    checked: bool = False


class Shards:
    """A folder of blocks.

    Args:
        folder: made when the first block is stored.
        seed: part of every entry's checksum, so that an index that belongs to another folder is not read.
        tell: hears, once each, that a block is damaged and that no more can be stored.
    """

    def __init__(self, folder: Path, seed: str = "", tell: Callable[[str], None] = tell_stderr) -> None:
        self.folder = folder
        self.seed = zlib.crc32(seed.encode())
        self.tell = tell
        self.damaged = 0
        self.stopped = False
        self._begin()
        self.refresh()

    def _begin(self) -> None:
        self._blocks: dict[bytes, list[_Block]] = {}
        self._read: dict[str, int] = {}  # bytes of each index that were read
        self._maps: dict[str, mmap.mmap] = {}
        self._writer: _Writer | None = None
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process: it maps and reads the files itself."""
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._begin()
        self.refresh()

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, key: bytes) -> bool:
        return key in self._blocks

    @property
    def size(self) -> int:
        """Bytes of all blocks that are there."""
        return sum(found[0].length for found in self._blocks.values())

    def refresh(self) -> int:
        """Read the entries that were written since, by whomever; return how many there were."""
        with self._lock:
            before = sum(self._read.values())
            for path in sorted(self.folder.glob("*.index")):
                try:
                    self._read_index(path)
                except OSError:  # deleted under our hands, or of a disk that is going
                    continue
            return (sum(self._read.values()) - before) // _ENTRY

    def _read_index(self, path: Path) -> None:
        start = self._read.get(path.stem, 0)
        if path.stat().st_size < start + _ENTRY:
            return
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
        room = path.with_suffix(".blocks").stat().st_size
        for at in range(0, len(data) - _ENTRY + 1, _ENTRY):  # what is less than an entry at the end is being written, or never will be
            self._read[path.stem] = start + at + _ENTRY
            fields, crc = data[at : at + _FIELDS.size], data[at + _FIELDS.size : at + _ENTRY]
            key, place, length, sum_of_block = _FIELDS.unpack(fields)
            if zlib.crc32(fields, self.seed).to_bytes(4, "little") != crc or place + length > room:
                self._tell_damaged(path)
                continue
            self._blocks.setdefault(key, []).append(_Block(path.stem, place, length, sum_of_block))

    def get(self, key: bytes) -> memoryview | None:
        """The block, mapped, not copied; None when there is none that is whole.

        Its bytes are checked when they are asked for first. Writing into them changes nobody's but this process's memory.
        """
        with self._lock:
            while found := self._blocks.get(key):
                view = self._view(found[0])
                if view is not None and (found[0].checked or zlib.crc32(view) == found[0].crc):
                    found[0].checked = True
                    return view
                self._tell_damaged(self.folder / f"{found[0].name}.blocks")
                del found[0]
                if not found:
                    del self._blocks[key]
        return None

    def _view(self, block: _Block) -> memoryview | None:
        end = block.place + block.length
        try:
            if len(self._maps.get(block.name, b"")) < end:
                with (self.folder / f"{block.name}.blocks").open("rb") as file:
                    self._maps[block.name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # torch warns of what is read-only
            view = memoryview(self._maps[block.name])[block.place : end]
        except (OSError, ValueError):  # ValueError: the file is empty now
            return None
        return view if len(view) == block.length else None

    def put(self, key: bytes, data: bytes | memoryview) -> bool:
        """Store a block, unless there is one; whether it is there now. False for good once the disk has no room: that is told once."""
        with self._lock:
            if key in self._blocks:
                return True
            if self.stopped:
                return False
            try:
                block = self._open_writer(len(data)).write(key, data, self.seed)
            except OSError as problem:
                self._stop(problem)
                return False
            self._blocks[key] = [block]
            self._read[block.name] = self._read.get(block.name, 0) + _ENTRY
            return True

    def _open_writer(self, length: int) -> _Writer:
        writer = self._writer
        if writer and writer.process == os.getpid() and writer.end + length <= SHARD_BYTES:
            free = shutil.disk_usage(self.folder).free
        else:  # the first block, a full file, or a fork: two processes must not write to one
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            if free >= length + SPARE_BYTES:
                writer = self._writer = _Writer(self.folder)
        if writer is None or free < length + SPARE_BYTES:
            raise OSError(f"{free / 1e9:.1f} GB are free on this disk, of which {SPARE_BYTES / 1e9:.1f} are left to others")
        return writer

    def _stop(self, problem: OSError) -> None:
        self.stopped = True
        if self._writer and self._writer.process == os.getpid():
            self._writer.cut()
        self._writer = None
        self.tell(f"{self.folder}: nothing more is stored ({problem}); the work goes on without")

    def _tell_damaged(self, path: Path) -> None:
        self.damaged += 1
        if self.damaged == 1:
            self.tell(f"{path}: damaged in at least one place; what stood there is computed again")


class _Writer:
    """One process's pair of files. `cut` takes away what was written in part."""

    def __init__(self, folder: Path) -> None:
        self.process = os.getpid()
        self.name = f"{self.process}-{secrets.token_hex(6)}"
        self.end = self.entries = 0
        self.blocks, self.index = ((folder / f"{self.name}.{ending}").open("xb", buffering=0) for ending in ("blocks", "index"))
        weakref.finalize(self, _close, self.blocks, self.index)

    def write(self, key: bytes, data: bytes | memoryview, seed: int) -> _Block:
        """The block, then its entry. Raises OSError, and then nothing was stored."""
        place, crc = self.end, zlib.crc32(data)
        fields = _FIELDS.pack(key, place, len(data), crc)
        _write_at(self.blocks, place, data)
        _write_at(self.index, self.entries * _ENTRY, fields + zlib.crc32(fields, seed).to_bytes(4, "little"))
        self.end += len(data)
        self.entries += 1
        return _Block(self.name, place, len(data), crc, checked=True)

    def cut(self) -> None:
        for file, length in ((self.blocks, self.end), (self.index, self.entries * _ENTRY)):
            try:
                file.truncate(length)
            except OSError:  # what is left has no entry
                continue


def _close(*files: Any) -> None:
    for file in files:
        file.close()


def _write_at(file: Any, place: int, data: bytes | memoryview) -> None:
    """All of it, from `place` on, wherever an interrupted write left off. Raises OSError."""
    file.seek(place)
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) :]
