"""What a person says of answers on the web page, and that `seeworth import` takes it, photos and all."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seeworth.data.dataset import Dataset
from seeworth.data.run import run as run_import
from seeworth.settings import ImportSettings
from seeworth.task import Task
from serve.fake_api import COLOURS, PRODUCT, FakeApi, opened, serving
from serve.visitor import BLUE, GREY, RED, YELLOW, User, noise, photo

pytest_plugins = ["serve.at_page"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_corrections_are_imported_with_their_photos(api: FakeApi, user: Callable[..., User], tmp_path: Path, form: str) -> None:
    sent = {"coat.png": photo(RED), "hat.png": photo(BLUE), "sun.png": photo(YELLOW, (64, 48)), "fog.png": photo(GREY, (50, 50))}
    one = user().comes()
    one.brings(*sent.items())
    one.sees(4)
    one.card("coat.png").get_by_role("button", name="Right", exact=True).click()
    one.corrects("hat.png", {"Title": 'Hat, "wide"; =1+1', "Full price": "1,234.50"})
    one.corrects("sun.png", {"Title": "Soleil d’été", "Category3 code": "BLUE HATS", "Full price": "0.125"})
    assert "the model said Fine Blue Hat, Regular" in one.card("hat.png").inner_text()
    assert "You corrected it" in one.card("sun.png").inner_text()
    path = one.downloads(form, tmp_path)
    assert path.name == f"corrections.{form}"
    Task.from_dict({key: PRODUCT[key] for key in ("question", "answer", "fields")}).save(tmp_path / "task.yaml")
    run_import(ImportSettings(source=path, output=tmp_path / "out", task=tmp_path / "task.yaml"))
    dataset = Dataset.open(tmp_path / "out")
    assert dataset.manifest["rejected"] == {}
    found = {str(record.values["title"]): record for record in dataset.records(None)}
    assert set(found) == {"Fine Red Coat, Regular", 'Hat, "wide"; =1+1', "Soleil d’été"}, "what was not checked is not in it"
    prices = {title: record.values["full_price"] for title, record in found.items()}
    assert prices == {"Fine Red Coat, Regular": 1290, 'Hat, "wide"; =1+1': Decimal("1234.5"), "Soleil d’été": Decimal("0.125")}
    with Image.open(found["Soleil d’été"].photo) as stored:
        assert stored.size == (64, 48)
        assert stored.convert("RGB").getpixel((20, 20)) == YELLOW, "a light photo goes unchanged"
    one.fault_free()


def test_what_was_answered_stands_beside_what_was_corrected(api: FakeApi, user: Callable[..., User], tmp_path: Path) -> None:
    one = user().comes()
    one.brings(("hat.png", photo(BLUE)), ("twin.png", photo(BLUE)))
    one.sees(2)
    one.corrects("hat.png", {"Full price": "99"})
    one.corrects("twin.png", {})
    rows = [json.loads(line) for line in one.downloads("jsonl", tmp_path).read_text().splitlines()]
    assert [(row["checked"], row["full_price"], row["predicted_full_price"], row["model"]) for row in rows] == [
        ("corrected", "99", "240", "autumn-run"), ("right", "240", "240", "autumn-run"),
    ]  # fmt: skip
    assert rows[1]["id"] == rows[0]["id"] + "-2", "ids come from the photo's bytes, and each is there once"


def test_a_photo_too_heavy_for_a_csv_cell_is_made_smaller_there_only(api: FakeApi, user: Callable[..., User], tmp_path: Path) -> None:
    api.task |= {"limits": {"max_bytes": 20_000_000, "max_pixels": 50_000_000}}
    heavy = noise((1000, 800), "JPEG")
    assert len(heavy) * 4 / 3 > 1_000_000
    one = user().comes()
    one.brings(("heavy.jpg", heavy), kind="image/jpeg")
    one.sees(1)
    assert api.weights == [len(heavy)], "sent as it is"
    one.card("heavy.jpg").get_by_role("button", name="Right", exact=True).click()
    csv.field_size_limit(2_000_000)
    with one.downloads("csv", tmp_path).open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert 300_000 < len(row["photo"]) <= 1_000_000
    assert opened(base64.b64decode(row["photo"].partition(",")[2])).size[0] > 500
    line = json.loads(one.downloads("jsonl", tmp_path).read_text())
    assert base64.b64decode(line["photo"].partition(",")[2]) == heavy


def test_what_was_checked_is_not_thrown_away_unasked(api: FakeApi, user: Callable[..., User], tmp_path: Path) -> None:
    one = user().comes()
    asked: list[str] = []
    one.page.on("dialog", lambda dialog: (asked.append(dialog.message or dialog.type), dialog.dismiss()))
    one.brings(("hat.png", photo(BLUE)))
    one.sees(1)
    one.card("hat.png").get_by_role("button", name="Right", exact=True).click()
    one.page.get_by_role("button", name="Remove all").click()
    assert "1 checked answer among them is not downloaded" in asked[0]
    one.sees(1)
    one.page.close(run_before_unload=True)
    one.page.wait_for_timeout(100)
    assert asked[1:] == ["beforeunload"]
    one.downloads("csv", tmp_path)
    one.page.get_by_role("button", name="Remove all").click()
    assert one.page.get_by_role("article").count() == 0
    assert len(asked) == 2


def test_a_correction_that_cannot_be_is_told_at_its_field(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("hat.png", photo(BLUE)))
    one.sees(1)
    one.corrects("hat.png", {"Title": " ", "Full price": "12,5"})
    card = one.card("hat.png")
    title, price = card.get_by_label("Title"), card.get_by_label("Full price")
    assert title.get_attribute("aria-invalid") == price.get_attribute("aria-invalid") == "true"
    assert title.evaluate("one => one === document.activeElement")
    assert "A number like 1290.50" in card.inner_text()
    price.fill("12.5")
    assert price.get_attribute("aria-invalid") is None, "said no longer once it is mended"
    card.get_by_label("Category3 code").fill("hats")
    assert "none of its 5" in card.inner_text()
    card.get_by_label("Category3 code").fill("blue hats")
    assert "Did you mean BLUE HATS?" in card.inner_text()
    choices = one.page.locator(f"#{card.get_by_label('Category3 code').get_attribute('list')} option")
    assert [choice.get_attribute("value") for choice in choices.all()] == list(COLOURS)
    card.get_by_label("Title").press("Escape")
    assert card.get_by_label("Title").count() == 1, "what was typed is not lost by a key that also closes the list of choices"
    card.get_by_role("button", name="Cancel").click()
    assert card.get_by_label("Title").count() == 0
    card.get_by_role("button", name="Correct it").click()
    card.get_by_label("Title").press("Escape")
    assert card.get_by_label("Title").count() == 0
    assert "You corrected it" not in card.inner_text()


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        *[("1290", "1290"), ("1,290.50", "1290.50"), ("+7", "7"), ("12 usd", "12"), ("0.001", "0.001"), (15 * "9", 15 * "9")],
        *[(bad, None) for bad in ("1290,50", "12,34", "1e5", "", "0", "-3", 16 * "9", "n/a", "٣", "1.")],
    ],
)
def test_a_number_is_what_the_task_would_read(
    typed: str, value: str | None, checked: Callable[[dict[str, Any], str], dict[str, str]]
) -> None:
    assert checked(PRODUCT["fields"][2], typed).get("value") == value
    if value is not None:
        task = Task.from_dict({key: PRODUCT[key] for key in ("question", "answer", "fields")})
        assert not task.read(f"Product: a, Category: SHIRTS, Full Price: {value}").problems


@pytest.fixture(scope="module")
def checked(chromium: Any) -> Iterator[Callable[[dict[str, Any], str], dict[str, str]]]:
    """The page's own check of what was typed, without the page around it."""
    with ExitStack() as stack:
        address = stack.enter_context(serving(FakeApi().app()))
        context = chromium.new_context()
        stack.callback(context.close)
        page = context.new_page()
        page.goto(address)
        ask = "async ([field, typed]) => (await import('/page/corrections.js')).check(field, typed)"
        yield lambda field, typed: page.evaluate(ask, [field, typed])
