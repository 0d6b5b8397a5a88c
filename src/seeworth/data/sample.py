"""`seeworth sample`: draw a shop's product photos and write them as a dataset folder, with the cookbook's table beside it.

`draw.catalogue` decides what exists and what it costs, `draw.scene` draws it; this module spreads the rows over
processes and writes. Every row has its own random numbers, from seed and row number, so the bytes depend on neither
the number of processes nor their order.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from ..errors import SettingsError, told_as
from ..record import Value
from ..settings import SampleSettings
from ..task import Field, Task
from .dataset import Row, prepare_folder, store_photo, write_dataset
from .draw.catalogue import CUT, KINDS, SIGMA, Product, floor, plan, title
from .draw.scene import draw
from .look import phash
from .photo import open_photo
from .split import split_of

BRAND = "Alderwick"
"""The invented fashion house."""
EUR_PER_USD = Decimal("0.92")
COLUMNS = (
    "website_name", "competence_date", "country_code", "currency_code", "brand", "category1_code", "category2_code", "category3_code",
    "product_code", "title", "itemurl", "imageurl", "full_price", "price", "full_price_eur", "price_eur", "flg_discount",
)  # fmt: skip
"""The cookbook data set's 17 columns."""

_ALONE = 48  # up to so many rows are drawn here: starting processes would take longer


def run(settings: SampleSettings) -> None:
    """Draw `settings.rows` products into the dataset folder `settings.output`.

    Same seed, same bytes of every file. Raises SettingsError for a setting that cannot be or a folder that is there.
    """
    _check(settings)
    start = time.perf_counter()
    folder = settings.output
    prepare_folder(folder, settings.overwrite)
    products = plan(settings.rows, settings.seed)
    rows = list(_watched(_drawn(products, settings), settings.rows))
    _write_table(folder / "products.csv", rows)
    lowest = floor(products)
    source = {
        "kind": "sample",
        "rows": settings.rows,
        "seed": settings.seed,
        "size": settings.size,
        "noise": {"sigma": SIGMA, "cut": CUT},
        "floor": {"full_price_mae": round(lowest, 4)},
    }
    write_dataset(folder, task(), rows, source=source)
    seconds = time.perf_counter() - start
    categories = len({product.traits.kind.code for product in products})
    print(
        f"{folder}: {len(rows)} photos of {len({row.group for row in rows})} products in {categories} categories, "
        f"drawn in {seconds:.0f} s; no reader can read their prices better than ${lowest:.0f} off on average"
    )


def task() -> Task:
    """The cookbook's task, its categories those that are drawn."""
    codes = tuple(sorted(kind.code for kind in KINDS))
    return Task(fields=(Field("title"), Field("category3_code", "category", choices=codes), Field("full_price", "number", "USD")))


def _check(settings: SampleSettings) -> None:
    for name, low, high in (("rows", 1, 1_000_000), ("seed", 0, 2**63), ("size", 64, 2048), ("processes", 0, 512)):
        if not low <= getattr(settings, name) <= high:
            raise SettingsError(f"{name} is {getattr(settings, name)}: expected {low} to {high}")


def _drawn(products: Sequence[Product], settings: SampleSettings) -> Iterator[Row]:
    """The rows in order, drawn in this process or in several."""
    work = partial(_row, settings.output, settings.seed, settings.size)
    processes = settings.processes or _processors()
    if processes == 1 or len(products) <= _ALONE:
        yield from map(work, range(len(products)), products)
        return
    # spawn, not fork: the caller may hold torch's threads, which a fork would copy half-alive
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, range(len(products)), products, chunksize=16)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _row(folder: Path, seed: int, size: int, number: int, product: Product) -> Row:
    """Draw one product, store its photo, and tell what is known of it."""
    data = draw(product.traits, size, np.random.default_rng([seed, number]))
    image = open_photo(data)
    file_name, sha256 = store_photo(folder, data, "jpg")
    values = _values(product, file_name)
    split = split_of(product.code, seed)
    return Row(f"r{number:05d}", file_name, product.code, split, image.width, image.height, sha256, phash(image), values)


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


def _write_table(path: Path, rows: Iterable[Row]) -> None:
    """The raw table, as a shop would hand it over."""
    with told_as(SettingsError, OSError, where=path), path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dict(row.values) for row in rows)


def _watched(rows: Iterable[Row], total: int) -> Iterator[Row]:
    """The rows, with a progress bar on a terminal and a plain line each quarter elsewhere."""
    if sys.stdout.isatty():
        yield from track(rows, "drawing", total=total)
        return
    for number, row in enumerate(rows, 1):
        yield row
        if number * 4 // total > (number - 1) * 4 // total:
            print(f"drawing: {number} of {total} photos", flush=True)
