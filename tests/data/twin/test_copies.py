"""A copy of anything real is seen, whatever it is: planted in a dataset folder, it is found."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seeworth.data.dataset import Dataset, Row, prepare_folder, store_photo, write_dataset
from seeworth.data.photo.decode import open_photo
from seeworth.data.photo.look import phash
from seeworth.data.twin.copies import find_copies, refuse
from seeworth.data.twin.make import run
from seeworth.errors import DataError
from seeworth.settings import SampleSettings

Change = Callable[[Row, Row], Row]


@pytest.fixture(scope="module")
def twin(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A twin of 12 rows, which repeats nothing."""
    folder = tmp_path_factory.mktemp("twin") / "twin"
    run(SampleSettings(folder, like=shop.folder, rows=12, processes=1))
    return Dataset.open(folder)


def planted(twin: Dataset, folder: Path, row: Row, photo: bytes | None = None) -> Path:
    """The twin's rows in another folder, the first replaced by `row`, with the bytes of another photo if given."""
    prepare_folder(folder, overwrite=False)
    rows = []
    for one in [row, *list(twin.rows())[1:]]:
        data = photo if photo is not None and one is row else (twin.folder / one.file_name).read_bytes()
        file_name, sha256 = store_photo(folder, data, "jpg")
        image = open_photo(data)
        rows.append(replace(one, file_name=file_name, sha256=sha256, width=image.width, height=image.height, phash=phash(image)))
    write_dataset(folder, twin.task, rows, source={"kind": "test"})
    return folder


def with_values(row: Row, **values: Any) -> Row:
    return replace(row, values={**row.values, **values})


def test_a_twin_repeats_nothing(shop: Dataset, twin: Dataset) -> None:
    assert find_copies(shop.folder, twin.folder) == []


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("text", lambda mine, real: with_values(mine, title=real.values["title"])),
        ("text", lambda mine, real: with_values(mine, title=" ".join(reversed(str(real.values["title"]).upper().split())) + "!")),
        ("text", lambda mine, real: with_values(mine, description=real.values["description"])),
        ("code", lambda mine, real: with_values(mine, product_code=real.values["product_code"])),
        ("address", lambda mine, real: with_values(mine, itemurl=real.values["itemurl"])),
        ("email", lambda mine, real: with_values(mine, contact=real.values["contact"])),
        ("id", lambda mine, real: replace(mine, id=real.id)),
        ("id", lambda mine, real: replace(mine, group=real.group)),
        ("row", lambda mine, real: replace(mine, values=real.values)),
    ],
)
def test_a_planted_copy_is_seen(what: str, change: Change, shop: Dataset, twin: Dataset, tmp_path: Path) -> None:
    mine, real = next(twin.rows()), list(shop.rows())[7]
    folder = planted(twin, tmp_path / "planted", change(mine, real))
    assert what in {copy.what for copy in find_copies(shop.folder, folder)}


def test_a_planted_photo_is_seen(shop: Dataset, twin: Dataset, tmp_path: Path) -> None:
    real = shop.records()[9].photo
    folder = planted(twin, tmp_path / "planted", next(twin.rows()), real.read_bytes())
    assert [copy.what for copy in find_copies(shop.folder, folder)] == ["photo"]


def test_a_planted_photo_is_seen_when_it_was_saved_anew_and_made_larger(shop: Dataset, twin: Dataset, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with Image.open(shop.records()[9].photo) as photo:
        photo.resize((photo.width * 2, photo.height * 2), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=60)
    folder = planted(twin, tmp_path / "planted", next(twin.rows()), buffer.getvalue())
    assert [copy.what for copy in find_copies(shop.folder, folder)] == ["photo"]


def test_a_common_price_and_a_category_are_no_copies(shop: Dataset, twin: Dataset, tmp_path: Path) -> None:
    real = next(shop.rows())
    mine = with_values(next(twin.rows()), full_price=real.values["full_price"], price=real.values["price"])
    assert find_copies(shop.folder, planted(twin, tmp_path / "planted", mine)) == []


def test_a_set_repeats_itself(shop: Dataset) -> None:
    assert {copy.what for copy in find_copies(shop.folder, shop.folder)} == {"row", "id", "text", "code", "address", "email", "photo"}


def test_copies_are_refused_in_one_line(shop: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"repeats a real row .* and \d+ more: expected no copy") as caught:
        refuse(find_copies(shop.folder, shop.folder), tmp_path)
    assert "\n" not in str(caught.value)
