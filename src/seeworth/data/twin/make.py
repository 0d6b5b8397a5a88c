"""`seeworth sample --like DATASET`: a synthetic twin of a real dataset folder, with a page that tells how near it is and how private.

    1 learn the structure    2 draw rows in chunks, and their photos    3 hold each row against the real set: a copy ends it
    4 measure, draw the page    5 dataset.json, last

A chunk has its own random numbers, from seed and number, so the bytes depend on neither the number of processes nor their order.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from ...errors import SettingsError
from ...files import write_whole
from ...settings import SampleSettings
from ..dataset import Dataset, Row, prepare_folder, store_photo, write_dataset, write_table_note
from ..photo.decode import glance, open_photo
from ..progress import quarters
from ..sample.run import check, summary
from ..sample.table import TableFile, as_csv
from ..workers import in_order, processors
from . import page
from .copies import Copy, RealSet, refuse
from .learn import Structure, learn
from .measure import measure
from .photos import Role, cast, draw, traits_of
from .rows import CHUNK, Draft, Drawer

MEASURED = 10_000
"""Rows that fidelity and privacy are measured on: the first so many, which are as good as any."""

PAGE = "twin.html"
_ALONE = 500  # rows without photos that are drawn here: starting processes would take longer
_EXTRA = ("photo", "id", "group", "split")  # columns of products.csv that the real table may lack


@dataclass(frozen=True)
class Made:
    """One chunk: its rows (file_name is "" of one without photo; none beyond what is used), its lines of the table, its copies."""

    rows: list[Row]
    lines: str
    copies: list[Copy]


def run(settings: SampleSettings) -> None:
    """Draw a twin of the dataset folder `settings.like` into `settings.output`, and print how near and how private it is.

    Raises DataError when `like` is no dataset folder or when a row repeats one of it; then no finished dataset is left.
    """
    assert settings.like is not None
    start = time.perf_counter()
    real = Dataset.open(settings.like)
    _keep_apart(settings.output, settings.like)
    structure = learn(real)
    rows = structure.records if settings.rows is None else settings.rows
    check(settings, rows)
    photos = rows if settings.photos is None else settings.photos
    prepare_folder(settings.output, settings.overwrite)
    maker = Maker(settings, structure, RealSet.of(real, structure), rows, photos)
    account = _account(structure, settings, rows, photos)
    with TableFile(settings.output, columns_of(structure)) as table:
        passing = _passing(maker, table, real)
        if photos:
            write_dataset(settings.output, structure.task, passing, source=account)
        else:
            list(passing)
    if not photos:
        write_table_note(settings.output, rows, columns_of(structure), account)
    for line in summary(settings.output, rows, photos):
        print(line)
    print(f"{settings.output}: {rows} rows, {photos} photos in {time.perf_counter() - start:.0f} s; page: {settings.output / PAGE}")


@dataclass(frozen=True)
class Maker:
    """What makes chunks, in any process."""

    settings: SampleSettings
    structure: Structure
    real: RealSet
    rows: int
    photos: int

    def chunk(self) -> partial[Made]:
        """The work of one process."""
        leaves: Counter[str] = Counter()
        for path, weight in zip(self.structure.paths.things, _weights(self.structure.paths.sums), strict=True):
            leaves[self.structure.leaf(path)] += round(weight)
        roles = cast([leaf for leaf, _ in leaves.most_common()])
        return partial(_make, self, Drawer(self.structure, self.rows, self.settings.seed), roles)


def _weights(sums: tuple[float, ...]) -> Iterator[float]:
    yield from (after - before for before, after in zip((0.0, *sums), sums, strict=False))


def columns_of(structure: Structure) -> list[str]:
    """The columns of products.csv: the real table's, and before them photo, id, group and split where it has none of its own."""
    has_photo = bool(structure.photos)
    return [*(name for name in _EXTRA if name not in structure.columns and not (name == "photo" and has_photo)), *structure.columns]


def _passing(maker: Maker, table: TableFile, real: Dataset) -> Iterator[Row]:
    """The rows with photos as they are made; all rows go into the table; when the last has passed, the page is drawn."""
    measured: list[Row] = []
    alone = maker.photos <= 48 and maker.rows <= _ALONE
    chunks = range(Drawer(maker.structure, maker.rows, maker.settings.seed).chunks)
    made = in_order(maker.chunk, chunks, 1 if alone else maker.settings.processes or processors())
    for one in quarters(made, maker.rows, "drawing", "rows", lambda one: one.lines.count("\n")):
        refuse(one.copies, maker.settings.output)
        table.add(one.lines)
        measured.extend(one.rows[: MEASURED - len(measured)])
        yield from (row for row in one.rows if row.file_name)
    figures = measure(list(real.rows()), measured, maker.structure, maker.settings.seed)
    drawn = page.draw(maker.settings.output, figures, measured, maker.structure, maker.rows, maker.photos)
    write_whole(maker.settings.output / PAGE, drawn)
    for line in page.lines(figures):
        print(line)


def _make(maker: Maker, drawer: Drawer, roles: dict[str, Role], number: int) -> Made:
    """Runs in a worker process: one chunk of rows, with photos for those that have one."""
    rows: list[Row] = []
    copies: list[Copy] = []
    for place, draft in enumerate(drawer.chunk(number), number * CHUNK):
        row = _row(maker, draft, roles[draft.category], place, copies) if place < maker.photos else _bare(maker.structure, draft)
        if not row.file_name:
            copies.extend(maker.real.copies(row))
        rows.append(row)
    columns = columns_of(maker.structure)
    lines = as_csv((_cells(row, columns) for row in rows), columns)
    return Made([row for row in rows if row.file_name or number * CHUNK < MEASURED], lines, copies)


def _cells(row: Row, columns: list[str]) -> dict[str, object]:
    own = {"photo": row.file_name, "id": row.id, "group": row.group, "split": row.split or ""}
    return {name: row.values[name] if name in row.values else own[name] for name in columns}


def _bare(structure: Structure, draft: Draft, file_name: str = "") -> Row:
    values = draft.values | dict.fromkeys(structure.photos, file_name)
    return Row(draft.id, file_name, draft.group, draft.split, 0, 0, "", "", values)


def _row(maker: Maker, draft: Draft, role: Role, place: int, copies: list[Copy]) -> Row:
    """Draw the photo of one row, store it, and hold the row against the real set."""
    rng = Random(f"{maker.settings.seed}/photo/{place}")
    title = next((str(draft.values[one.name]) for one in maker.structure.task.of_kind("text")), "")
    data = draw(traits_of(role, draft.level, title, rng), draft.size, rng)
    image = open_photo(data)
    file_name, sha256 = store_photo(maker.settings.output, data, "jpg")
    bare = _bare(maker.structure, draft, file_name)
    row = Row(bare.id, file_name, bare.group, bare.split, image.width, image.height, sha256, glance(data).phash, bare.values)
    copies.extend(maker.real.copies(row, image))
    return row


def _account(structure: Structure, settings: SampleSettings, rows: int, photos: int) -> dict[str, object]:
    return {
        "kind": "twin",
        "note": "a synthetic twin: no row, title, code, address or photo in it is real; category names and constants are",
        "of": structure.fingerprint,
        "of_records": structure.records,
        "rows": rows,
        "photos": photos,
        "seed": settings.seed,
        "columns": {"photo": next(iter(sorted(structure.photos)), "photo")},
        "copies": 0,
        "page": PAGE,
    }


def _keep_apart(output: Path, real: Path) -> None:
    """Neither folder may lie in the other: one would be overwritten."""
    out, source = output.resolve(), real.resolve()
    if out.is_relative_to(source) or source.is_relative_to(out):
        raise SettingsError(f"{output}: the twin and the dataset {real} that it is drawn from lie in one another: choose another folder")
