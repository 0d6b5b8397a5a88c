"""What an answer hangs on: one photo asked again with each cell of a grid covered, and how far the answer moves.

A covered cell has the photo's mean colour. A blur would keep the colours, on which a product's category and price hang most; black or
white would be something new to see, and would change the photo's mean too. It shows which parts the answer hangs on, not why, and
nothing of what two parts tell only together: where each alone is enough, covering one changes nothing.

The cells are covered after the photo is scaled, so that it is opened and scaled once, and only those tiles go through the vision tower
that a cover changes. Knows nothing of truth or scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..encode import Example
from ..errors import SettingsError
from ..features.compute import at_rest
from ..features.key import embedding_of
from ..phi3v.tiling import Tiling
from ..record import Prediction, Record
from ..task import Field, Task
from .answer import rope_border
from .vlm import VLM

Grid: TypeAlias = list[list[float | None]]

MOST = 32  # rows, and columns, of a grid
TILES = 16  # that the vision tower sees at once


@dataclass(frozen=True)
class Occlusion:
    """How the answer to one photo changes with each cell covered.

    Attributes:
        words: the answer to the whole photo, verbatim.
        base: what was read from it, by field; of a number asked about, the median of its distribution where the model tells one.
        changes: of a field, [row][column] from the top left. A number: covered / base - 1 of its `middle`, or of the answer where the
            model tells no distribution; -0.2 where covering the cell lowers it by 20 %. A category: by how much the probability of
            the base answer falls, -1 to 1; where the model tells none, 1 for another answer and 0 for the same. None where no number
            was read, or the base is 0.
    """

    rows: int
    columns: int
    words: str
    base: dict[str, float | str]
    changes: dict[str, Grid]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"rows": self.rows, "columns": self.columns, "words": self.words, "base": self.base, "changes": self.changes}


def occlude(
    model: VLM, photo: Image.Image, *, rows: int = 6, columns: int = 6, fields: Sequence[str] | None = None, record: Record | None = None
) -> Occlusion:
    """Ask about the photo, and rows x columns times with one cell of it covered, in batches of the model's `batch_size`.

    Args:
        photo: upright, of any mode. fields: names of numbers and categories; None for all of the task.
        record: of this one photo, where the task's question names fields, as Task.prompt needs them.

    Raises SettingsError for a grid or a field that cannot be, TaskError for a question that lacks a field.
    """
    task = model.encoder.task
    asked = _asked(task, fields)
    if not (1 <= rows <= MOST and 1 <= columns <= MOST):
        raise SettingsError(f"the grid has {rows} rows and {columns} columns, expected 1 to {MOST} of each")
    about = Record("photo", Path("photo"), {} if record is None else record.values, "photo", sizes=(photo.size,))
    told = copy(model)  # the same model, asked for probabilities where its answers are held to the task
    told.distribution, told.samples = told.constraint is not None, 0
    with at_rest(model.model):
        base, *covered = _answers(told, about, _covered(told, photo, rows, columns))
    changes = {one.name: [_change(one, task, base, each) for each in covered] for one in asked}
    return Occlusion(
        rows,
        columns,
        base.text,
        _values(task, base, asked),
        {name: [flat[row * columns : (row + 1) * columns] for row in range(rows)] for name, flat in changes.items()},
    )


def _asked(task: Task, names: Sequence[str] | None) -> list[Field]:
    can = {one.name: one for one in task.answer_fields if one.kind != "text"}
    if not can:
        raise SettingsError("the task has neither a number nor a category: there is nothing whose change could be told")
    if names is None:
        return list(can.values())
    if strange := [name for name in names if name not in can]:
        raise SettingsError(f"field {strange[0]!r} is no number or category of the task: expected some of {', '.join(can)}")
    return [can[name] for name in dict.fromkeys(names)]


def _covered(model: VLM, photo: Image.Image, rows: int, columns: int) -> Iterator[tuple[Tensor, Tiling]]:
    """float[distinct tile, grid, grid, 4 * tower width] of the photo, then of it with each cell covered, row by row."""
    image_processor = model.encoder.processor.image_processor
    tiling = image_processor.plan(*photo.size)
    whole = image_processor.whole(photo, tiling)
    left, top = (tiling.width - tiling.resized_width) // 2, (tiling.height - tiling.resized_height) // 2
    inside = whole[:, top : top + tiling.resized_height, left : left + tiling.resized_width]
    colour = inside.mean(dim=(1, 2), keepdim=True)
    tiles = image_processor.cut(whole, tiling)[-tiling.num_distinct :]
    seen = _see(model, tiles)
    yield seen, tiling
    for y in _steps(tiling.resized_height, rows):
        for x in _steps(tiling.resized_width, columns):
            cell = inside[:, y, x].clone()
            inside[:, y, x] = colour
            now = image_processor.cut(whole, tiling)[-tiling.num_distinct :]
            inside[:, y, x] = cell
            changed = [place for place, (a, b) in enumerate(zip(tiles, now, strict=True)) if not torch.equal(a, b)]
            own = seen.clone()
            if changed:
                own[changed] = _see(model, now[changed])
            yield own, tiling


def _see(model: VLM, tiles: Tensor) -> Tensor:
    embedding = embedding_of(model.model)
    device = embedding.glb_GN.device
    return torch.cat([embedding.see(part.to(device)) for part in torch.split(tiles, TILES)])


def _steps(length: int, parts: int) -> list[slice]:
    """As even parts of so many pixels as there can be; of more parts than pixels some are empty."""
    ends = [length * number // parts for number in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]


@torch.inference_mode()
def _answers(model: VLM, record: Record, photos: Iterator[tuple[Tensor, Tiling]]) -> list[Prediction]:
    training = model.model.training
    model.model.eval()
    try:
        examples = (_example(model, record, *one) for one in photos)
        found: list[Prediction] = []
        size = 1
        while batch := list(islice(examples, size)):
            found += model.answer_examples([record] * len(batch), batch)
            size = _at_once(model, batch[0])
        return found
    finally:
        model.model.train(training)


def _example(model: VLM, record: Record, features: Tensor, tiling: Tiling) -> Example:
    return model.encoder.example(record, answer=False, tile_features=(features,))


def _at_once(model: VLM, example: Example) -> int:
    """Where the rope factors may change while an answer is said, it is answered alone, as `VLM` does."""
    border = rope_border(model.model)
    return 1 if border is not None and len(example.input_ids) + model.max_new_tokens > border else model.batch_size


def middle(values: Sequence[tuple[float, float]]) -> float:
    """The median of [number, p], interpolated between the numbers said, so that it moves when probabilities do.

    A model says round numbers, and their plain median stays where it is until half of the probability has gone over to others. This
    is the median of the mid-distribution function, Y. Ma, M. Genton and E. Parzen, 2011.
    """
    numbers, chances = np.array(sorted(values)).T
    return float(np.interp(0.5, (np.cumsum(chances) - chances / 2) / chances.sum(), numbers))


def _values(task: Task, base: Prediction, asked: Sequence[Field]) -> dict[str, float | str]:
    read = task.read(base.text).values
    found = {name: float(value) if isinstance(value, Decimal) else value for name, value in read.items()}
    told = {one.name: base.distribution[one.name] for one in asked if one.kind == "number" and one.name in base.distribution}
    return found | {name: float(one["median"]) for name, one in told.items()}


def _change(one: Field, task: Task, base: Prediction, covered: Prediction) -> float | None:
    if one.kind == "category":
        word = task.read(base.text).values.get(one.name)
        return None if word is None else round(_chance(one, task, base, str(word)) - _chance(one, task, covered, str(word)), 6)
    before, after = _number(one, task, base), _number(one, task, covered)
    return None if not before or after is None else round(after / before - 1, 6)


def _number(one: Field, task: Task, said: Prediction) -> float | None:
    if (told := said.distribution.get(one.name)) is not None:
        return middle(told["values"])
    value = task.read(said.text).values.get(one.name)
    return float(value) if isinstance(value, Decimal) else None


def _chance(one: Field, task: Task, said: Prediction, word: str) -> float:
    if (told := said.distribution.get(one.name)) is not None:
        return float(told["choices"].get(word, 0.0))
    return float(task.read(said.text).values.get(one.name) == word)
