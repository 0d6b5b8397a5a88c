"""The page as a person meets it, in headless Chromium: nothing acts, nothing is fetched, all can be reached, on paper too."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import Window
from seeworth.evaluate.folder import read_manifest, write_manifest
from seeworth.report import run as report

Opener = Callable[..., Window]


@pytest.fixture(scope="session")
def folder(shops: Any, hostile: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hostile")
    found = hostile.evaluate(shops, home)
    (found / "report.html").write_text(report.render(found), encoding="utf-8")
    return found


@pytest.fixture(scope="session")
def content(folder: Path) -> dict[str, Any]:
    return read_manifest(folder)


@pytest.fixture
def opened(window: Opener, folder: Path) -> Iterator[Opener]:
    """Open the page; afterwards nothing went wrong in it."""
    made = []

    def open_it(**context: Any) -> Window:
        one = window(**context)
        one.page.goto((folder / "report.html").as_uri())
        made.append(one)
        return one

    yield open_it
    for one in made:
        assert one.faults == []
        assert one.requests == []


OPEN = "for (const one of document.querySelectorAll('details')) one.open = true"
THIN = """for (const one of document.querySelectorAll(".gallery > :nth-child(n+3), tbody > :nth-child(n+5), .cell, .point")) one.remove()"""


def violations(window: Window, **options: Any) -> list[str]:
    """All that axe-core finds, however slight."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(window.page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [f"{one['impact']} {one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]


def test_words_of_the_data_do_not_act_and_stand_there_as_they_are(opened: Opener, hostile: Any) -> None:
    window = opened()
    page = window.page
    page.mouse.move(400, 400)
    for one in page.locator("#gallery article bdi").all()[:40]:
        one.hover(force=True)
    assert page.evaluate("window.hit") is None
    shown = page.evaluate("[...document.querySelectorAll('#gallery bdi, #records bdi')].map((one) => one.textContent)")
    for name in hostile.NAMES:
        assert any(name in words for words in shown), name
    assert page.locator("script").count() == 2
    assert page.locator("#gallery a, #records a, iframe, object, embed").count() == 0
    assert page.evaluate("getComputedStyle(document.body).display") != "none"
    assert window.faults == []
    refused = page.evaluate("""() => new Promise((resolve) => {
        addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective));
        document.body.append(Object.assign(document.createElement("script"), { textContent: "window.hit=1" }));
    })""")
    assert refused.startswith("script-src")
    assert page.evaluate("window.hit") is None
    window.faults.clear()  # the refusal, which the browser tells in its console


def test_a_model_that_does_not_look_is_told_first_and_in_red(opened: Opener, content: dict[str, Any]) -> None:
    assert content["verdict"][0]["tone"] == "bad"
    first = opened().page.locator("#verdict .said").first
    assert content["verdict"][0]["text"] in first.inner_text()
    assert content["faults"][0]["code"] == "photo_ignored"
    assert first.evaluate("(one) => getComputedStyle(one).backgroundColor") == "rgb(179, 38, 30)"


def test_axe_finds_nothing(opened: Opener) -> None:
    window = opened()
    window.page.evaluate(OPEN)
    assert violations(window, rules={"color-contrast": {"enabled": False}}) == []


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_faint_words(opened: Opener, dark: bool) -> None:
    """On a page with two cards a gallery and four rows a table, since axe takes 50 s for the colours of all."""
    window = opened(dark=dark)
    window.page.evaluate(OPEN)
    window.page.evaluate(THIN)
    assert window.page.locator("article").count() >= 12
    assert violations(window, runOnly=["color-contrast"]) == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_narrow_screen_scrolls_down_alone(opened: Opener, width: int) -> None:
    page = opened(width=width, height=700).page
    page.evaluate(OPEN)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = page.evaluate("""[...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1
        && !one.closest(".scroll") && !one.closest("svg") && !one.closest("select")).map((one) => one.outerHTML.slice(0, 90))""")
    assert wide == []


def test_every_figure_is_evaluation_jsons_to_the_last_bit(opened: Opener, content: dict[str, Any]) -> None:
    cells = opened().page.evaluate("""[...document.querySelectorAll("[data-figure]")].map(
        (one) => [one.dataset.figure, one.dataset.of, one.dataset.value === undefined ? null : Number(one.dataset.value)])""")
    expected = [
        [name, who, data["value"]]
        for name, one in content["figures"].items()
        for who, data in (("model", one["model"]), *one["baselines"].items())
    ]
    assert sorted(cells) == sorted(expected)
    assert len(cells) > 40


def test_all_records_can_be_leafed_through_by_keyboard(opened: Opener, content: dict[str, Any]) -> None:
    page = opened().page
    ids = []
    onward = page.locator("#records-on")
    while True:
        ids += page.locator("#records-table tbody th").all_inner_texts()
        if onward.is_disabled():
            break
        onward.focus()
        page.keyboard.press("Enter")
    assert sorted(ids) == sorted(score["record_id"] for score in content["scores"])
    assert page.locator("#records-count").inner_text() == f"201 to {len(ids)} of {len(ids)}"


def test_records_sort_and_filter_by_keyboard(opened: Opener, content: dict[str, Any]) -> None:
    page = opened().page
    price = page.locator("#records-table thead th", has_text="full_price")
    price.locator("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert price.get_attribute("aria-sort") == "descending"
    known = [(score["fields"]["full_price"], score["record_id"]) for score in content["scores"]]
    errors = sorted((one["absolute_error"] for one, _ in known if one["answer"] is not None), reverse=True)
    order = {name: one.get("absolute_error") for one, name in known}
    assert [order[name] for name in page.locator("#records-table tbody th").all_inner_texts()] == errors[:50]
    page.locator("#records-which").focus()
    page.keyboard.type("not read")
    unread = {score["record_id"] for score in content["scores"] if score["problems"]}
    assert set(page.locator("#records-table tbody th").all_inner_texts()) == unread
    assert f"1 to {len(unread)} of {len(unread)} found among {len(known)}" == page.locator("#records-count").inner_text()
    page.locator("#records-words").focus()
    page.keyboard.type("r17\n")
    assert page.locator("#records-table tbody th").all_inner_texts() == sorted(one for one in unread if "r17" in one)


def test_records_of_each_category_can_be_chosen_whatever_it_is_called(opened: Opener, content: dict[str, Any], hostile: Any) -> None:
    page = opened().page
    for name in hostile.NAMES:
        page.locator("#records-category").select_option(f"{name}s")
        own = {score["record_id"] for score in content["scores"] if score["fields"]["category3_code"]["truth"] == f"{name}s"}
        assert set(page.locator("#records-table tbody th").all_inner_texts()) == own != set()


def test_galleries_sort_and_filter_by_keyboard(opened: Opener, content: dict[str, Any]) -> None:
    page = opened().page
    shown = page.locator("#gallery article:visible .id bdi")
    every = sum(map(len, content["gallery"].values()))
    assert set(content["gallery"]) == {"best", "worst", "surprising", "unread", "unsure"}
    assert shown.count() == every
    page.locator("#gallery-kind").focus()
    page.keyboard.type("Most surprising")
    assert shown.all_inner_texts() == content["gallery"]["surprising"]
    page.locator("#gallery-order").focus()
    page.keyboard.type("best")
    badness = {score["record_id"]: score["badness"] for score in content["scores"]}
    values = [badness[one] for one in shown.all_inner_texts()]
    assert values == sorted(values)
    page.locator("#gallery-words").focus()
    page.keyboard.type(f"record {content['gallery']['surprising'][3]}")
    assert shown.all_inner_texts() == [content["gallery"]["surprising"][3]]
    assert page.locator("#gallery-count").inner_text() == f"1 of {every} cards"
    notes = page.locator("#gallery article:visible .note").all_inner_texts()
    assert notes == content["gallery_notes"]["surprising"][content["gallery"]["surprising"][3]]


def test_tables_sort_by_number_and_filter_by_words(opened: Opener, hostile: Any) -> None:
    page = opened().page
    table = page.locator("#slices table").last
    heads = table.locator("thead th")
    for column in range(heads.count()):
        heads.nth(column).locator("button").click()
        texts = [float(one) for one in table.locator(f"tbody tr > :nth-child({column + 1})").evaluate_all(
            "(all) => all.map((one) => one.dataset.value).filter((one) => one !== undefined)")]
        assert texts == sorted(texts)
        assert column == 0 or len(texts) == len(hostile.NAMES)
    search = page.get_by_label("Rows with these words: Figures by category3_code")
    search.fill("<SVG ONLOAD")
    assert table.locator("tbody tr:visible").count() == 1
    search.fill("")
    assert table.locator("tbody tr:visible").count() == len(hostile.NAMES)


def test_charts_tell_their_marks_on_hover_and_by_arrow_keys(opened: Opener) -> None:
    page = opened().page
    tip = page.locator(".tip")
    assert page.locator("svg title").count() == 0
    chart = page.locator("#grounding svg")
    chart.locator("rect.bar").first.hover()
    assert tip.inner_text().startswith("its own photo: ")
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    chart.focus()
    page.keyboard.press("ArrowRight")
    first = tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert first.startswith("its own photo: ")
    assert tip.inner_text().startswith("a blank photo: ")
    page.keyboard.press("End")
    assert tip.inner_text().startswith("no photo at all: ")
    box, edge = tip.bounding_box(), page.viewport_size
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= edge["width"]
    page.keyboard.press("Tab")
    assert tip.is_hidden()


def test_maps_lie_over_their_photos_and_can_be_chosen(opened: Opener) -> None:
    page = opened().page
    photo = page.locator("#gallery .photo").first
    image, shown = photo.locator("img").bounding_box(), photo.locator("svg:visible")
    assert shown.count() == 1
    assert shown.bounding_box() == pytest.approx(image, abs=0.5)
    assert shown.get_attribute("data-field") == "full_price"
    page.locator("#gallery-looks").select_option("category3_code")
    assert shown.get_attribute("data-field") == "category3_code"
    shown.locator("rect").first.hover()
    assert "row 1, column 1 covered: " in page.locator(".tip").inner_text()
    page.locator("#gallery-looks").select_option("")
    assert page.locator("#gallery .photo svg:visible").count() == 0


def test_without_a_script_the_page_is_whole(opened: Opener, content: dict[str, Any]) -> None:
    page = opened(java_script_enabled=False).page
    assert page.locator("#gallery article:visible").count() == sum(map(len, content["gallery"].values()))
    assert page.locator("#records-table tbody tr").count() == 50
    assert "These are the first 50" in page.locator("#records-static").inner_text()
    assert page.locator(".controls:visible, button:visible").count() == 0
    assert page.locator("#grounding svg title").count() > 5


def test_the_first_records_are_the_same_with_and_without_a_script(opened: Opener) -> None:
    rows = [opened(java_script_enabled=on).page.locator("#records-table tbody tr").all_inner_texts() for on in (True, False)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 50


@pytest.mark.parametrize("script", [True, False])
def test_on_paper_nothing_that_matters_is_hidden(opened: Opener, script: bool) -> None:
    """703 pixels: A4 between margins of 12 mm."""
    page = opened(width=703, height=1000, dark=True, java_script_enabled=script).page
    page.emulate_media(media="print")
    assert page.locator("blockquote").count() > 60
    assert page.locator("blockquote:visible").count() == page.locator("blockquote").count()
    assert page.locator("nav:visible, .skip:visible, .controls:visible").count() == 0
    assert page.locator("#records-table tbody tr:visible").count() == 50
    assert page.locator("section:visible").count() == page.locator("section").count()
    assert page.locator("html").evaluate("(one) => one.scrollWidth") == 703
    assert page.locator("body").evaluate("(one) => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"
    if script:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() > 0


def test_five_thousand_records_take_less_than_ten_megabytes(opened: Opener, folder: Path, content: dict[str, Any], tmp_path: Path) -> None:
    """Measured: 4.4 MB with these long words; tests/soak/many_records.py evaluates as many anew from a predictions.jsonl."""
    scores = []
    while len(scores) < 5000:
        for score in copy.deepcopy(content["scores"]):
            scores.append(score | {"record_id": f"{score['record_id']}{'' if len(scores) < len(content['scores']) else f'-{len(scores)}'}"})
    (tmp_path / "thumbnails").symlink_to(folder / "thumbnails")
    (tmp_path / "occlusion.json").symlink_to(folder / "occlusion.json")
    write_manifest(tmp_path, {**{key: value for key, value in content.items() if key != "format"}, "scores": scores[:5000]})
    page = report.render(tmp_path)
    assert 1_000_000 < len(page.encode()) < 10_000_000
    assert len(json.loads(page.split('id="records-data">')[1].split("</script>")[0])["rows"]) == 5000
