"""Records -> batches for the loop: decoded in time, in the order's order, the same whoever decodes them.

Augmentation is drawn from (seed, epoch, record), so that neither worker processes nor a resume change a pixel. Knows nothing of
the loss.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import wait
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..encode import IGNORED, Encoder, Example, collate, photos_of
from ..errors import PhotoError, RunError, SeeworthError
from ..record import Record

Features = Callable[[Record], tuple[Tensor, ...] | None]


@dataclass(frozen=True)
class Place:
    """One example of a batch: which record, in which pass; without weight it fills a process's turn and trains nothing."""

    record: int
    epoch: int = 0
    weight: bool = True


@dataclass(frozen=True)
class Problem:
    """An error of ours on its way between processes; `code` is a PhotoError's."""

    kind: type[SeeworthError]
    words: str
    code: str | None = None

    def error(self) -> SeeworthError:
        return self.kind(self.words) if self.code is None else PhotoError(self.code, self.words)


class Examples(TorchDataset[Any]):
    """Records of one split, encoded when asked for.

    The first photos, up to `megabytes` of decoded pixels, are kept between passes: on a CPU, decoding costs as much as a fifth
    of the step. `features` gives what the vision tower made of a record's photos; then no photo is opened.
    """

    def __init__(
        self, records: Sequence[Record], encoder: Encoder, *, seed: int = 0, megabytes: float = 0, features: Features | None = None
    ) -> None:
        self.records = records
        self.encoder = encoder
        self.seed = seed
        self.room = megabytes * 2**20
        self.features = features
        self.photos: dict[int, tuple[Image.Image, ...]] = {}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: Place) -> Example | Problem:
        """What is wrong with a photo or a record comes back in words: raised in a worker process they would be lost."""
        try:
            example = self._example(place)
        except SeeworthError as problem:
            return Problem(type(problem), str(problem), problem.code if isinstance(problem, PhotoError) else None)
        return example if place.weight else replace(example, labels=[IGNORED] * len(example.labels))

    def _example(self, place: Place) -> Example:
        record = self.records[place.record]
        if self.features is not None and (made := self.features(record)) is not None:
            return self.encoder.example(record, tile_features=made)
        draw = random.Random(f"{self.seed}/{place.epoch}/{record.id}")
        return self.encoder.example(record, photos=self._photos(place.record), rng=draw)

    def _photos(self, index: int) -> tuple[Image.Image, ...]:
        if index in self.photos:
            return self.photos[index]
        photos = tuple(photos_of(self.records[index]))
        if self.encoder.augment:
            photos = tuple(self.encoder.smaller(photo) for photo in photos)
        size = sum(photo.width * photo.height * len(photo.getbands()) for photo in photos)
        if size <= self.room:
            self.room -= size
            self.photos[index] = photos
        return photos


def first_photo(records: Sequence[Record]) -> int | None:
    """The first record with a photo; None where all are words alone."""
    return next((at for at, record in enumerate(records) if record.photo), None)


def places_of(micro: Sequence[int], records: Sequence[Record], filler: int | None, epoch: int = 0, processes: int = 1) -> list[Place]:
    """The examples of one forward pass. Never none; and where several processes meet in each layer, never without a photo when some record
    has one: a process that left out the tower and the projector would leave the others waiting there.

    Args:
        filler: `first_photo(records)`.
    """
    places = [Place(at, epoch) for at in micro]
    if places and (processes == 1 or filler is None or any(records[at].photo for at in micro)):
        return places
    return [*places, Place(filler or 0, epoch, weight=False)]


def loader(
    examples: Examples, batches: Iterable[Sequence[Place]], *, pad_id: int, packed: bool = False, workers: int = 0, pin: bool = False
) -> Iterator[dict[str, Any]]:
    """The batches, collated, in order; `workers` processes decode ahead.

    Raises, when its batch's turn comes, PhotoError for a photo that cannot be opened and whatever else of ours encoding raised;
    RunError when a worker process was killed.
    """
    made = DataLoader(
        examples,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=partial(_collate, pad_id=pad_id, packed=packed),
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=False,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_begin if workers else None,
    )
    for batch in _alive(made) if workers else made:
        if isinstance(batch, Problem):
            raise batch.error()
        yield batch


def _alive(batches: Iterable[Any]) -> Iterator[Any]:
    """Batches of workers, and a worker's death in our words. Raises RunError."""
    try:
        yield from batches
    except (RuntimeError, OSError, EOFError) as problem:  # the last two where it died with tensors of it on their way here
        if isinstance(problem, RuntimeError) and "DataLoader worker" not in str(problem):
            raise
        raise RunError(
            f"a process that decodes photos died ({str(problem).split('.')[0]}): lower dataloader_num_workers where memory is short, "
            "and give the same command again: it goes on from the last checkpoint"
        ) from problem


def _begin(number: int) -> None:
    """In a worker: leave the keyboard to the parent, and end with it at once; torch would look for it only every five seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _collate(examples: Sequence[Example | Problem], *, pad_id: int, packed: bool) -> dict[str, Any] | Problem:
    whole = [one for one in examples if isinstance(one, Example)]
    broken = [one for one in examples if isinstance(one, Problem)]
    if broken:
        return broken[0]
    batch = collate(whole, pad_id=pad_id, packed=packed)
    mask = batch.get("attention_mask")
    if mask is not None and bool(mask.all()):
        del batch["attention_mask"]  # nothing is padded: the fast attention kernels want no mask
    return batch
