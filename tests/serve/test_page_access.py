"""Who can use the web page: by keyboard, by ear, on a phone, in the dark, on paper; and with any task."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import seeworth.page
from seeworth.data.dataset import Dataset
from seeworth.data.run import run as run_import
from seeworth.settings import ImportSettings
from seeworth.task import Task
from serve.fake_api import PAGE, PRODUCT, FakeApi
from serve.visitor import BLUE, GREY, RED, YELLOW, User, photo

pytest_plugins = ["serve.at_page"]


def test_another_task_is_asked_and_corrected_as_it_is(api: FakeApi, user: Callable[..., User], tmp_path: Path) -> None:
    weight = {"name": "weight", "kind": "number", "unit": "kg", "choices": None}
    fields = [{"name": "category3_code", "kind": "category", "unit": None, "choices": None}, weight]
    api.task |= {"fields": fields, "coverage": None, "abstain_below": None, "abstain_above": None}
    api.task |= {"views": {"similar": False, "occlusion": True}}
    one = user().comes()
    assert "says its category3 code and weight" in one.page.locator("#about").inner_text()
    one.brings(("hat.png", photo(BLUE)))
    one.sees(1)
    card = one.card("hat.png")
    words = card.inner_text()
    assert "USD" not in words
    assert "Sure" not in words, "a run without a rule is never said to be sure"
    assert "Similar" not in words
    one.corrects("hat.png", {"Category3 code": "HATS", "Weight": "0.25 kg"})
    path = one.downloads("csv", tmp_path)
    Task.from_dict({"question": "What?", "answer": "{category3_code}, {weight}", "fields": fields}).save(tmp_path / "task.yaml")
    run_import(ImportSettings(source=path, output=tmp_path / "out", task=tmp_path / "task.yaml"))
    (record,) = Dataset.open(tmp_path / "out").records(None)
    assert (record.values["category3_code"], record.values["weight"]) == ("HATS", Decimal("0.25"))


def test_what_the_question_names_is_said_first_and_goes_into_the_table(api: FakeApi, user: Callable[..., User], tmp_path: Path) -> None:
    api.task |= {"question": "What does {brand} show?", "asks_for": ["brand"]}
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.page.locator("article img").wait_for()
    assert api.told == [], "not asked before it is said"
    one.page.get_by_label("brand").fill("Lodé")
    one.page.keyboard.press("Enter")
    one.sees(1)
    assert api.told == [{"brand": "Lodé"}]
    assert "brand: Lodé" in one.card("coat.png").inner_text()
    one.card("coat.png").get_by_role("button", name="Right", exact=True).click()
    path = one.downloads("csv", tmp_path)
    fields = [*PRODUCT["fields"], {"name": "brand"}]
    Task.from_dict({"question": api.task["question"], "answer": PRODUCT["answer"], "fields": fields}).save(tmp_path / "task.yaml")
    run_import(ImportSettings(source=path, output=tmp_path / "out", task=tmp_path / "task.yaml"))
    (record,) = Dataset.open(tmp_path / "out").records(None)
    assert record.values["brand"] == "Lodé"
    assert one.window.serious() == []


def test_one_answer_is_heard_in_full(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.hears("coat.png: Fine Red Coat, Regular, RED COATS, 1,290 USD, sure.")


def test_it_works_by_keyboard_alone(api: FakeApi, user: Callable[..., User], tmp_path: Path) -> None:
    one = user()
    one.page.on("filechooser", lambda _: None)  # choosers are caught from here on: a key is quicker than the switch
    one.comes()
    press = one.page.keyboard.press
    press("Tab")
    assert one.page.evaluate("document.activeElement.className") == "skip"
    press("Tab")
    assert one.page.evaluate("document.activeElement.id") == "choose"
    with one.page.expect_file_chooser() as chooser:
        press("Enter")
    chooser.value.set_files([{"name": "hat.png", "mimeType": "image/png", "buffer": photo(BLUE)}])
    one.sees(1)

    def tab_to(words: str) -> None:
        for _ in range(30):
            press("Tab")
            if one.page.evaluate("document.activeElement.textContent.trim() || document.activeElement.ariaLabel") == words:
                return
        raise AssertionError(f"{words!r} is not reached")

    tab_to("Correct it")
    press("Enter")
    press("Control+A")
    one.page.keyboard.type("A better hat")
    press("Enter")
    assert "A better hat" in one.card("hat.png").inner_text()
    assert one.page.evaluate("document.activeElement.textContent") == "Correct it", "the hand is where it was"
    for view in ("What else it could be", "Similar training photos", "What moved the answer"):
        tab_to(view)
        press("Enter")
    one.page.locator("svg.heat").wait_for()
    press("Control+Home")
    one.page.locator("#choose").focus()
    tab_to("Download")
    with one.page.expect_download():
        press("Enter")


def everything(api: FakeApi, one: User) -> None:
    """A page with every kind of card, all views open, a form with a mistake."""
    api.title = "A very long title of a coat, which goes on and on, " * 3 + "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 2
    one.brings(("coat.png", photo(RED)), ("a-very-long-name-" * 9 + ".png", photo(GREY)), ("sun.png", photo(YELLOW)), ("broken.png", b"no"))
    one.sees(3)
    one.sees(1, "failed")
    coat = one.card("coat.png")
    for view in ("What else it could be", "Similar training photos", "What moved the answer"):
        coat.get_by_text(view).click()
    coat.locator("svg.heat").wait_for()
    coat.locator(".alike li").first.wait_for()
    coat.get_by_text("In numbers").click()
    one.corrects("sun.png", {"Full price": "x"})
    coat.get_by_role("button", name="Right", exact=True).click()


PHONE = {"width": 360, "height": 740, "dark": True, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("traits", [{}, PHONE])
def test_everyone_can_read_it(api: FakeApi, user: Callable[..., User], traits: dict[str, Any]) -> None:
    from axe_playwright_python.sync_playwright import Axe

    one = user(**traits).comes()
    assert one.window.serious() == []
    everything(api, one)
    found = Axe().run(one.page).response["violations"]
    assert [f"{rule['impact']} {rule['id']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]] == []
    one.fault_free()


def test_a_small_phone_and_a_laptop_at_twice_the_size_need_no_sideways_scroll(api: FakeApi, user: Callable[..., User]) -> None:
    one = user(width=320, height=640).comes()
    everything(api, one)
    for width, height in ((320, 640), (640, 400)):  # the second: 1280 x 800 at 200 %
        one.page.set_viewport_size({"width": width, "height": height})
        assert one.page.evaluate("document.documentElement.scrollWidth") <= width


def test_print_leaves_out_what_can_only_be_pressed(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.sees(1)
    one.page.emulate_media(media="print")
    assert one.page.locator("button:visible, summary:visible").count() == 0
    assert one.card("coat.png").get_by_text("1,290 USD").is_visible()


def test_its_colours_are_those_of_the_report() -> None:
    def colours(path: Path) -> list[dict[str, str]]:
        blocks = re.findall(r":root \{([^}]*)\}", path.read_text(encoding="utf-8"))
        return [dict(re.findall(r"(--[\w-]+): ([^;]+);", block)) for block in blocks]

    own, house = colours(PAGE / "page.css"), colours(Path(seeworth.page.__file__).parent / "page.css")
    assert len(own) == len(house) == 3  # light, dark, print
    for mine, theirs in zip(own, house, strict=True):
        shared = set(mine) & set(theirs)
        assert len(shared) >= 9
        assert {name: mine[name] for name in shared} == {name: theirs[name] for name in shared}
