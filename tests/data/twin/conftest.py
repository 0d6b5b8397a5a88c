"""Real sets for the tests of twins: rows without files to learn from, and small dataset folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seeworth.data.dataset import Dataset, Row, prepare_folder, store_photo, write_dataset
from seeworth.data.photo.decode import open_photo
from seeworth.data.photo.look import phash
from seeworth.record import SPLITS
from seeworth.task import Field, Task

TASK = Task(fields=(Field("title"), Field("category3_code", "category"), Field("full_price", "number", "USD")))
COLOURS = ("Red", "Blue", "Green", "Black", "White")
NOUNS = {"COATS": "Coat", "SHIRTS": "Shirt", "BOOTS": "Boots", "HATS": "Hat"}


@pytest.fixture(scope="session")
def task() -> Task:
    return TASK


@pytest.fixture(scope="session")
def real_rows() -> Callable[..., list[Row]]:
    """real_rows(cells): rows of these cells; id, group, split and photo are made up where a row of cells does not name them."""

    def make(cells: Sequence[Mapping[str, Any]]) -> list[Row]:
        return [
            Row(
                one.get("id", f"r{number:05d}"), f"photos/{number}.jpg",
                one.get("group", f"g{number:05d}"), one.get("split", SPLITS[number % 3]),
                40 + 10 * (number % 2), 50, "", "0" * 16,
                {key: value for key, value in one.items() if key not in ("id", "group", "split")},
            )
            for number, one in enumerate(cells)
        ]  # fmt: skip

    return make


@pytest.fixture(scope="session")
def shop_cells() -> Callable[..., list[dict[str, Any]]]:
    """shop_cells(rows): a small shop, two colours a product, with a tree, prices, a discount, codes, addresses and long texts."""

    def make(rows: int) -> list[dict[str, Any]]:
        cells = []
        for number in range(rows):
            product = number // 2
            code, noun = list(NOUNS.items())[product % 4]
            colour = COLOURS[(product * 2 + number) % 5]
            made = f"Made by hand in workshop {product}, {colour.lower()} as the sea of Atlantis{number}."
            price = Decimal((product % 4 + 1) * 100 + product % 37 * 10)
            cells.append(
                {
                    "id": f"r{number:05d}",
                    "group": f"{70000 + product * 3}",
                    "title": f"{noun} in {colour} {'Wool' if product % 3 else 'Silk'} {1900 + product}",
                    "category3_code": code,
                    "full_price": price,
                    "category1_code": "SHOES" if code == "BOOTS" else "CLOTHING",
                    "product_code": f"{70000 + product * 3}",
                    "price": f"{price * Decimal('0.7') if product % 5 == 0 else price:.2f}",
                    "flg_discount": "1" if product % 5 == 0 else "0",
                    "currency_code": "USD",
                    "itemurl": f"https://real-shop.com/us/{70000 + product * 3}/{noun.lower()}-{colour.lower()}.html?ref={number}",
                    "description": made if number % 4 else "N.A.",
                    "contact": f"owner{number}@real-shop.com",
                }
            )
        return cells

    return make


@pytest.fixture(scope="session")
def write_real(real_rows: Callable[..., list[Row]], photo_bytes: Callable[..., bytes]) -> Callable[..., Dataset]:
    """write_real(folder, cells, task=TASK): a finished dataset folder of these cells, each with a photo of its own."""

    def write(folder: Path, cells: Sequence[Mapping[str, Any]], task: Task = TASK) -> Dataset:
        prepare_folder(folder, overwrite=False)
        rows = []
        for number, row in enumerate(real_rows(cells)):
            data = photo_bytes(number, "JPEG", (row.width, row.height))
            image = open_photo(data)
            file_name, sha256 = store_photo(folder, data, "jpg")
            rows.append(Row(row.id, file_name, row.group, row.split, *image.size, sha256, phash(image), row.values))
        write_dataset(folder, task, rows, source={"kind": "test"})
        return Dataset.open(folder)

    return write


@pytest.fixture(scope="session")
def shop(
    tmp_path_factory: pytest.TempPathFactory, write_real: Callable[..., Dataset], shop_cells: Callable[..., list[dict[str, Any]]]
) -> Dataset:
    """A dataset folder of 240 rows."""
    return write_real(tmp_path_factory.mktemp("real") / "shop", shop_cells(240))
