"""Record -> Example -> Batch: the words and the photos' places as ids, with only what the assistant says labelled.

The only place where a photo is opened for the model. Words from data (titles, fields in a question, a conversation) go through
`plain_ids`, so that no cell of a table can become a control token. How long an example is, `Encoder.measure` tells without opening
a photo. Knows nothing of training loops or scores.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor

from .data.intake.stored import stored_hash
from .data.photo.decode import open_photo, photo_size, read_photo
from .errors import DataError, PhotoError
from .phi3v import Phi3VProcessor
from .phi3v.tiling import Tiling
from .record import Record, Turn
from .task import Task

IGNORED = -100  # label of a position that is not trained
T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """One record as the model sees it.

    Attributes:
        input_ids: the prompt, then the answer when there is one.
        labels: as long as input_ids; -100 everywhere but on what the assistant says, `<|end|>` after it and the last `<|endoftext|>`.
        image_sizes: (height, width) in pixels of each padded photo, in order of appearance; () for words alone.
        tiles: of each photo float32[tile, 3, side, side], normalised, global view first; () where `tile_features` are given.
        tile_features: of each photo what the vision tower makes of its distinct tiles, float[tile, grid, grid, 4*hidden], in the tiles'
            place: see `Phi3VForCausalLM.tile_features`.
    """

    input_ids: list[int]
    labels: list[int]
    image_sizes: tuple[tuple[int, int], ...] = ()
    tiles: tuple[Tensor, ...] = ()
    tile_features: tuple[Tensor, ...] = ()


class Measure(NamedTuple):
    """How large an example is: `tokens` in all, the `photo_tokens` among them, the `labels` that are trained, the photos' `tiles`."""

    tokens: int
    photo_tokens: int
    labels: int
    tiles: int


class Encoder:
    """Turns records into examples for one processor and one task.

    A record of the task is the cookbook's prompt, token by token: `<s><|user|>\\n`, the photo, `<s>` (the models were trained to
    see one after every photo), the question, `<|end|><|assistant|>`; then the answer, `<|end|><|endoftext|>`.
    A conversation is the model's own chat template, token by token: `<|role|>\\n`, words and photos, `<|end|>\\n`, turn by turn;
    `<|end|><|endoftext|>` closes the last one.

    Args:
        augment: strength of `jitter`, 0 to 1; 0 leaves it out.
        max_length: most tokens of an example; None for as many as the tokenizer says that the model takes.
    """

    def __init__(self, processor: Phi3VProcessor, task: Task, augment: float = 0.0, max_length: int | None = None) -> None:
        self.processor = processor
        self.task = task
        self.augment = augment
        self.bos = int(processor.tokenizer.bos_token_id)
        self.max_length: int = max_length or processor.tokenizer.model_max_length

    def prompt_ids(self, record: Record, num_tokens: int | Sequence[int]) -> list[int]:
        """Everything before the (last) answer, for photos of so many tokens each."""
        counts = [num_tokens] if isinstance(num_tokens, int) else num_tokens
        return self._encode(record, counts, answer=False)[0]

    def answer_ids(self, record: Record) -> list[int]:
        """The true (last) answer and the two tokens that end it. Raises TaskError when the record lacks a field."""
        ids = self.processor.ids
        words = self.task.write(record.values) if record.turns is None else _words(record.turns[-1])
        return [*self.processor.plain_ids(words), ids["<|end|>"], ids["<|endoftext|>"]]

    def example(
        self,
        record: Record,
        *,
        answer: bool = True,
        photos: Sequence[Image.Image] | None = None,
        rng: random.Random | None = None,
        tile_features: Sequence[Tensor] | None = None,
    ) -> Example:
        """Encode a record.

        Args:
            answer: False for the prompt alone: the task's question, or a conversation up to the assistant's last turn.
            photos: its photos, decoded already; None to open them.
            rng: what the jitter of a training photo is drawn from, as from `random.Random(f"{seed} {epoch} {record.id}")`; without
                it, and without `augment`, photos stay as they are.
            tile_features: of each photo what the vision tower makes of it; no photo is opened then.

        Raises PhotoError when a photo cannot be opened, TaskError when a field is missing, DataError when the example is longer than
        the model takes or the features are not those of the photos.
        """
        if tile_features is not None:
            plans = self.tilings(record)
            self._need_features(record, plans, tile_features)
            cut = []
        else:
            images = photos_of(record) if photos is None else photos
            if len(images) != len(record.all_photos):
                raise DataError(f"record {record.id}: has {len(record.all_photos)} photos, {len(images)} are given")
            if self.augment and rng is not None:
                images = [jitter(self.smaller(image), self.augment, rng) for image in images]
            cut = [self.processor.image_processor.tiles(image) for image in images]
            plans = [plan for _, plan in cut]
        ids, labels = self._encode(record, [plan.num_tokens for plan in plans], answer=answer)
        self._need_room(record, len(ids))
        sizes = tuple((plan.height, plan.width) for plan in plans)
        return Example(ids, labels, sizes, tuple(tiles for tiles, _ in cut), tuple(tile_features or ()))

    def tilings(self, record: Record) -> list[Tiling]:
        """How each photo will be cut, from `record.sizes`, or from the file's header where they are not known. Raises PhotoError."""
        sizes = record.sizes or [_told_for(record, path, photo_size) for path in record.all_photos]
        if len(sizes) != len(record.all_photos):
            raise DataError(f"record {record.id}: has {len(record.all_photos)} photos and the sizes of {len(sizes)}: give all or none")
        return [self.processor.image_processor.plan(*size) for size in sizes]

    def measure(self, record: Record) -> Measure:
        """The size of `example(record)`, no photo opened. Raises what `example` raises for the words, and DataError as it does."""
        plans = self.tilings(record)
        counts = [plan.num_tokens for plan in plans]
        _, labels = self._encode(record, counts)
        self._need_room(record, len(labels))
        trained = len(labels) - labels.count(IGNORED)
        return Measure(len(labels), sum(counts), trained, sum(plan.num_tiles for plan in plans))

    def length(self, record: Record) -> int:
        """Tokens of `example(record)`, see `measure`."""
        return self.measure(record).tokens

    def smaller(self, image: Image.Image) -> Image.Image:
        """A photo far larger than its tiles, at one and a half times their size or more: jitter costs by the pixel.

        Left as it is where rounding would give it another number of tiles.
        """
        plan = self.processor.image_processor.plan
        before = plan(*image.size)
        factor = int(image.width / before.resized_width / 1.5)
        if factor < 2:
            return image
        after = plan(-(-image.width // factor), -(-image.height // factor))
        return image.reduce(factor) if (after.rows, after.columns) == (before.rows, before.columns) else image

    def _encode(self, record: Record, counts: Sequence[int], *, answer: bool = True) -> tuple[list[int], list[int]]:
        """(ids, labels) of a record whose photos have so many tokens."""
        if record.turns is not None:
            return self._conversation(record.turns, counts, answer)
        ids, plain = self.processor.ids, self.processor.plain_ids
        prompt = [self.bos, ids["<|user|>"], *plain("\n")]
        for count in counts:
            prompt += self.processor.photo_ids(count)
        question = self.task.prompt(record.values)
        prompt += [*plain(question), ids["<|end|>"], ids["<|assistant|>"]]
        target = self.answer_ids(record) if answer else []
        return prompt + target, [IGNORED] * len(prompt) + target

    def _conversation(self, turns: Sequence[Turn], counts: Sequence[int], answer: bool) -> tuple[list[int], list[int]]:
        """The chat template's ids. `<|assistant|>` swallows the line's end after it, as the published tokenizer has it."""
        ids, plain = self.processor.ids, self.processor.plain_ids
        found, labels = [self.bos], [IGNORED]
        for number, turn in enumerate(turns, 1):
            spoken = turn.role == "assistant"
            found.append(ids[f"<|{turn.role}|>"])
            labels.append(IGNORED)
            last = number == len(turns)
            if last and not answer:
                return found, [IGNORED] * len(found)
            words = self._parts(turn.parts, counts, "" if spoken else "\n")
            words += [ids["<|end|>"], *([ids["<|endoftext|>"]] if last else plain("\n"))]
            found += words
            trained = len(words) if last else len(words) - len(plain("\n"))
            labels += words[:trained] + [IGNORED] * (len(words) - trained) if spoken else [IGNORED] * len(words)
        return found, labels

    def _parts(self, parts: Sequence[str | int], counts: Sequence[int], lead: str) -> list[int]:
        """Words and photos of one turn; words that nothing parts are tokenized in one go."""
        found: list[int] = []
        words = lead
        for part in parts:
            if isinstance(part, str):
                words += part
            else:
                found += [*self.processor.plain_ids(words), *self.processor.photo_ids(counts[part])]
                words = ""
        return found + self.processor.plain_ids(words)

    def _need_room(self, record: Record, tokens: int) -> None:
        if tokens > self.max_length:
            raise DataError(
                f"record {record.id}: has {tokens} tokens, the model takes {self.max_length}: lower num_crops, shorten its words, "
                "or take the record out"
            )

    def _need_features(self, record: Record, plans: Sequence[Tiling], features: Sequence[Any]) -> None:
        found, needed = [len(one) for one in features], [plan.num_distinct for plan in plans]
        if found != needed:
            raise DataError(f"record {record.id}: its photos have {needed} tiles, features of {found} are given: were they made otherwise?")


def photo_of(record: Record) -> Image.Image:
    """The record's first photo, RGB. Raises PhotoError that names record and file, or says that there is none."""
    if record.photo is None:
        raise PhotoError("photo_missing", f"record {record.id} has no photo")
    return _told_for(record, record.photo, _open_stored)


def photos_of(record: Record) -> list[Image.Image]:
    """All photos of the record, RGB. Raises PhotoError that names record and file."""
    return [_told_for(record, path, _open_stored) for path in record.all_photos]


def _open_stored(path: Path) -> Image.Image:
    """As `open_photo`; a photo of a dataset folder has the hash of its bytes for a name, and must still have those bytes.

    Else a training would go on with another photo and end without an error, and its features would be kept under the old name. Hashing
    takes a thirtieth of the time of decoding.
    """
    data = read_photo(path)
    expected = stored_hash(path)
    if expected and (found := hashlib.sha256(data).hexdigest()) != expected:
        raise PhotoError("changed", f"its {len(data)} bytes are not those of the import: SHA-256 {found[:12]}…, expected {expected[:12]}…")
    return open_photo(data)


def _told_for(record: Record, path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except PhotoError as problem:
        raise PhotoError(problem.code, f"record {record.id}, photo {path}: {problem}") from problem


def _words(turn: Turn) -> str:
    return "".join(part for part in turn.parts if isinstance(part, str))


def collate(examples: Sequence[Example], *, pad_id: int, side: str = "right", packed: bool = False) -> dict[str, Any]:
    """Examples -> what the model's forward takes.

    Returns:
        input_ids, labels: int64[record, length]; attention_mask too, 0 where a row was padded on `side` ("left" to generate).
        With `packed` they are int64[1, total], the records one behind the other, and position_ids, which begin at 0 with each
        record, stand in the place of attention_mask: the model then lets no record see another. No label crosses a border.
        pixel_values: float32[photo, slot, 3, side, side] with only as many slots as the largest photo needs, photos of all records
        in order of appearance; or tile_features, a list with a tensor for each photo, None for one whose tiles are in pixel_values.
        image_sizes: int64[photo, 2]. These are left out when no record has a photo.

    Raises ValueError when an example has neither tiles nor features for each of its photos.
    """
    batch = _packed(examples) if packed else _padded(examples, pad_id, side)
    sizes = [size for example in examples for size in example.image_sizes]
    tiles = [one for example in examples for one in example.tiles]
    features = [one for example in examples for one in example.tile_features or [None] * len(example.tiles)]
    if len(sizes) != len(features):
        raise ValueError(f"{len(sizes)} photos, {len(features)} with tiles or features: expected either for each")
    if tiles:
        batch["pixel_values"] = _stacked(tiles)
    if len(tiles) < len(sizes):
        batch["tile_features"] = features
    if sizes:
        batch["image_sizes"] = torch.tensor(sizes)
    return batch


def _stacked(tiles: Sequence[Tensor]) -> Tensor:
    """The photos' tiles in one tensor, those with fewer filled up with zeros."""
    if len(tiles) == 1:
        return tiles[0][None]
    stacked = torch.zeros(len(tiles), max(map(len, tiles)), *tiles[0].shape[1:])
    for row, one in enumerate(tiles):
        stacked[row, : len(one)] = one
    return stacked


def _padded(examples: Sequence[Example], pad_id: int, side: str) -> dict[str, Any]:
    width = max(len(example.input_ids) for example in examples)
    shape = (len(examples), width)
    input_ids, labels = torch.full(shape, pad_id), torch.full(shape, IGNORED)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        span = slice(width - length, width) if side == "left" else slice(0, length)
        input_ids[row, span] = torch.tensor(example.input_ids)
        labels[row, span] = torch.tensor(example.labels)
        attention_mask[row, span] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def _packed(examples: Sequence[Example]) -> dict[str, Any]:
    rows = {
        "input_ids": [one for example in examples for one in example.input_ids],
        "position_ids": [place for example in examples for place in range(len(example.input_ids))],
        "labels": [label for example in examples for label in (IGNORED, *example.labels[1:])],
    }
    return {name: torch.tensor([row]) for name, row in rows.items()}


def jitter(image: Image.Image, strength: float, rng: random.Random) -> Image.Image:
    """A training photo a little shifted, zoomed, mirrored and re-lit, as another shot of the same product would be.

    At strength 1: zoom 0.8 to 1.2, shift up to a tenth of each side, light times 0.8 to 1.25, mirrored half of the time.
    """
    width, height = image.size
    zoom = math.exp(rng.uniform(-0.2, 0.2) * strength)
    dx, dy = (rng.uniform(-0.1, 0.1) * strength * side for side in (width, height))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    a, e = mirror / zoom, 1 / zoom
    c = width / 2 - a * (width / 2 + dx)
    f = height / 2 - e * (height / 2 + dy)
    edge = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    moved = image.transform((width, height), Image.Transform.AFFINE, (a, 0.0, c, 0.0, e, f), Image.Resampling.BILINEAR, fillcolor=edge)
    light = math.exp(rng.uniform(-0.22, 0.22) * strength)
    return moved.point([min(round(level * light), 255) for level in range(256)] * 3)
