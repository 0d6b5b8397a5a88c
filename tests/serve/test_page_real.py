"""The page and the real app of a tiny model, through a socket and the guard: what the fake API plays is what is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import Window
from seeworth.intervals import Intervals
from seeworth.predict.vlm import VLM
from seeworth.serve import schemas
from seeworth.serve.app import build
from seeworth.serve.guard import Guard, Rules
from seeworth.serve.house import House
from seeworth.settings import ServeSettings
from serve.fake_api import FakeApi, opened
from serve.sending import serving
from serve.visitor import BLUE, GREY, RED, YELLOW, User, photo

KEY = "a-key-of-at-least-16"


@pytest.fixture(scope="module")
def address(vlm: VLM, intervals: Intervals, shop: Any) -> Iterator[str]:
    house = House.of(vlm, intervals, ServeSettings(run=Path("shop")), shop.records)
    with serving(Guard(build(house), Rules(api_key=KEY), house.metrics)) as port:
        yield f"http://127.0.0.1:{port}"


def test_photos_are_answered_by_the_real_server(address: str, window: Callable[..., Window], shop: Any, tmp_path: Path) -> None:
    one = User(window(), address)
    one.page.goto(address)
    one.page.get_by_label("API key").fill(KEY)
    one.page.keyboard.press("Enter")
    one.page.locator("#about", has_text="shop looks at each photo").wait_for()
    one.brings(*[(f"{number}.png", record.photo.read_bytes()) for number, record in enumerate(shop.records[:5])], ("bad.png", b"no photo"))
    one.sees(5)
    one.sees(1, "failed")
    assert "expected JPEG, PNG" in one.card("bad.png").inner_text()
    card = one.card("0.png")
    assert "in 90 % of cases" in card.inner_text()
    assert any(category in card.inner_text() for category in shop.task.of_kind("category")[0].choices or ())
    for view in ("What else it could be", "Similar training photos", "What moved the answer"):
        card.get_by_text(view).click()
    card.locator(".alike li").first.wait_for()
    assert card.locator(".alike li").count() == 6
    card.get_by_text("In numbers").wait_for()
    assert card.get_by_role("alert").count() == 0
    card.get_by_role("button", name="Right", exact=True).click()
    assert one.downloads("csv", tmp_path).stat().st_size > 200
    assert one.window.serious() == []
    one.fault_free()


def test_the_fake_says_what_the_real_server_would_say() -> None:
    api = FakeApi()
    schemas.TaskInfo.model_validate(api.task)
    assert set(api.task) == set(schemas.TaskInfo.model_fields)
    about: dict[str, Any] = {"width": 60, "height": 80, "sha256": "0" * 64, "name": "a.png"}
    for colour in (RED, BLUE, GREY, YELLOW):
        answer = api.answer(opened(photo(colour))) | {"photo": about}
        schemas.Answered.model_validate(answer)
        assert set(answer) == set(schemas.Answered.model_fields)
