"""`seeworth sample --like`: a finished dataset folder that everything else takes, the same bytes whatever the processes, or nothing."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from seeworth.cli import build_parser, main
from seeworth.data.dataset import Dataset
from seeworth.data.run import run as import_
from seeworth.data.twin import rows as drawn
from seeworth.data.twin.copies import find_copies
from seeworth.data.twin.learn import learn
from seeworth.data.twin.make import columns_of, run
from seeworth.errors import SettingsError
from seeworth.settings import ImportSettings, SampleSettings

ROWS, PHOTOS = 120, 25  # two chunks


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "products.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("twins") / "twin"
    run(SampleSettings(output, like=shop.folder, rows=ROWS, photos=PHOTOS, seed=3, processes=1))
    return output


def test_the_twin_is_a_dataset_of_the_same_task_and_columns(shop: Dataset, folder: Path) -> None:
    twin = Dataset.open(folder)
    assert twin.task == shop.task
    assert len(twin.records()) == PHOTOS
    assert len(table(folder)) == ROWS
    assert set(twin.records()[0].values) == set(shop.records()[0].values)
    for record in twin.records():
        assert twin.task.write(record.values)


def test_the_manifest_says_that_it_is_a_twin_and_of_what(shop: Dataset, folder: Path) -> None:
    source = Dataset.open(folder).manifest["source"]
    assert (source["kind"], source["of"], source["of_records"], source["copies"]) == ("twin", shop.fingerprint, 240, 0)
    assert "no row" in source["note"]


def test_photos_have_sizes_of_the_real_ones(shop: Dataset, folder: Path) -> None:
    sizes = {(row.width, row.height) for row in shop.rows()}
    assert {(row.width, row.height) for row in Dataset.open(folder).rows()} <= sizes


def test_nothing_is_repeated(shop: Dataset, folder: Path) -> None:
    assert find_copies(shop.folder, folder) == []


def test_hugging_face_reads_it(folder: Path, tmp_path: Path) -> None:
    found = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(found) == PHOTOS


def test_two_processes_give_the_same_bytes(shop: Dataset, folder: Path, tmp_path: Path) -> None:
    run(SampleSettings(tmp_path / "again", like=shop.folder, rows=ROWS, photos=PHOTOS, seed=3, processes=2))
    assert hashes(tmp_path / "again") == hashes(folder)


def test_the_page_holds_no_real_text_and_fetches_nothing(shop: Dataset, folder: Path) -> None:
    page = (folder / "twin.html").read_text(encoding="utf-8")
    assert "as two halves of the real set" in page
    assert "default-src 'none'" in page
    for row in shop.rows():
        assert str(row.values["title"]) not in page
        assert str(row.values["itemurl"]) not in page


def test_in_a_browser_its_page_has_no_fault(folder: Path, window: Callable[..., Any]) -> None:
    for width, dark in ((1280, False), (320, True)):
        one = window(width, dark=dark)
        one.page.goto((folder / "twin.html").as_uri())
        assert one.page.evaluate("document.documentElement.scrollWidth") == width
        assert one.serious() == []
        assert (one.faults, one.requests) == ([], [])


def test_its_table_imports_like_a_shops(folder: Path, tmp_path: Path) -> None:
    import_(ImportSettings(folder / "products.csv", tmp_path / "imported", columns={"photo": "photo", "group": "group", "split": "split"}))
    twin, imported = Dataset.open(folder), Dataset.open(tmp_path / "imported")
    assert imported.counts == twin.counts
    assert [record.id for record in imported.records()] == [record.id for record in twin.records()]


def test_rows_are_as_many_as_the_real_ones_unless_asked(shop: Dataset, tmp_path: Path) -> None:
    run(SampleSettings(tmp_path / "twin", like=shop.folder, photos=3))
    assert len(table(tmp_path / "twin")) == 240


def test_with_fewer_photos_the_table_still_has_all_rows(shop: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(SampleSettings(tmp_path / "twin", like=shop.folder, rows=150, photos=4))
    records, rows = Dataset.open(tmp_path / "twin").records(), table(tmp_path / "twin")
    assert len(rows) == 150
    assert [row["photo"] for row in rows if row["photo"]] == [record.photo.relative_to(tmp_path / "twin").as_posix() for record in records]
    assert "the dataset folder holds the 4 that have a photo" in capsys.readouterr().out


def test_a_table_alone_says_how_it_is_used_and_can_be_replaced(shop: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SampleSettings(tmp_path / "twin", like=shop.folder, rows=150, photos=0)
    run(settings)
    assert {path.name for path in settings.output.iterdir()} == {"products.csv", "table.json", "twin.html"}
    assert "a table alone" in capsys.readouterr().out
    assert json.loads((settings.output / "table.json").read_text())["rows"] == 150
    run(SampleSettings(settings.output, like=shop.folder, rows=20, photos=0, overwrite=True))
    assert len(table(settings.output)) == 20


def test_a_copy_ends_it_with_one_line_and_no_finished_dataset(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = shop.records()[5].values["title"]
    chunk = drawn.Drawer.chunk

    def leaky(self: drawn.Drawer, number: int) -> list[drawn.Draft]:
        drafts = chunk(self, number)
        drafts[0].values["title"] = real
        return drafts

    monkeypatch.setattr(drawn.Drawer, "chunk", leaky)
    for photos in ("0", "5"):
        output = tmp_path / photos
        assert main(["sample", str(output), "--like", str(shop.folder), "--rows", "10", "--photos", photos, "--processes", "1"]) == 1
        told = capsys.readouterr().err
        assert "repeats a real text in title" in told
        assert told.count("\n") == 1
        assert not (output / "dataset.json").exists()
        assert not (output / "table.json").exists()


@pytest.mark.parametrize("name", ["", "photos/twin"])
def test_a_twin_inside_its_real_set_is_refused(shop: Dataset, name: str) -> None:
    before = hashes(shop.folder)
    with pytest.raises(SettingsError, match="lie in one another"):
        run(SampleSettings(shop.folder / name, like=shop.folder, overwrite=True))
    assert hashes(shop.folder) == before


@pytest.mark.parametrize("change", [{"rows": 0}, {"photos": -1}, {"photos": 500}])
def test_a_setting_that_cannot_be_is_told_in_one_line(shop: Dataset, tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(change))} is"):
        run(SampleSettings(tmp_path / "twin", like=shop.folder, **change))
    assert not (tmp_path / "twin").exists()


def test_a_real_set_that_names_its_photos_itself_keeps_its_columns(
    tmp_path: Path, write_real: Callable[..., Dataset], shop_cells: Callable[[int], list[dict[str, Any]]]
) -> None:
    cells = shop_cells(20)
    real = write_real(tmp_path / "real", cells)
    rows = [row.file_name for row in real.rows()]
    named = write_real(tmp_path / "named", [{**row, "imageurl": name} for row, name in zip(cells, rows, strict=True)])
    structure = learn(named)
    assert structure.photos == {"imageurl"}
    assert "photo" not in columns_of(structure)
    run(SampleSettings(tmp_path / "twin", like=named.folder, rows=3, processes=1))
    for record in Dataset.open(tmp_path / "twin").records():
        assert tmp_path / "twin" / str(record.values["imageurl"]) == record.photo


def test_groceries_have_a_twin(shared: Path, tmp_path: Path) -> None:
    """Every fourth of 1,335 real photos with titles, categories and descriptions."""
    columns = {"photo": "file_name", "id": "file_name", "group": "file_name", "split": "split"}
    task = Path(__file__).resolve().parents[3] / "recipes" / "groceries-task.yaml"
    source = shared / "data" / "groceries"
    lines = (source / "groceries.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "some.csv").write_text("".join([lines[0], *lines[1::4]]), encoding="utf-8")
    import_(ImportSettings(tmp_path / "some.csv", tmp_path / "real", task=task, columns=columns, photos=source, processes=1))
    run(SampleSettings(tmp_path / "twin", like=tmp_path / "real", photos=6, processes=1))
    assert find_copies(tmp_path / "real", tmp_path / "twin") == []
    assert {row["split"] for row in table(tmp_path / "twin")} == {"train", "val", "test", ""}


def test_every_command_of_the_page_is_one() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "sample.md").read_text(encoding="utf-8")
    page = re.sub(r"\\\n +", "", page)  # a command over two lines
    commands = re.findall(r"(?m)(?:^ {4}|`)(seeworth [^`\n]+?)(?: {2,}.*)?(?:`|$)", page)
    assert len(commands) >= 9
    for command in commands:
        build_parser().parse_args(shlex.split(command)[1:])
