"""`seeworth check`: what stops a training is found, what is well is said to be well, and the page is safe to open."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from seeworth.cli import main
from seeworth.data.check.run import Check, examine, page_of, run
from seeworth.data.check.table import token_costs
from seeworth.data.dataset import Rejected, Row, prepare_folder, store_photo, write_dataset
from seeworth.data.photo.decode import normalise
from seeworth.errors import DataError, SettingsError
from seeworth.phi3v.tiling import plan
from seeworth.settings import CheckSettings
from seeworth.task import Task

from ..scenes import jpeg, png, scene

SPLITS = ("train", "train", "train", "train", "train", "train", "validation", "test")
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """make(change=rows -> rows, rejected=(), photos=16): a finished dataset folder of that many scenes."""

    def write(change: Callable[[list[Row]], list[Row]] = list, rejected: tuple[Rejected, ...] = (), photos: int = 16) -> Path:
        folder = tmp_path / "shop"
        prepare_folder(folder, overwrite=True)
        rows = change([row(folder, number) for number in range(photos)])
        write_dataset(folder, Task(), rows, source={"verb": "import", "notices": []}, rejected=rejected)
        return folder

    return write


def row(folder: Path, number: int, data: bytes | None = None, **changes: Any) -> Row:
    stored, extension, (width, height, phash, _) = normalise(data or png(scene(number, (120, 90 + number))))
    file_name, sha256 = store_photo(folder, stored, extension)
    values = {"title": f"Bag {number}", "category3_code": "BAGS" if number % 2 else "HATS", "full_price": Decimal(10 + 30 * number)}
    one = Row(f"r{number}", file_name, f"P{number}", SPLITS[number % 8], width, height, sha256, phash, values)  # type: ignore[arg-type]
    return replace(one, **changes)


def bad(check: Check) -> str:
    return " | ".join(check.problems)


def told(check: Check, tone: str) -> str:
    return " | ".join(text for one, text in check.findings if one == tone)


def test_a_sound_folder_passes_and_stays_as_it_is(make: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run(CheckSettings(folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert page_of(folder) == folder.parent / "shop-check.html"
    page = page_of(folder).read_text()
    assert "This will train; 1 thing to know." in page
    printed = capsys.readouterr().out
    for words in (page, " ".join(printed.split())):
        assert "12/2/2 groups are in train/validation/test: what is measured on 2 groups (validation) and 2 groups (test) says" in words
    assert "16 records" in printed
    assert "all 16 photos opened" in " ".join(printed.split())
    assert datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(folder.parent / "cache"))["train"].num_rows == 16


def test_thirty_groups_on_either_side_are_enough_for_no_note(make: Callable[..., Path]) -> None:
    """Records of one group count once."""

    def change(rows: list[Row], groups: int) -> list[Row]:
        sides = ("validation", "test")
        more = [
            replace(rows[0], id=f"{side}{number}{copy}", group=f"{side}{number}", split=side)  # type: ignore[arg-type]
            for side in sides for number in range(groups) for copy in range(3)
        ]
        return [*(one for one in rows if one.split == "train"), *more]

    assert "says little" in told(examine(make(lambda rows: change(rows, 29))), "mixed")
    assert "says little" not in told(examine(make(lambda rows: change(rows, 30))), "mixed")


def test_a_group_in_two_splits_is_a_leak(make: Callable[..., Path]) -> None:
    check = examine(make(lambda rows: [replace(one, group="P0") if number in (0, 7) else one for number, one in enumerate(rows)]))
    assert bad(check) == "leak: 1 groups stand in more than one split (1 validation and test records): what is measured on them is too good"


def test_the_same_photo_in_two_splits_is_a_leak_although_the_groups_differ(make: Callable[..., Path]) -> None:
    def change(rows: list[Row]) -> list[Row]:
        return [*rows, replace(rows[0], id="again", group="other", split="test")]

    assert bad(examine(make(change))).startswith("leak: 1 photos stand in more than one split, byte for byte (1 validation")


def test_a_near_identical_photo_in_two_splits_is_a_leak(make: Callable[..., Path], tmp_path: Path) -> None:
    copy = png(jpeg(scene(0, (120, 90)).crop((3, 2, 117, 88)), 70))

    def change(rows: list[Row]) -> list[Row]:
        return [*rows, row(tmp_path / "shop", 99, copy, split="test")]

    check = examine(make(change))
    assert bad(check).startswith("leak: 1 clusters of near-identical photos stand in more than one split (1 validation")
    assert [(one["kind"], one["numbers"]) for one in check.leaks] == [("near", [0, 16])]


def test_few_near_identical_photos_among_many_are_a_note(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("seeworth.data.check.run.NEAR_LEAKS", 0.3)
    copy = png(jpeg(scene(0, (120, 90)), 60))
    check = examine(make(lambda rows: [*rows, row(tmp_path / "shop", 99, copy, split="test")]))
    assert not check.problems
    assert "1 clusters of near-identical photos" in told(check, "mixed")


def test_copies_within_a_split_are_shown_and_no_problem(make: Callable[..., Path]) -> None:
    check = examine(make(lambda rows: [*rows, replace(rows[0], id="again")]))
    assert not check.problems
    assert [(one["kind"], one["numbers"]) for one in check.copies] == [("same", [0, 16])]
    assert "no leak" in told(check, "good")


def test_no_train_record_is_a_problem_and_no_test_record_a_note(make: Callable[..., Path]) -> None:
    check = examine(make(lambda rows: [replace(one, split=None) for one in rows]))
    assert "no record is in the train split" in bad(check)
    assert "no record is in the test split: nothing can be measured" in told(check, "mixed")
    assert "16 records have no split" in told(check, "mixed")


def test_a_category_that_is_tested_and_never_trained_on_is_told(make: Callable[..., Path]) -> None:
    check = examine(
        make(lambda rows: [replace(one, values={**one.values, "category3_code": "RARE"}) if one.id == "r7" else one for one in rows])
    )
    assert "1 of 3 values of category3_code stand in validation or test and never in train, e.g. 'RARE'" in told(check, "mixed")


def damage(folder: Path) -> Iterator[tuple[str, Path]]:
    """Five photos spoilt, each in its own way: (code, path)."""
    paths = sorted(folder.glob("photos/*/*.png"))
    data = paths[0].read_bytes()
    paths[0].unlink()
    yield "missing", paths[0]
    paths[1].write_bytes(paths[1].read_bytes()[:400])
    yield "damaged", paths[1]
    paths[2].write_bytes(data)
    yield "changed", paths[2]
    outside = folder.parent / "outside.jpg"
    outside.write_bytes(paths[3].read_bytes())
    paths[3].unlink()
    paths[3].symlink_to(outside)
    yield "outside", paths[3]
    paths[4].write_text("<!doctype html>")
    yield "not_a_photo", paths[4]


def test_every_photo_that_is_not_what_the_table_names_is_found(make: Callable[..., Path]) -> None:
    folder = make()
    expected = {str(path.relative_to(folder)): code for code, path in damage(folder)}
    check = examine(folder)
    assert {name: one.code for name, one in check.bad} == expected
    assert check.problems[-1].startswith("5 photos cannot be used (")
    assert examine(folder, photos=3).looked == 3


def test_a_table_that_was_changed_is_found_out(make: Callable[..., Path]) -> None:
    folder = make()
    table = pq.read_table(folder / "metadata.parquet", partitioning=None)
    lines = table.to_pylist()
    lines[0]["width"] += 1
    lines[1]["id"] = lines[2]["id"]
    lines[3]["title"] = None
    lines[4]["file_name"] = "../../../etc/passwd"
    lines[5]["split"] = "tset"
    pq.write_table(table.from_pylist(lines[:-1], schema=table.schema), folder / "metadata.parquet")
    check = examine(folder)
    words = bad(check)
    assert "metadata.parquet holds 15 records, dataset.json says 16" in words
    assert "1 ids stand twice, e.g. 'r2'" in words
    assert "1 records have no answer that the task can write, the first: record 'r3'" in words
    assert "1 records stand in a split 'tset'" in words
    assert {one.code for _, one in check.bad} == {"size_differs", "outside"}
    assert "is not the one that was imported" in told(check, "mixed")


def test_worker_processes_find_the_same(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()
    list(damage(folder))
    alone = examine(folder, processes=1)
    monkeypatch.setattr("seeworth.data.check.photos._FEW", 0)
    assert examine(folder, processes=2).findings == alone.findings


def test_refused_rows_are_counted_with_examples(make: Callable[..., Path]) -> None:
    refused = tuple(Rejected(n, f"x{n}", "a.jpg", "number_missing" if n else "missing", f"{EVIL} {n}") for n in range(5))
    check = examine(make(rejected=refused))
    assert {code: one["count"] for code, one in check.refused.items()} == {"number_missing": 4, "missing": 1}
    assert len(check.refused["number_missing"]["examples"]) == 3
    assert "5 of 21 rows were refused at import, 4 of them as number_missing" in told(check, "mixed")


def test_nothing_in_a_cell_runs_on_the_page_and_nothing_is_fetched(make: Callable[..., Path]) -> None:
    def change(rows: list[Row]) -> list[Row]:
        evil = {"title": EVIL, "category3_code": f'"><img src=x onerror=alert(1)>{EVIL}', "full_price": Decimal(3)}
        spoilt = [replace(rows[0], id=EVIL, group=EVIL, values=evil), replace(rows[0], id="b", group=EVIL, split="test", values=evil)]
        return [*spoilt, *rows[1:]]

    folder = make(change, rejected=(Rejected(1, EVIL, EVIL, "missing", EVIL),))
    with pytest.raises(DataError, match="would not train"):
        run(CheckSettings(folder))
    page = page_of(folder).read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.lower().count("<script") == 1  # our own, which the policy names by its hash
    assert not re.search(r"<img(?! src=\"data:image/jpeg;base64,)", page)
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert "default-src 'none'" in page


def test_in_a_browser_nothing_acts_and_axe_finds_nothing(make: Callable[..., Path], window: Callable[..., Any]) -> None:
    def change(rows: list[Row]) -> list[Row]:
        evil = {"title": EVIL, "category3_code": f'"><img src=x onerror=alert(1)>{EVIL}', "full_price": Decimal(3)}
        return [replace(rows[0], id=EVIL, values=evil), replace(rows[1], id="b", group=rows[0].group, split="test"), *rows[2:]]

    folder = make(change, rejected=(Rejected(1, EVIL, EVIL, "missing", EVIL),))
    with pytest.raises(DataError, match="would not train"):
        run(CheckSettings(folder))
    for width, dark in ((1280, False), (320, True)):
        one = window(width, dark=dark)
        one.page.goto(page_of(folder).as_uri())
        assert one.page.evaluate("document.documentElement.scrollWidth") == width
        assert one.serious() == []
        assert (one.faults, one.requests) == ([], [])
    one.page.get_by_role("button", name="Records").click()
    counts = one.page.locator("#splits table").first.locator("tbody td:nth-child(2)").all_inner_texts()
    assert counts == sorted(counts, key=int)


def test_markup_of_the_terminal_in_a_cell_is_printed_as_it_stands(make: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    odd = {"category3_code": "[red]x[/]"}
    run(CheckSettings(make(lambda rows: [*rows[:-1], replace(rows[-1], values={**rows[-1].values, **odd})])))
    assert "e.g. '[red]x[/]'" in " ".join(capsys.readouterr().out.split())


def test_the_summary_is_readable_at_sixty_columns(
    make: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    folder = make(rejected=tuple(Rejected(n, None, None, "number_missing", "empty") for n in range(5)))
    run(CheckSettings(folder))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert all(len(line) <= 60 for line in lines if not line.startswith("page: ")), lines
    assert re.search(r"^ ?train +12 +12 +2$", "\n".join(lines), re.MULTILINE)
    assert re.search(r"num_crops 16 +[\d,]+ +[\d,]+ +[\d,]+", "\n".join(lines))


@pytest.mark.parametrize("size", [(336, 336), (1000, 200), (120, 4000)])
def test_a_photo_costs_what_the_model_will_see(size: tuple[int, int]) -> None:
    expected = [plan(*size, num_crops=crops).num_tokens for crops in (1, 4, 16)]
    assert [one["most"] for one in token_costs([size])] == expected
    costs = token_costs([size] * 19 + [(24, 17)])
    assert [one["median"] for one in costs] == [one["high"] for one in costs] == expected


def test_check_needs_no_torch(make: Callable[..., Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from seeworth.data.check.run import run; from seeworth.settings import CheckSettings; "
        f"run(CheckSettings(Path({str(make())!r}), processes=1)); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "False"


def test_the_command_ends_with_status_1_and_one_line(make: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = make(lambda rows: [replace(one, split="test") for one in rows])
    page = tmp_path / "deep" / "page.html"
    assert main(["check", str(folder), "--output", str(page)]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"seeworth check: {folder}: would not train well: no record is in the train split")
    assert page.is_file()
    assert main(["check", str(make()), "--output", str(page)]) == 0
    assert main(["check", str(tmp_path / "nothing")]) == 1
    assert "expected a dataset folder, found nothing" in capsys.readouterr().err


def test_a_setting_that_cannot_be_is_told(make: Callable[..., Path]) -> None:
    folder = make()
    with pytest.raises(SettingsError, match="0 or more"):
        run(CheckSettings(folder, photos=-1))
    with pytest.raises(SettingsError, match="lies in the dataset folder"):
        run(CheckSettings(folder, output=folder / "page.html"))


def test_empty_cells_of_a_changed_table_end_in_no_traceback(make: Callable[..., Path]) -> None:
    folder = make()
    table = pq.read_table(folder / "metadata.parquet", partitioning=None)
    lines = table.to_pylist()
    for number, name in enumerate(table.column_names):
        lines[number][name] = float("nan") if name == "full_price" else None
    pq.write_table(table.from_pylist(lines, schema=table.schema), folder / "metadata.parquet")
    with pytest.raises(DataError, match="would not train"):
        run(CheckSettings(folder))
    page = page_of(folder).read_text()
    assert "3 records have no answer that the task can write" in page
    assert "4 photos cannot be used" in page


def test_the_page_stands_beside_the_folder_however_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    assert page_of(Path()) == tmp_path / "shop-check.html"
    assert page_of(Path("..")) == tmp_path.parent / f"{tmp_path.name}-check.html"
    assert page_of(tmp_path / "shop") == tmp_path / "shop-check.html"
