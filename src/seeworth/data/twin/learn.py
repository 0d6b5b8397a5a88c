"""The structure of a real dataset folder: what its columns are, which hang together, and a model of each.

Nothing else of the real set goes on to the twin but what stands in a `Structure`; of texts, codes and addresses it also holds the
real ones, only to know what may not be drawn. Knows nothing of how a twin is written or measured.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import DataError
from ...record import Value
from ...task import Task
from ..dataset import Dataset
from ..metadata import Row
from .codes import CodeModel, UrlModel, learn_codes, learn_urls
from .kinds import Kind, common, is_missing, kind_of
from .links import Link, agreement, determines, learn_links
from .numbers import DateModel, NumberModel, Writing, learn_base, learn_numbers, relation
from .texts import TextModel, Weighted, learn_texts
from .words import form, words

K = 5
"""A word, a value or a character that fewer groups than this have is somebody's own, and is not kept."""

ID, GROUP, SPLIT, PATH = "\0id", "\0group", "\0split", "\0path"  # columns that a row has besides its values
ABSENT, RELATION = "\0absent ", "\0relation "  # columns worked out of others: whether a cell is missing, how a number stands to its base


@dataclass(frozen=True)
class Structure:
    """All that a twin is drawn from.

    Attributes:
        columns: names of the values in the order of the table. kinds: of each, and of ID and GROUP.
        photos: columns that name the row's photo.
        copies: column -> earlier column that always says the same. path: the columns of the category tree, drawn as one.
        paths: the paths as tuples, by groups. path_same: share of the groups with one path. sizes: records of a group, by leaf.
        links: all other categories, given one another. photo_sizes: (width, height), by leaf.
        same: of other columns, the share of groups with several records that have one value.
        personal: real emails and telephone numbers, and their forms.
    """

    task: Task
    fingerprint: str
    records: int
    groups: int
    columns: tuple[str, ...]
    kinds: Mapping[str, Kind]
    photos: frozenset[str]
    copies: Mapping[str, str]
    path: tuple[str, ...]
    paths: Weighted
    path_same: float
    sizes: Mapping[str, Weighted]
    links: tuple[Link, ...]
    numbers: Mapping[str, NumberModel]
    dates: Mapping[str, DateModel]
    codes: Mapping[str, CodeModel]
    texts: Mapping[str, TextModel]
    urls: Mapping[str, UrlModel]
    personal: Mapping[str, tuple[frozenset[str], Weighted]]
    same: Mapping[str, float]
    photo_sizes: Mapping[str, Weighted]

    def leaf(self, path: Sequence[str]) -> str:
        """The finest category of a path, which all else is given."""
        return path[0] if path else ""


@dataclass(frozen=True)
class Columns:
    """The rows of a dataset as columns of text, with ID, GROUP and SPLIT among them."""

    names: tuple[str, ...]
    cells: Mapping[str, list[str]]
    numbers: Mapping[str, list[float | None]]  # of the task's number fields
    groups: list[str]

    @classmethod
    def of(cls, task: Task, rows: Sequence[Row]) -> Columns:
        names = tuple(dict.fromkeys([*(one.name for one in task.fields), *(name for row in rows for name in row.values)]))
        cells = {name: [_cell(row.values.get(name, "")) for row in rows] for name in names}
        cells |= {ID: [row.id for row in rows], GROUP: [row.group for row in rows], SPLIT: [row.split or "" for row in rows]}
        numbers: dict[str, list[float | None]] = {
            one.name: [float(row.values[one.name]) for row in rows] for one in task.fields if one.kind == "number"
        }
        return cls(names, cells, numbers, cells[GROUP])


def _cell(value: Value) -> str:
    return value if isinstance(value, str) else f"{value.normalize():f}"


def learn(dataset: Dataset, k: int = K) -> Structure:
    """Learn the structure of a dataset folder. Raises DataError when it has no record, or one of no photo or several."""
    rows = list(dataset.rows())
    if odd := next((row for row in rows if dataset.conversations and len(row.file_names) != 1), None):
        what = f"record {odd.id!r} has {len(odd.file_names)}"
        raise DataError(f"{dataset.folder}: a twin is drawn of records with one photo each, {what}: take such conversations out")
    return learn_rows(dataset.task, rows, _photo_role(dataset), dataset.fingerprint, k)


def learn_rows(task: Task, rows: Sequence[Row], photo_column: str | None, fingerprint: str, k: int = K) -> Structure:
    """Learn the structure of rows; `photo_column` is where the table names the photo, if it is known."""
    if not rows:
        raise DataError("a twin is drawn from at least one record, found none")
    table = Columns.of(task, rows)
    files = [row.file_name for row in rows]
    photos = frozenset(name for name in table.names if name == photo_column or table.cells[name] == files)
    copies = _copies(task, table, photos)
    kinds = _kinds(task, table, photos | copies.keys(), k)
    path = _path(task, table, kinds)
    kinds |= dict.fromkeys(path, "category")
    steps = list(zip(*(table.cells[name] for name in path), strict=True)) if path else [()] * len(rows)
    leaves = [step[0] if step else "" for step in steps]
    learner = _Learner(table, kinds, leaves, k)
    numbers = learner.numbers()
    first_paths = dict(zip(reversed(table.groups), reversed(steps), strict=True))
    by_leaf = Counter(table.groups)
    sizes: dict[str, Counter[int]] = defaultdict(Counter)
    for group, step in first_paths.items():
        sizes[step[0] if step else ""][by_leaf[group]] += 1
        sizes["\0all"][by_leaf[group]] += 1
    photo_sizes: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for row, leaf in zip(rows, leaves, strict=True):
        photo_sizes[leaf][row.width, row.height] += 1
    return Structure(
        task, fingerprint, len(rows), len(by_leaf), table.names, kinds, photos, copies, path,
        Weighted.of(Counter(first_paths[group] for group in dict.fromkeys(table.groups))),
        agreement(["\0".join(step) for step in steps], table.groups),
        {leaf: Weighted.of(counts) for leaf, counts in sizes.items()},
        tuple(learner.links(path, numbers)), numbers, learner.dates(), learner.codes(), learner.texts(), learner.urls(),
        learner.personal(), learner.same(), {leaf: Weighted.of(counts) for leaf, counts in photo_sizes.items()},
    )  # fmt: skip


def _photo_role(dataset: Dataset) -> str | None:
    columns = dataset.manifest["source"].get("columns")
    return columns.get("photo") if isinstance(columns, dict) else None


def _copies(task: Task, table: Columns, photos: frozenset[str]) -> dict[str, str]:
    """Columns that say what an earlier one says, in every row: of id, group, split and the values."""
    fields = {one.name for one in task.fields}
    seen: dict[tuple[str, ...], str] = {}
    copies = {}
    for name in (ID, GROUP, SPLIT, *sorted(table.names, key=lambda name: name not in fields)):
        cells = tuple(table.cells[name])
        if name in photos or (len(set(cells)) == 1 and name != GROUP):
            continue
        if cells in seen and name not in fields and name != SPLIT:
            copies[name] = seen[cells]
        seen.setdefault(cells, name)
    return copies


def _kinds(task: Task, table: Columns, known: frozenset[str], k: int) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {name: kind_of(name, table.cells[name], table.groups, k) for name in table.names if name not in known}
    kinds |= {one.name: one.kind for one in task.fields}
    return kinds | {name: "code" for name in (ID, GROUP) if name not in known}


def _path(task: Task, table: Columns, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    """The category tree: the task's categories, all of their levels (category1, category2), and what they decide. The finest first."""
    categories = [name for name, kind in kinds.items() if kind == "category" and name not in (ID, GROUP)]
    own = [one.name for one in task.fields if one.kind == "category"] or _finest(categories, table)[:1]
    stems = {re.sub(r"\d+", "#", name) for name in own if re.search(r"\d", name)}
    leaf = _finest(own, table)[:1]
    others = [name for name in kinds if name not in own]
    levels = [name for name in others if kinds[name] in ("category", "text", "code") and re.sub(r"\d+", "#", name) in stems]
    varied = [name for name in categories if name in others and name not in levels and len(set(table.cells[name])) > 1]
    decided = [name for name in varied if leaf and determines(table.cells[leaf[0]], table.cells[name])]
    return tuple(_finest([*own, *levels, *decided], table))


def _finest(names: Sequence[str], table: Columns) -> list[str]:
    return sorted(names, key=lambda name: -len(set(table.cells[name])))


@dataclass(frozen=True)
class _Learner:
    """Learns the columns of one table, kind by kind."""

    table: Columns
    kinds: Mapping[str, Kind]
    leaves: Sequence[str]
    k: int

    def _of(self, *kinds: Kind) -> list[str]:
        return [name for name, kind in self.kinds.items() if kind in kinds]

    def _present(self, name: str) -> list[str]:
        return ["" if is_missing(cell) else cell for cell in self.table.cells[name]]

    def numbers(self) -> dict[str, NumberModel]:
        """The task's numbers first, then each with a base among those before it."""
        read: dict[str, list[float | None]] = {}
        models = {}
        for name in sorted(self._of("number"), key=lambda name: name not in self.table.numbers):
            read[name], writing = self._read(name)
            base = learn_base(read, name, self.k)
            models[name] = learn_numbers(read[name], self.table.groups, self.leaves, writing, self.k, base)
        return models

    def _read(self, name: str) -> tuple[list[float | None], Writing]:
        cells = self._present(name)
        if name in self.table.numbers:
            decimals = max(len(cell.partition(".")[2]) for cell in cells)
            return self.table.numbers[name], Writing(decimals=decimals)
        found = Writing.of([cell for cell in cells if cell])
        assert found is not None
        numbers = iter(found[1])
        return [float(number) if cell and (number := next(numbers)) is not None else None for cell in cells], found[0]

    def links(self, path: tuple[str, ...], numbers: Mapping[str, NumberModel]) -> list[Link]:
        """The tree of all categories that are not in the path, and of what is worked out of other columns."""
        columns: dict[str, Sequence[str]] = {PATH: list(self.leaves), SPLIT: self.table.cells[SPLIT]}
        for name, kind in self.kinds.items():
            if name in path:
                continue
            if kind == "category":
                columns[name] = self._common(name)
            elif any(is_missing(cell) for cell in self.table.cells[name]):
                columns[ABSENT + name] = [f"-{cell}" if is_missing(cell) else "" for cell in self.table.cells[name]]
        for name, model in numbers.items():
            if model.base and model.base.exact is None:
                columns[RELATION + name] = self._relations(name, model.base.column)
        return learn_links(columns, PATH, self.table.groups, frozenset({SPLIT}))

    def _common(self, name: str) -> list[str]:
        """The cells with values that fewer than k groups have replaced by the most common one; a small set keeps what it has."""
        rows = list(zip(self.table.cells[name], self.table.groups, strict=True))
        found = common(rows, min(self.k, len(set(self.table.groups))))
        usual = Counter(cell for cell, _ in rows if found[cell]).most_common(1)
        return [cell if found[cell] or not usual else usual[0][0] for cell, _ in rows]

    def _relations(self, name: str, base: str) -> list[str]:
        mine, theirs = self._read(name)[0], self._read(base)[0]
        return ["equal" if y is None or x is None else relation(y, x) for y, x in zip(mine, theirs, strict=True)]

    def dates(self) -> dict[str, DateModel]:
        models = {name: DateModel.of([cell for cell in self._present(name) if cell]) for name in self._of("date")}
        return {name: model for name, model in models.items() if model}

    def codes(self) -> dict[str, CodeModel]:
        return {name: learn_codes(self._present(name), self.table.groups, self.k) for name in self._of("code")}

    def texts(self) -> dict[str, TextModel]:
        names = self._of("text")
        cells = {name: self._present(name) for name in names}
        taken = frozenset(word for name in names for cell in cells[name] for word in words(cell))
        models = {name: learn_texts(cells[name], self.table.groups, self.leaves, self.k, taken) for name in names}
        for place, name in enumerate(names):
            models[name].follows = next((other for other in names[:place] if _follows(cells[other], cells[name])), "")
        return models

    def urls(self) -> dict[str, UrlModel]:
        codes: dict[str, Sequence[str]] = {name: self._present(name) for name in self._of("code")}
        return {name: learn_urls(self._present(name), self.table.groups, codes, self.k) for name in self._of("url")}

    def personal(self) -> dict[str, tuple[frozenset[str], Weighted]]:
        found = {}
        for name in self._of("email", "phone"):
            cells = [cell for cell in self._present(name) if cell]
            found[name] = frozenset(cells), Weighted.of(Counter(map(form, cells)))
        return found

    def same(self) -> dict[str, float]:
        names = self._of("url", "date", "email", "phone", "code")
        return {name: agreement(self.table.cells[name], self.table.groups) for name in names}


def _follows(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether texts of the first column that stand in several rows have one text each in the second."""
    seen: dict[str, set[str]] = defaultdict(set)
    counts = Counter(first)
    for one, two in zip(first, second, strict=True):
        if one and counts[one] > 1:
            seen[one].add(two)
    return bool(seen) and sum(len(found) == 1 for found in seen.values()) >= 0.95 * len(seen) and len({*map(frozenset, seen.values())}) > 1
