"""Baselines: answers that cost no training, which a tuned model has to beat.

Each is fitted on train records in its constructor and answers in words through `task.write`, so that evaluation has one
code path for everything that answers. Those that look with the model's own vision tower are in `heads`. Knows nothing of torch, of
the model or of scores.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.photo.decode import open_photo
from ..errors import DataError
from ..record import Prediction, Record, Value
from ..task import Field, Task

Vectors: TypeAlias = NDArray[np.float32]

COMMONEST = "most common answer"  # names that evaluation finds a baseline by
PREDICTED = "median of the predicted category"
BEFORE = "model before fine-tuning"  # answers of the model itself, see `before`

GRID = 16  # the photo shrunk to GRID x GRID pixels
LEVELS = 4  # of each colour channel in the histogram


class MostCommonAnswer:
    """One answer for all: each field's most common words, or its median number. The least a model must beat."""

    given: tuple[str, ...] = ()

    def __init__(self, task: Task, train: Sequence[Record]) -> None:
        self.name = COMMONEST
        self._text = task.write(typical(task.answer_fields, _need(train)))

    @staticmethod
    def suits(task: Task) -> bool:
        """Any task has a most common answer."""
        return True

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        for record in records:
            yield Prediction(record.id, self._text, 0.0)


class MedianOfCategory:
    """An oracle: it is told the record's true category, and answers with that category's median number and commonest words.

    `given` names the field it was told, for which it must not be praised. A category that no train record has gets the
    typical values of the whole train split.
    """

    def __init__(self, task: Task, train: Sequence[Record]) -> None:
        self.name = "median of the true category"
        self._task = task
        self._key = task.of_kind("category")[0].name
        self.given = (self._key,)
        by_category: defaultdict[Value, list[Record]] = defaultdict(list)
        for record in _need(train):
            by_category[record.values[self._key]].append(record)
        self._all = typical(task.answer_fields, train)
        self._of = {category: typical(task.answer_fields, records) for category, records in by_category.items()}

    @staticmethod
    def suits(task: Task) -> bool:
        """It needs a category to be told and a number to take the median of."""
        return bool(task.of_kind("category")) and bool(task.of_kind("number"))

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        for record in records:
            category = record.values[self._key]
            values = self._of.get(category, self._all) | {self._key: category}
            yield Prediction(record.id, self._task.write(values), 0.0)


class MedianOfPredicted:
    """The median number and commonest words of the category that the model itself answered: what its price adds to its category.

    Told the model's category, it is measured on the other fields. Where no category could be read it gives the typical values of
    the whole train split.

    Args:
        answered: the model's predictions for the records that will be asked.
    """

    def __init__(self, task: Task, train: Sequence[Record], answered: Sequence[Prediction]) -> None:
        self.name = PREDICTED
        self._task = task
        self._key = task.of_kind("category")[0].name
        self.given = (self._key,)
        self._oracle = MedianOfCategory(task, train)
        self._common = MostCommonAnswer(task, train)
        self._categories = {one.record_id: task.read(one.text).values.get(self._key) for one in answered}

    def __call__(self, records: Iterable[Record]) -> Iterator[Prediction]:
        for record in records:
            category = self._categories.get(record.id)
            if category is None:
                yield next(self._common([record]))
            else:
                yield next(self._oracle([replace(record, values={**record.values, self._key: category})]))


class NearestPhoto:
    """The true answer of the training photo that looks most alike, by colours and coarse shape; of several photos the first counts.

    A photo is float32[832]: 16 x 16 RGB pixels and a histogram of 4 x 4 x 4 colours (square roots, so that distance is
    Hellinger's). Both parts are centred and scaled on the train split to weigh the same. Distance is Euclidean.
    Opens every train photo in the constructor: some milliseconds a photo and processor.
    """

    given: tuple[str, ...] = ()

    def __init__(self, task: Task, train: Sequence[Record]) -> None:
        self.name = "nearest training photo"
        raw = photo_vectors([record.photo for record in _need(train)])
        self._centre = raw.mean(axis=0)
        self._scale = _part_scales(raw - self._centre)
        self._vectors = (raw - self._centre) * self._scale
        self._squares = (self._vectors**2).sum(axis=1)
        self._texts = [task.write(record.values) for record in train]

    @staticmethod
    def suits(task: Task) -> bool:
        """Any task has photos."""
        return True

    def __call__(self, records: Iterable[Record], *, batch_size: int = 256) -> Iterator[Prediction]:
        remaining = iter(records)
        while batch := list(islice(remaining, batch_size)):
            start = time.perf_counter()
            asked = (photo_vectors([record.photo for record in batch]) - self._centre) * self._scale
            # |a - b|^2 = |a|^2 + |b|^2 - 2ab, and |a|^2 is the same for every train photo b
            nearest = (self._squares - 2 * asked @ self._vectors.T).argmin(axis=1)
            seconds = (time.perf_counter() - start) / len(batch)
            for record, index in zip(batch, nearest, strict=True):
                yield Prediction(record.id, self._texts[index], seconds)


Baseline: TypeAlias = MostCommonAnswer | MedianOfCategory | MedianOfPredicted | NearestPhoto
BASELINES: tuple[type[MostCommonAnswer | MedianOfCategory | NearestPhoto], ...] = (MostCommonAnswer, MedianOfCategory, NearestPhoto)


def baselines(task: Task, train: Sequence[Record], answered: Sequence[Prediction] = ()) -> list[Baseline]:
    """Every baseline that suits the task, fitted on `train`; with `answered`, the model's predictions, the one that is told their category.

    Raises DataError when there is no train record.
    """
    found: list[Baseline] = [one(task, train) for one in BASELINES if one.suits(task)]
    if answered and MedianOfCategory.suits(task):
        found.insert(2, MedianOfPredicted(task, train, answered))
    return found


def photo_vectors(photos: Sequence[Path | None]) -> Vectors:
    """float32[photo, 832]: pixels of each photo shrunk to 16 x 16 (0..1), then the roots of its colour shares (0..1).

    No photo at all is seen as a white one, so that records of words alone are alike. Raises PhotoError for a photo that cannot be opened.
    """
    # Pillow lets go of the interpreter while it decodes and shrinks. open_photo sets warning filters, which threads share:
    # they are put back here, once all are done.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(_vector, photos)))


def _vector(photo: Path | None) -> Vectors:
    image = open_photo(photo).convert("RGB") if photo else Image.new("RGB", (64, 64), "white")
    small = np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX), dtype=np.float32) / 255
    colours = np.asarray(image.resize((64, 64), Image.Resampling.NEAREST)).reshape(-1, 3) // (256 // LEVELS)
    codes = colours @ np.array([LEVELS**2, LEVELS, 1])
    shares = np.bincount(codes, minlength=LEVELS**3) / len(codes)
    return np.concatenate([small.ravel(), np.sqrt(shares)]).astype(np.float32)


def _part_scales(centred: Vectors) -> Vectors:
    """One factor a dimension, so that pixels and colours each have a mean squared length of 1 (0 where nothing varies)."""
    pixels = GRID * GRID * 3
    scales = np.zeros(centred.shape[1], dtype=np.float32)
    for part in (slice(0, pixels), slice(pixels, None)):
        length = float(np.sqrt((centred[:, part] ** 2).sum(axis=1).mean()))
        scales[part] = 1 / length if length > 0 else 0
    return scales


def typical(fields: Sequence[Field], records: Sequence[Record]) -> dict[str, Value]:
    """Each field's most common words (of equals, the first in the records) or median number."""
    return {one.name: _middle([record.values[one.name] for record in records], one) for one in fields}


def _middle(values: Sequence[Value], one: Field) -> Value:
    if one.kind == "number":
        # of two middle numbers the lower: their mean errs no less on the train split and may have too many digits to write
        return statistics.median_low(cast(Sequence[Decimal], values))
    return Counter(values).most_common(1)[0][0]


def _need(train: Sequence[Record]) -> Sequence[Record]:
    if not train:
        raise DataError("found 0 train records, baselines are fitted on them: give a dataset folder with a train split")
    return train
