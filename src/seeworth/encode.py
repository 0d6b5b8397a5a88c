"""Record -> Example -> Batch: the prompt, the photo's place and the answer as ids, with only the answer labelled.

The only place where a photo is opened for the model. Words from data (titles, fields in a question) go through
`plain_ids`, so that no cell of a table can become a control token. Knows nothing of training loops or scores.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from .data.photo.decode import open_photo
from .errors import PhotoError
from .phi3v import Phi3VProcessor
from .record import Record
from .task import Task

IGNORED = -100  # label of a position that is not trained


@dataclass(frozen=True)
class Example:
    """One record as the model sees it.

    Attributes:
        input_ids: prompt, then the answer when there is one.
        labels: as long as input_ids; -100 everywhere but on the answer, `<|end|>` and `<|endoftext|>`.
        tiles: float32[tile, 3, side, side], normalised, global view first.
        image_size: (height, width) of the padded photo in pixels.
    """

    input_ids: list[int]
    labels: list[int]
    tiles: Tensor
    image_size: tuple[int, int]


class Encoder:
    """Turns records into examples for one processor and one task.

    The prompt is the cookbook's, token by token: `<s><|user|>\\n`, the photo, `<s>` (the models were trained to see one
    after every photo), the question, `<|end|><|assistant|>`; then the answer, `<|end|><|endoftext|>`.
    """

    def __init__(self, processor: Phi3VProcessor, task: Task, augment: float = 0.0) -> None:
        self.processor = processor
        self.task = task
        self.augment = augment
        self.bos = int(processor.tokenizer.bos_token_id)

    def prompt_ids(self, record: Record, num_tokens: int) -> list[int]:
        """Everything before the answer, for a photo of `num_tokens` tokens."""
        ids, plain = self.processor.ids, self.processor.plain_ids
        question = plain(self.task.prompt(record.values))
        before = [self.bos, ids["<|user|>"], *plain("\n")]
        return [*before, *self.processor.photo_ids(num_tokens), *question, ids["<|end|>"], ids["<|assistant|>"]]

    def answer_ids(self, record: Record) -> list[int]:
        """The true answer and the two tokens that end it. Raises TaskError when the record lacks a field."""
        ids = self.processor.ids
        return [*self.processor.plain_ids(self.task.write(record.values)), ids["<|end|>"], ids["<|endoftext|>"]]

    def example(self, record: Record, *, answer: bool = True, photo: Image.Image | None = None) -> Example:
        """Encode a record; without `answer` only its prompt. Raises PhotoError when the photo cannot be opened."""
        image = photo if photo is not None else photo_of(record)
        if self.augment and answer:
            image = jitter(self.smaller(image), self.augment)
        tiles, tiling = self.processor.image_processor.tiles(image)
        prompt = self.prompt_ids(record, tiling.num_tokens)
        target = self.answer_ids(record) if answer else []
        return Example(prompt + target, [IGNORED] * len(prompt) + target, tiles, (tiling.height, tiling.width))

    def smaller(self, image: Image.Image) -> Image.Image:
        """A photo far larger than its tiles, at one and a half times their size or more: jitter costs by the pixel."""
        factor = int(image.width / self.processor.image_processor.plan(*image.size).resized_width / 1.5)
        return image.reduce(factor) if factor > 1 else image


def photo_of(record: Record) -> Image.Image:
    """The record's photo, RGB. Raises PhotoError that names record and file."""
    try:
        return open_photo(record.photo)
    except PhotoError as problem:
        raise PhotoError(problem.code, f"record {record.id}, photo {record.photo}: {problem}") from problem


def collate(examples: Sequence[Example], *, pad_id: int, side: str = "right") -> dict[str, Tensor]:
    """Examples -> one batch: input_ids, attention_mask, labels int64[record, length] padded on `side` ("left" to generate),
    pixel_values float32[record, slot, 3, side, side] with only as many slots as the largest photo needs, image_sizes int64[record, 2].
    """
    width = max(len(example.input_ids) for example in examples)
    slots = max(len(example.tiles) for example in examples)
    shape = (len(examples), width)
    input_ids, labels = torch.full(shape, pad_id), torch.full(shape, IGNORED)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    pixel_values = torch.zeros(len(examples), slots, *examples[0].tiles.shape[1:])
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        span = slice(width - length, width) if side == "left" else slice(0, length)
        input_ids[row, span] = torch.tensor(example.input_ids)
        labels[row, span] = torch.tensor(example.labels)
        attention_mask[row, span] = 1
        pixel_values[row, : len(example.tiles)] = example.tiles
    sizes = torch.tensor([example.image_size for example in examples])
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "labels": labels,
        "pixel_values": pixel_values,
        "image_sizes": sizes,
    }


def jitter(image: Image.Image, strength: float) -> Image.Image:
    """A training photo a little shifted, zoomed, mirrored and re-lit, as another shot of the same product would be.

    At strength 1: zoom 0.8 to 1.2, shift up to a tenth of each side, light times 0.8 to 1.25, mirrored half of the time.
    Draws from Python's `random`, which the trainer seeds.
    """
    width, height = image.size
    zoom = math.exp(random.uniform(-0.2, 0.2) * strength)
    dx, dy = (random.uniform(-0.1, 0.1) * strength * side for side in (width, height))
    mirror = -1.0 if random.random() < 0.5 else 1.0
    a, e = mirror / zoom, 1 / zoom
    c = width / 2 - a * (width / 2 + dx)
    f = height / 2 - e * (height / 2 + dy)
    edge = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    moved = image.transform((width, height), Image.Transform.AFFINE, (a, 0.0, c, 0.0, e, f), Image.Resampling.BILINEAR, fillcolor=edge)
    light = math.exp(random.uniform(-0.22, 0.22) * strength)
    return moved.point([min(round(level * light), 255) for level in range(256)] * 3)
