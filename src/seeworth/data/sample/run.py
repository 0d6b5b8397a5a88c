"""`seeworth sample`: draw a shop's product photos and write them as a dataset folder, with the cookbook's table beside it.

`draw.catalogue` decides what exists and what it costs, `draw.scene` draws it; this module spreads the rows over
processes and writes them as they come. Every row has its own random numbers, from seed and row number, so the bytes depend
on neither the number of processes nor their order. A twin of a real set (`--like`) is made by `twin`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ...errors import SettingsError
from ...record import Value
from ...say import many, say
from ...settings import SampleSettings
from ...task import Field, Task
from ..dataset import Row, prepare_folder, store_photo, write_dataset, write_table_note
from ..draw.catalogue import CUT, KINDS, SIGMA, Product, title
from ..draw.scene import draw
from ..photo.decode import glance
from ..progress import quarters
from ..split.deal import split_of
from ..workers import in_order, processors
from .packed import PackedPlan
from .table import TableFile, as_csv

ROWS = 3000
"""Rows when none are asked for."""
BRAND = "Alderwick"
"""The invented fashion house."""
EUR_PER_USD = Decimal("0.92")
COLUMNS = (
    "website_name", "competence_date", "country_code", "currency_code", "brand", "category1_code", "category2_code", "category3_code",
    "product_code", "title", "itemurl", "imageurl", "full_price", "price", "full_price_eur", "price_eur", "flg_discount",
)  # fmt: skip
"""The cookbook data set's 17 columns."""

_ALONE = 48  # up to so many photos are drawn here: starting processes would take longer
_ALONE_ROWS = 20_000  # the same of rows without photos
_PHOTOS, _LINES = 16, 2000  # rows that a process is given at a time, with photos and without

Part: TypeAlias = tuple[int, PackedPlan]  # number of the first row, and products


def run(settings: SampleSettings) -> None:
    """Draw `settings.rows` products into the dataset folder `settings.output`, or a twin of the dataset `settings.like`.

    Same seed, same bytes of every file. Raises SettingsError for a setting that cannot be or a folder that is there.
    """
    if settings.like is not None:
        from ..twin.make import run as run_twin

        run_twin(settings)
        return
    rows = ROWS if settings.rows is None else settings.rows
    check(settings, rows)
    photos = rows if settings.photos is None else settings.photos
    start = time.perf_counter()
    folder = settings.output
    prepare_folder(folder, settings.overwrite)
    plan = PackedPlan.of(rows, settings.seed)
    source = _source(settings, plan, photos)
    with TableFile(folder, COLUMNS) as table:
        drawn = _written(plan, photos, settings, table)
        if photos:
            write_dataset(folder, task(), drawn, source=source)
        else:
            list(drawn)
    if not photos:
        write_table_note(folder, rows, COLUMNS, source)
    for line in summary(folder, rows, photos):
        say(line)
    if photos:
        say(_account(plan[:photos], folder, time.perf_counter() - start, source["floor"]["full_price_mae"]))


def check(settings: SampleSettings, rows: int) -> None:
    """Raises SettingsError for a setting that cannot be; `rows` are those that will be drawn."""
    limits = {"rows": (rows, 1, 10_000_000), "seed": (settings.seed, 0, 2**63), "size": (settings.size, 64, 2048)}
    limits |= {"processes": (settings.processes, 0, 512), "photos": (settings.photos or 0, 0, rows)}
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise SettingsError(f"{name} is {value}: expected {low} to {high}{', the number of rows' if name == 'photos' else ''}")


def summary(folder: Path, rows: int, photos: int) -> Iterator[str]:
    """What is where, when not every row has a photo."""
    if not photos:
        yield f"{folder / 'products.csv'}: {rows} rows, a table alone, for tools that read tables: there is nothing to train on"
    elif photos < rows:
        yield f"{folder / 'products.csv'}: all {rows} rows; the dataset folder holds the {photos} that have a photo"


def _source(settings: SampleSettings, plan: PackedPlan, photos: int) -> dict[str, Any]:
    """What dataset.json says of how the set was made; its floor is that of the rows in the dataset."""
    source: dict[str, Any] = {
        "kind": "sample",
        "rows": len(plan),
        "seed": settings.seed,
        "size": settings.size,
        "noise": {"sigma": SIGMA, "cut": CUT},
    }
    if photos:
        source["floor"] = {"full_price_mae": round(plan[:photos].floor(), 4)}
    return source if photos == len(plan) else source | {"photos": photos}


def _account(plan: PackedPlan, folder: Path, seconds: float, lowest: float) -> str:
    categories = "1 category" if plan.kinds == 1 else f"{plan.kinds} categories"
    return (
        f"{folder}: {many(len(plan), 'photo')} of {many(plan.groups, 'product')} in {categories}, "
        f"drawn in {seconds:.0f} s; no reader can read their prices better than ${lowest:.0f} off on average"
    )


def task() -> Task:
    """The cookbook's task, its categories those that are drawn."""
    codes = tuple(sorted(kind.code for kind in KINDS))
    return Task(fields=(Field("title"), Field("category3_code", "category", choices=codes), Field("full_price", "number", "USD")))


def _written(plan: PackedPlan, photos: int, settings: SampleSettings, table: TableFile) -> Iterator[Row]:
    """The rows that have photos, as they are drawn; on their way they go into the table, and after them all rows without."""
    processes = settings.processes or processors()
    make = partial(_drawer, settings.output, settings.seed, settings.size)
    drawn = in_order(make, _parts(plan, 0, photos, _PHOTOS), 1 if photos <= _ALONE else processes)
    for row in quarters((row for rows in drawn for row in rows), photos, "drawing", "photos"):
        table.add(as_csv([row.values], COLUMNS))
        yield row
    rest = len(plan) - photos
    lines = in_order(_liner, _parts(plan, photos, len(plan), _LINES), 1 if rest <= _ALONE_ROWS else processes)
    for text in quarters(lines, rest, "writing", "rows", lambda text: text.count("\n")):
        table.add(text)


def _parts(plan: PackedPlan, start: int, stop: int, step: int) -> Iterator[Part]:
    yield from ((first, plan[first : min(first + step, stop)]) for first in range(start, stop, step))


def _drawer(folder: Path, seed: int, size: int) -> Callable[[Part], list[Row]]:
    return partial(_draw_part, folder, seed, size)


def _draw_part(folder: Path, seed: int, size: int, part: Part) -> list[Row]:
    first, products = part
    return [_row(folder, seed, size, first + place, product) for place, product in enumerate(products)]


def _liner() -> Callable[[Part], str]:
    return _lines_of


def _lines_of(part: Part) -> str:
    return as_csv((_values(product, "") for product in part[1]), COLUMNS)


def _row(folder: Path, seed: int, size: int, number: int, product: Product) -> Row:
    """Draw one product, store its photo, and tell what is known of it."""
    data = draw(product.traits, size, np.random.default_rng([seed, number]))
    seen = glance(data)
    file_name, sha256 = store_photo(folder, data, "jpg")
    values = _values(product, file_name)
    split = split_of(product.code, seed)
    return Row(f"r{number:05d}", file_name, product.code, split, seen.width, seen.height, sha256, seen.phash, values)


def _values(product: Product, file_name: str) -> dict[str, Value]:
    """The 17 columns of one product."""
    traits, kind = product.traits, product.traits.kind
    slug = traits.colour.lower().replace(" ", "-")
    return {
        "website_name": BRAND,
        "competence_date": "2026-01-15",
        "country_code": "USA",
        "currency_code": "USD",
        "brand": BRAND,
        "category1_code": kind.top,
        "category2_code": kind.middle,
        "category3_code": kind.code,
        "product_code": product.code,
        "title": title(traits),
        "itemurl": f"https://alderwick.example/us/p/{product.code}-{slug}",
        "imageurl": file_name,
        "full_price": product.full_price,
        "price": str(product.price),
        "full_price_eur": f"{product.full_price * EUR_PER_USD:.2f}",
        "price_eur": f"{product.price * EUR_PER_USD:.2f}",
        "flg_discount": str(int(product.price < product.full_price)),
    }
