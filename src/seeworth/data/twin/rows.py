"""Rows of a twin, drawn from a `Structure`: a chunk at a time, each from its own random numbers, so that any process draws any.

Which values a row has: 1 the path of categories, 2 all other categories down their tree, 3 numbers, 4 codes, 5 texts, 6 addresses,
dates and what is personal, 7 columns that repeat others. Knows nothing of files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import cast as typed

from ...record import Split, Value
from .codes import fake_email, fake_phone
from .learn import ABSENT, GROUP, ID, PATH, RELATION, SPLIT, Structure
from .links import Link
from .numbers import BORROW, NumberModel, relation, share_below
from .texts import TextModel

CHUNK = 100
"""Rows drawn together."""


@dataclass(frozen=True)
class Draft:
    """A row to be: `level` (0 to 1) is where its price stands in its category, `size` the width and height of its photo."""

    id: str
    group: str
    split: Split | None
    values: dict[str, Value]
    category: str
    level: float
    size: tuple[int, int]


class Drawer:
    """Draws the `rows` rows of one twin."""

    def __init__(self, structure: Structure, rows: int, seed: int) -> None:
        self.structure = structure
        self.rows = rows
        self.seed = seed
        self._codes = math.ceil(rows / CHUNK) * CHUNK  # numbers that rows and groups may have

    @property
    def chunks(self) -> int:
        return math.ceil(self.rows / CHUNK)

    def chunk(self, number: int) -> list[Draft]:
        """The rows from number * CHUNK on, in a shuffled order; a group lies within one chunk."""
        rng = Random(f"{self.seed}/{number}")
        first, wanted = number * CHUNK, min(CHUNK, self.rows - number * CHUNK)
        drafts: list[Draft] = []
        groups = 0
        while len(drafts) < wanted:
            drafts.extend(self._group(rng, first + groups, first + len(drafts), wanted - len(drafts)))
            groups += 1
        rng.shuffle(drafts)
        return drafts

    def _group(self, rng: Random, index: int, first: int, room: int) -> Iterator[Draft]:
        """The records of one group: its number is `index`, its first record's `first`."""
        learnt = self.structure
        path = learnt.paths.draw(rng)
        sizes = learnt.sizes[learnt.leaf(path)]
        sizes = sizes if rng.random() < sizes.sums[-1] / (sizes.sums[-1] + BORROW) else learnt.sizes["\0all"]
        size = min(room, sizes.draw(rng))
        one_path = size == 1 or rng.random() < learnt.path_same
        paths = [path, *(path if one_path else learnt.paths.draw(rng) for _ in range(size - 1))]
        rows = [{**dict(zip(learnt.path, one, strict=True)), PATH: learnt.leaf(one)} for one in paths]
        for link in learnt.links:
            _draw_link(link, rows, rng)
        numbers = self._numbers(rows, rng)
        self._write_codes(rows, index, first, rng)
        self._write_texts(rows, rng)
        self._write_rest(rows, rng)
        for row, found in zip(rows, numbers, strict=True):
            yield self._draft(row, found, rng)

    def _numbers(self, rows: Sequence[dict[str, str]], rng: Random) -> list[dict[str, Decimal]]:
        found: list[dict[str, Decimal]] = [{} for _ in rows]
        for name, model in self.structure.numbers.items():
            shared = rng.random() < model.same
            known: dict[tuple[str, Decimal | None, str], Decimal] = {}
            start = model.draw(rng, rows[0][PATH])
            for place, (row, numbers) in enumerate(zip(rows, found, strict=True)):
                base = numbers.get(model.base.column) if model.base else None
                wanted = row.get(RELATION + name, "")
                key = (row[PATH], base, wanted)
                if not shared or key not in known:
                    other = row[PATH] != rows[0][PATH]
                    fresh = start if not place else model.draw(rng, row[PATH]) if other else model.vary(start, rng)
                    known[key] = _following(model, base, wanted, rng) if base is not None else model.round(fresh, rng)
                numbers[name] = known[key]
                absent = row.get(ABSENT + name, "")
                row[name] = absent[1:] if absent else model.writing.write(known[key])
        return found

    def _write_codes(self, rows: Sequence[dict[str, str]], index: int, first: int, rng: Random) -> None:
        learnt = self.structure
        for name, model in learnt.codes.items():
            seed = f"{self.seed}/{name}"
            many = max(1, round(model.share * self.rows * learnt.groups / learnt.records))
            per = {ID: "row", GROUP: "group"}.get(name, model.per)
            shared = rng.random() < learnt.same[name]
            owner = rng.randrange(many)
            for place, row in enumerate(rows):
                if per:
                    row[name] = model.write(first + place if per == "row" else index, self._codes, seed)
                else:
                    owner = owner if shared else rng.randrange(many)
                    row[name] = model.write(owner, many, seed)

    def _write_texts(self, rows: Sequence[dict[str, str]], rng: Random) -> None:
        for name, model in self.structure.texts.items():
            if model.follows:
                for row in rows:
                    if row[model.follows]:
                        row[name] = model.draw(Random(f"{self.seed}/{name}/{row[model.follows]}"), row[PATH])
                    else:
                        row[name] = model.draw(rng, row[PATH])
                continue
            for row, text in zip(rows, self._texts(name, model, rows, rng), strict=True):
                row[name] = text

    def _texts(self, name: str, model: TextModel, rows: Sequence[dict[str, str]], rng: Random) -> list[str]:
        category = rows[0][PATH]
        if (shared := model.shared.get(category)) and (number := shared.draw(rng)) >= 0:
            return [model.draw(Random(f"{self.seed}/{name}/{category}/{number}"), category)] * len(rows)
        if any(row[PATH] != category for row in rows):
            return [model.draw(rng, row[PATH]) for row in rows]
        return model.draw_group(rng, category, len(rows))

    def _write_rest(self, rows: Sequence[dict[str, str]], rng: Random) -> None:
        """Addresses, dates and what is personal; then what is missing is taken away, and what repeats is repeated."""
        learnt = self.structure
        for name in (*learnt.urls, *learnt.dates, *learnt.personal):
            shared = rng.random() < learnt.same[name]
            seen: dict[str, str] = {}
            for row in rows:
                code = row[model.code] if (model := learnt.urls.get(name)) and model.code else ""
                if not shared or code not in seen:
                    seen[code] = self._rest(name, code, rng)
                row[name] = seen[code]
        for row in rows:
            for name in learnt.kinds:
                if absent := row.get(ABSENT + name):
                    row[name] = absent[1:]
            for name, other in learnt.copies.items():
                row[name] = row[other]

    def _rest(self, name: str, code: str, rng: Random) -> str:
        learnt = self.structure
        if name in learnt.urls:
            return learnt.urls[name].draw(rng, code)
        if name in learnt.dates:
            return learnt.dates[name].draw(rng)
        known, forms = learnt.personal[name]
        return fake_email(rng, known) if learnt.kinds[name] == "email" else fake_phone(forms.draw(rng), rng, known)

    def _draft(self, row: dict[str, str], numbers: dict[str, Decimal], rng: Random) -> Draft:
        learnt = self.structure
        of_task = {one.name for one in learnt.task.fields if one.kind == "number"}
        values: dict[str, Value] = {name: numbers[name] if name in of_task else row.get(name, "") for name in learnt.columns}
        priced = next((name for name in learnt.numbers if name in of_task), None)
        level = _level(learnt.numbers[priced], row[PATH], numbers[priced]) if priced else rng.random()
        size = learnt.photo_sizes[row[PATH]].draw(rng)
        return Draft(row[ID], row[GROUP], typed(Split, row[SPLIT]) if row[SPLIT] else None, values, row[PATH], level, size)


def _draw_link(link: Link, rows: Sequence[dict[str, str]], rng: Random) -> None:
    shared = rng.random() < link.same
    seen: dict[str, str] = {}
    for row in rows:
        parent = row[link.parent] if link.parent else ""
        if not shared or parent not in seen:
            seen[parent] = link.draw(rng, parent)
        row[link.column] = seen[parent]


def _following(model: NumberModel, base: Decimal, wanted: str, rng: Random) -> Decimal:
    """The number that goes with its base; when rounding undoes that it is lower (or higher), it is moved on a little."""
    assert model.base is not None
    if wanted == "equal":
        return base
    number = model.follow(float(base), wanted, rng)
    for step in (0.0, 0.02, 0.05, 0.1, 0.2):
        made = model.round(number * (1 + step if wanted == "higher" else 1 - step), rng, habit=model.base.exact is None)
        if not wanted or relation(float(made), float(base)) == wanted:
            break
    return made


def _level(model: NumberModel, category: str, number: Decimal) -> float:
    own = model.own.get(category, ((), 0.0))[0]
    value = float(number)
    if not own or (model.log and value <= 0):
        return 0.5
    return share_below(own, math.log(value) if model.log else value)
