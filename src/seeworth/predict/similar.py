"""Which train photos are most like one photo, to the eyes of the run's own vision tower.

A photo's vector is the mean of the tower's features over its global view, the middle of the indexed photos taken off: without that,
any two photos are alike. Likeness is the cosine of the angle between two vectors, 1 for the same photo, about 0 for two that have nothing
in common. Features that the training kept are read; of other photos the global view alone goes through the tower. The index lies in
memory: 4 bytes for each of 4 * tower width numbers a record, 16 kB with CLIP-L, 65 MB for `MOST` records.

Knows nothing of requests or of words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..encode import photo_of
from ..errors import DataError, PhotoError, SettingsError
from ..features.compute import at_rest, compute
from ..features.key import embedding_of, photo_key
from ..record import Record
from .vlm import VLM

Vectors: TypeAlias = NDArray[np.float32]

MOST = 4000  # train records that are indexed; more are thinned out evenly
TILES = 16  # that the vision tower sees at once
AHEAD = 256  # photos whose features are asked for in one go


@dataclass(frozen=True)
class Neighbour:
    """A train record and how alike its photo is: the cosine, -1 to 1."""

    record: Record
    similarity: float


class Similar:
    """The index; make it with `build`.

    Attributes:
        records: those indexed, in their order. given: how many there were to choose from. unreadable: photos that could not be opened.
    """

    def __init__(self, model: VLM, records: Sequence[Record], vectors: Vectors, *, given: int, unreadable: int) -> None:
        self.records = list(records)
        self.given = given
        self.unreadable = unreadable
        self._model = model
        self._centre: Vectors = vectors.mean(axis=0)
        self._unit = _unit(vectors - self._centre)

    @classmethod
    def build(cls, model: VLM, records: Sequence[Record], *, most: int = MOST, watch: Callable[[int, int], None] | None = None) -> Similar:
        """Index the first photos of at most `most` records, evenly spread over those that have one.

        Args:
            watch: hears (photos done, photos in all) now and then.

        Takes as long as opening the photos and one tile of each through the tower, see docs/predict.md; next to nothing for
        photos whose features are kept. A photo that cannot be opened is left out and counted. Raises DataError when none is left.
        """
        if most < 1:
            raise SettingsError(f"most is {most}, expected at least 1 record in the index of similar photos")
        with_photo = [record for record in records if record.photo is not None]
        chosen = _spread(with_photo, most)
        kept, vectors = [], []
        for at in range(0, len(chosen), AHEAD):
            for record, vector in _vectors(model, chosen[at : at + AHEAD]):
                kept.append(record)
                vectors.append(vector)
            if watch is not None:
                watch(min(at + AHEAD, len(chosen)), len(chosen))
        if not kept:
            raise DataError(f"none of {len(records)} train records has a photo that can be opened: there is nothing to be similar to")
        return cls(model, kept, np.stack(vectors), given=len(with_photo), unreadable=len(chosen) - len(kept))

    def nearest(self, photo: Image.Image, k: int = 5) -> list[Neighbour]:
        """The k records with the most similar photos, the most similar first; of equals the first in the index. Fewer where it is
        smaller. Raises SettingsError when k is below 1."""
        if k < 1:
            raise SettingsError(f"k is {k}, expected at least 1 similar photo")
        one = _unit((self._seen(photo) - self._centre)[None])[0]
        found = self._unit @ one
        order = np.argsort(-found, kind="stable")[:k]
        return [Neighbour(self.records[place], float(np.clip(found[place], -1, 1))) for place in order]

    @property
    def num_bytes(self) -> int:
        """Of the index in memory."""
        return self._unit.nbytes

    def words(self) -> str:
        """What is indexed, for the log: "4000 of 52000 train photos, evenly spread, 65.5 MB"."""
        less = "" if len(self.records) + self.unreadable == self.given else ", evenly spread"
        lost = f", {self.unreadable} cannot be opened" if self.unreadable else ""
        return f"{len(self.records)} of {self.given} train photos{less}{lost}, {self.num_bytes / 1e6:.1f} MB"

    @torch.inference_mode()
    def _seen(self, photo: Image.Image) -> Vectors:
        embedding = embedding_of(self._model.model)
        tile = self._model.encoder.processor.image_processor.tiles(photo)[0][:1]
        with at_rest(self._model.model):
            return _mean(embedding.see(tile.to(embedding.glb_GN.device))[0].cpu())


def _spread(records: Sequence[Record], most: int) -> list[Record]:
    """At most so many, evenly spread."""
    if len(records) <= most:
        return list(records)
    return [records[place] for place in np.linspace(0, len(records) - 1, most).round().astype(int)]


def _vectors(model: VLM, records: Sequence[Record]) -> Iterator[tuple[Record, Vectors]]:
    """The vectors of records whose photos can be opened, in order; a photo that several have is seen once."""
    found: dict[Path, Vectors] = {}
    wanted: dict[Path, Record] = {}
    lost: set[Path] = set()

    def glance(path: Path, record: Record) -> Tensor:
        """The global view, float32[1, 3, side, side]; called in threads. Zeros for a photo that is lost: an error would end them all."""
        image_processor = model.encoder.processor.image_processor
        try:
            tiles: Tensor = image_processor.tiles(photo_of(record))[0][:1]
        except PhotoError:
            lost.add(path)
            return torch.zeros(1, 3, image_processor.tile_size, image_processor.tile_size)
        return tiles

    for record in records:
        path = _photo(record)
        if path in found or path in wanted or path in lost:
            continue
        try:
            kept = None if model.features is None else model.features.get(photo_key(path))
        except PhotoError:
            lost.add(path)
            continue
        if kept is None:
            wanted[path] = record
        else:
            found[path] = _mean(kept[0])
    with at_rest(model.model):
        for path, made in compute(((path, partial(glance, path, one)) for path, one in wanted.items()), model.model, TILES):
            found[path] = _mean(made[0])
    yield from ((record, found[path]) for record in records if (path := _photo(record)) not in lost)


def _photo(record: Record) -> Path:
    assert record.photo is not None
    return record.photo


def _mean(seen: Tensor) -> Vectors:
    """float[grid, grid, 4 * tower width] of one tile -> float32[4 * tower width]."""
    found: Vectors = seen.float().mean(dim=(0, 1)).numpy()
    return found


def _unit(vectors: Vectors) -> Vectors:
    """float32[n, d] with rows of length 1; a row of zeros stays what it is."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)
