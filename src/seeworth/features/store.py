"""FeatureStore: records in, the vision tower's features of their photos out, computed once for all who ask.

    ROOT/<fingerprint>/meta.json                    what the fingerprint stands for: tower, tiling, dtype
    ROOT/<fingerprint>/<writer>.blocks, .index      see `seeworth.shards`

Another tower, tiling or dtype has another fingerprint, so that nothing is ever taken for what it is not. A folder may be deleted
at any time: what it held is computed again. Photos that are augmented are never asked for here.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.progress import metered
from ..encode import Encoder, photo_of
from ..errors import ModelError, told_as
from ..files import write_whole
from ..record import Record
from ..shards import SPARE_BYTES, Shards, tell_stderr
from .compute import at_rest, compute
from .key import fingerprint, photo_key, recipe

BATCH_TILES = 16  # of each forward pass of the tower; another number changes last bits, see `compute`


def features_folder(data: Path) -> Path:
    """Where the features of a dataset folder's photos are kept when no other place is named: DATA-features, beside it."""
    data = Path(os.path.abspath(data))  # noqa: PTH100 - a link stays a link: the features stand beside it
    return data.with_name(f"{data.name}-features")


class FeatureStore:
    """The features of one frozen tower and tiling.

    Make it with `open`. It can be sent to worker processes, which map the same files.

    Attributes:
        folder: ROOT/<fingerprint>. made_by: what the fingerprint stands for.
        found, computed: keys of the photos whose features were there when they were asked for, and of those computed here.
        seconds: spent on computing.
    """

    def __init__(self, root: Path, made_by: dict[str, Any], encoder: Encoder, *, keep: bool, tell: Callable[[str], None]) -> None:
        self.made_by = made_by
        self.folder = root / fingerprint(made_by)
        self.encoder = encoder
        self.keep = keep
        self.shape: tuple[int, ...] = tuple(made_by["tile"])  # of one tile: grid, grid, 4 * tower width
        self.dtype: torch.dtype = getattr(torch, made_by["dtype"])
        self.tile_bytes: int = math.prod(self.shape) * self.dtype.itemsize
        self.shards = Shards(self.folder, self.folder.name, tell)
        self.found: set[bytes] = set()
        self.computed: set[bytes] = set()
        self.seconds = 0.0

    @classmethod
    def open(
        cls, root: Path, model: Any, encoder: Encoder, *, keep: bool = True, tell: Callable[[str], None] = tell_stderr
    ) -> FeatureStore:
        """The store of this model's tower and this encoder's tiling. Nothing is written until there is something to keep.

        Args:
            root: a folder that is there or not, as `features_folder` names one.
            model: Phi3VForCausalLM, however wrapped; its tower must stay as it is, see `is_frozen`.
            keep: False to read what is there and store nothing.
            tell: hears, once each, that a file is damaged and that the disk is full.

        Raises ModelError when the tower has adapters.
        """
        with told_as(ModelError, ValueError):
            made_by = recipe(model, encoder.processor.image_processor)
        return cls(root, made_by, encoder, keep=keep, tell=tell)

    @property
    def num_photos(self) -> int:
        """Photos whose features are there."""
        return len(self.shards)

    def get(self, key: bytes) -> Tensor | None:
        """[distinct tile, grid, grid, 4 * tower width] of a photo by its `photo_key`, mapped, not copied; None when it is not there."""
        view = self.shards.get(key)
        if view is None or len(view) % self.tile_bytes:
            return None
        return torch.frombuffer(view, dtype=self.dtype).view(-1, *self.shape)

    def put(self, key: bytes, features: Tensor) -> bool:
        """Keep a photo's features; whether they are kept. Raises ValueError for another dtype or shape than the store's."""
        if features.dtype != self.dtype or features.ndim != 4 or tuple(features.shape[1:]) != self.shape:
            raise ValueError(
                f"expected {self.dtype} [tile, {', '.join(map(str, self.shape))}], found {features.dtype} {list(features.shape)}"
            )
        if not self.keep:
            return False
        if not self.shards.stopped and not len(self.shards):
            self._describe()
        return self.shards.put(key, features.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)

    def _describe(self) -> None:
        """meta.json is for people: no reader needs it, so a disk that does not take it is told of by the block after it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / "meta.json", json.dumps(self.made_by, indent=2) + "\n")
        except OSError:
            return

    def of(self, record: Record) -> tuple[Tensor, ...] | None:
        """The features of all photos of a record; None when those of one are not there. Raises PhotoError when a photo cannot be read."""
        found = [self.get(photo_key(photo)) for photo in record.all_photos]
        return None if any(one is None for one in found) else tuple(one for one in found if one is not None)

    def refresh(self) -> int:
        """See what other processes have stored meanwhile; return how many entries that were."""
        return self.shards.refresh()

    def missing(self, records: Iterable[Record]) -> list[tuple[bytes, Record]]:
        """(key, a record of this one photo) for every distinct photo that is not there, in order of appearance. Raises PhotoError."""
        wanted: dict[bytes, Record] = {}
        for key, one in _photos(records):
            if key not in self.shards:
                wanted.setdefault(key, one)
        return list(wanted.items())

    def estimate(self, records: Sequence[Record]) -> int:
        """Bytes that the missing features will take, from the photos' sizes alone. Raises PhotoError when these cannot be read."""
        return sum(self._bytes(one) for _, one in self.missing(records))

    def lack_of_room(self, records: Sequence[Record]) -> str:
        """Why the disk will not hold the features of all records, in a sentence; "" when it will. Raises PhotoError."""
        needed, place = self.estimate(records), self.folder
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if needed + SPARE_BYTES <= free:
            return ""
        return (
            f"the features of {len(records)} records need {_gb(needed)}, and {self.folder.parent} has {_gb(free)} free, of which "
            f"{_gb(SPARE_BYTES)} are left to others: name another disk with vision_cache_dir, lower num_crops, or set vision_cache false"
        )

    def _bytes(self, one: Record) -> int:
        return sum(tiling.num_distinct for tiling in self.encoder.tilings(one)) * self.tile_bytes

    def fill(self, records: Sequence[Record], model: Any) -> bool:
        """Compute and keep what is missing, with a progress bar; whether all of it is there now.

        Any number of processes may fill one store: each begins at another place and leaves out what others have stored meanwhile.
        Called again before each pass it costs a look-up a photo, and mends what was found damaged. Stops when the disk is full, which is
        told once. A kill loses the batch at hand. Raises PhotoError when a photo cannot be opened.
        """
        self.refresh()
        wanted = self.missing(records)
        self.found |= {key for key, _ in _photos(records)} - {key for key, _ in wanted} - self.computed
        if not wanted or not self.keep or self.shards.stopped:
            return not wanted
        begin = os.getpid() * 2654435761 % len(wanted)  # so that two who begin together seldom do the same work
        start = time.perf_counter()
        with metered(len(wanted), "vision features") as meter, at_rest(model):
            for key, made in compute(self._still_missing(wanted[begin:] + wanted[:begin]), model, BATCH_TILES):
                self.computed.add(key)
                if not self.put(key, made):
                    break
                meter.step(1, made.nbytes)
        self.seconds += time.perf_counter() - start
        self.refresh()
        return all(key in self.shards for key, _ in wanted)

    def _still_missing(self, wanted: Sequence[tuple[bytes, Record]]) -> Iterator[tuple[bytes, Callable[[], Tensor]]]:
        for number, (key, one) in enumerate(wanted):
            if number % BATCH_TILES == 0:
                self.refresh()
            if key not in self.shards:
                yield key, partial(self._cut, one)

    def features(self, records: Sequence[Record], model: Any) -> list[tuple[Tensor, ...]]:
        """The features of every record's photos, what is missing computed now, and kept where that is wanted and there is room.

        Raises PhotoError when a photo cannot be opened.
        """
        keys = [[photo_key(photo) for photo in record.all_photos] for record in records]
        have = {key: self.get(key) for own in keys for key in own}
        self.found |= {key for key, one in have.items() if one is not None} - self.computed
        wanted = [(key, partial(self._cut, one)) for key, one in dict(_photos(records)).items() if have[key] is None]
        start = time.perf_counter()
        if wanted:
            with at_rest(model):
                for key, made in compute(wanted, model, BATCH_TILES):
                    have[key] = made
                    self.computed.add(key)
                    self.put(key, made)
            self.seconds += time.perf_counter() - start
        return [tuple(one for key in own if (one := have[key]) is not None) for own in keys]

    def _cut(self, one: Record) -> Tensor:
        tiles: Tensor = self.encoder.processor.image_processor.tiles(photo_of(one))[0]
        return tiles

    def words(self, passes: float | None = None) -> str:
        """What was saved, for the log: "vision features of 7000 photos, 8.3 GB in DIR: 6500 found, 500 computed in 12 s"."""
        said = f"vision features of {self.num_photos} photos, {_gb(self.shards.size)} in {self.folder}"
        said += f": {len(self.found)} found, {len(self.computed)} computed"
        said += f" in {self.seconds:.0f} s" if self.computed else ""
        said += f", {self.shards.damaged} damaged" if self.shards.damaged else ""
        return said + (f"; the CLIP tower is left out of {passes:g} passes" if passes else "")


def _photos(records: Iterable[Record]) -> Iterator[tuple[bytes, Record]]:
    """Each photo of the records as a key and a record of its own."""
    for record in records:
        for number, photo in enumerate(record.all_photos):
            yield photo_key(photo), replace(record, photo=photo, photos=(), turns=None, sizes=record.sizes[number : number + 1])


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
