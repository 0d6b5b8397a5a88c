"""The web page in a browser, against an API that is played: photos in by every way, answers, corrections out, troubles, and who can use it."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import seeworth.page
from browser import Window
from PIL import Image
from seeworth.data.dataset import Dataset
from seeworth.data.run import run as run_import
from seeworth.settings import ImportSettings
from seeworth.task import Task
from serve.fake_api import COLOURS, PAGE, PRODUCT, FakeApi, opened, serving

RED, BLUE, GREY, YELLOW = COLOURS["RED COATS"], COLOURS["BLUE HATS"], (120, 120, 120), (250, 240, 30)
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>"\'&amp;'


def photo(colour: tuple[int, int, int], size: tuple[int, int] = (60, 80), kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind, **how)
    return buffer.getvalue()


def noise(size: tuple[int, int], kind: str = "PNG") -> bytes:
    """A photo that no format makes light."""
    buffer = io.BytesIO()
    bands = [Image.effect_noise(size, 90) for _ in range(3)]
    Image.merge("RGB", bands).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {"compress_level": 1}))
    return buffer.getvalue()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    made = FakeApi()
    with serving(made.app()) as address:
        made.address = address
        yield made


class User:
    """Somebody at the page."""

    def __init__(self, window: Window, address: str) -> None:
        self.window, self.page, self.address = window, window.page, address

    def comes(self) -> User:
        self.page.goto(self.address)
        self.page.locator("#about", has_text="looks at each photo").wait_for()
        return self

    def brings(self, *files: tuple[str, bytes], kind: str = "image/png") -> None:
        """Through the file chooser, as it is opened by the button."""
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Choose photos").click()
        chooser.value.set_files([{"name": name, "mimeType": kind, "buffer": data} for name, data in files])

    def sees(self, count: int, state: str = "answered") -> None:
        self.page.locator(f"article[data-state={state}]").nth(count - 1).wait_for(state="attached")
        assert self.page.locator(f"article[data-state={state}]").count() == count

    def card(self, name: str) -> Any:
        return self.page.get_by_role("article", name=name)

    def hears(self, words: str) -> None:
        self.page.locator("#live", has_text=words).wait_for(state="attached")

    def corrects(self, name: str, values: dict[str, str]) -> None:
        self.card(name).get_by_role("button", name="Correct it").click()
        for label, value in values.items():
            self.card(name).get_by_label(label).fill(value)
        self.card(name).get_by_role("button", name="Keep").click()

    def downloads(self, form: str, folder: Path) -> Path:
        self.page.get_by_label("as", exact=True).select_option(form)
        with self.page.expect_download() as found:
            self.page.get_by_role("button", name="Download").click()
        path = folder / found.value.suggested_filename
        found.value.save_as(path)
        return path

    def fault_free(self) -> None:
        """Nothing on the console, nothing asked of another host. (What the browser itself logs of a refusal is left out.)"""
        assert [one for one in self.window.faults if "Failed to load resource" not in one] == []
        assert [one for one in self.window.requests if not one.startswith(self.address + "/")] == []


@pytest.fixture
def user(api: FakeApi, window: Callable[..., Window]) -> Callable[..., User]:
    return lambda **traits: User(window(**traits), api.address)


# ---- in and out


def test_each_photo_becomes_a_card_with_all_that_was_answered(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("coat.png", photo(RED)), ("fog.png", photo(GREY)), ("sun.png", photo(YELLOW)))
    one.sees(3)
    coat, fog, sun = one.card("coat.png"), one.card("fog.png"), one.card("sun.png")
    words = coat.inner_text()
    for expected in ("Sure", "Fine Red Coat, Regular", "RED COATS", "98.7 % confident", "1,290 USD", "in 90 % of cases 800 to 2,190 USD", "0.3 s"):
        assert expected in words
    assert coat.locator("img").get_attribute("alt") == "Your photo"
    assert coat.locator("svg.scale .dot").count() == 1
    assert "Unsure: look at it" in fog.inner_text()
    assert "0.41 confident" in fog.inner_text()
    assert "'about 100' is no number" in sun.inner_text()
    assert "not read" in sun.inner_text()
    assert sun.get_by_role("button", name="Right", exact=True).count() == 0, "what was not read cannot be right"
    assert one.page.locator("#counts").inner_text() == "3 photos: 3 answered, 2 to look at"
    one.hears("All done")
    one.fault_free()


def test_all_cards_share_one_scale(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.sees(1)
    alone = one.card("coat.png").locator(".tick").all_inner_texts()
    one.brings(("hat.png", photo(COLOURS["BLACK HATS"])))
    one.sees(2)
    ticks = [card.locator(".tick").all_text_contents() for card in one.page.get_by_role("article").all()]
    assert ticks[0] == ticks[1] != alone
    places = [float(card.locator(".dot").get_attribute("cx")) for card in one.page.get_by_role("article").all()]
    assert places[0] < places[1], "the newest card is first, and the hat costs less"


def test_photos_and_folders_are_dropped(api: FakeApi, user: Callable[..., User], tmp_path: Path) -> None:
    (tmp_path / "shelf" / "low").mkdir(parents=True)
    for name in ("b.png", "shelf/10.png", "shelf/9.png", "shelf/low/1.png"):
        (tmp_path / name).write_bytes(photo(RED))
    (tmp_path / "shelf" / "notes.txt").write_text("not a photo")
    one = user().comes()
    box = one.page.locator("#drop").bounding_box()
    files = [str(tmp_path / "b.png"), str(tmp_path / "shelf")]
    asked = one.page.context.new_cdp_session(one.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": files, "dragOperationsMask": 1}
        asked.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 30, "y": box["y"] + 30, "data": data})
        if kind == "dragOver":
            assert "over" in one.page.locator("#drop").get_attribute("class")
    one.sees(4)
    assert one.page.locator("h3").all_inner_texts() == ["b.png", "9.png", "10.png", "1.png"]
    assert "over" not in one.page.locator("#drop").get_attribute("class")
    one.fault_free()


def test_photos_are_pasted_and_a_paste_without_photos_is_left_alone(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    paste = """([data, type]) => {
      const held = new DataTransfer();
      if (data) held.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "image.png", {type}));
      else held.setData("text/plain", "words");
      return document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: held, bubbles: true, cancelable: true}));
    }"""
    assert one.page.evaluate(paste, ["", ""]) is True
    assert one.page.evaluate(paste, [base64.b64encode(photo(BLUE)).decode(), "image/png"]) is False, "the page took it"
    one.sees(1)
    assert "BLUE HATS" in one.card("image.png").inner_text()


def test_the_camera_takes_photo_after_photo_and_is_let_go(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.page.context.grant_permissions(["camera"])
    one.page.get_by_role("button", name="Take photos").click()
    shutter = one.page.get_by_role("button", name="Take the photo")
    for taken in (1, 2):
        one.page.locator("#shutter:enabled").wait_for()
        shutter.click()
        one.page.locator("#camera-words", has_text=f"{taken} photo").wait_for()
    assert one.window.serious() == []
    track = one.page.evaluate_handle("document.getElementById('video').srcObject.getTracks()[0]")
    one.page.keyboard.press("Escape")
    one.sees(2)
    assert track.evaluate("one => one.readyState") == "ended"
    assert api.sizes[0][0] >= 320, "the camera's own size"
    one.fault_free()


def test_where_the_page_may_not_use_the_camera_the_phone_does(api: FakeApi, user: Callable[..., User]) -> None:
    one = user()
    one.page.add_init_script("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
    one.comes()
    with one.page.expect_file_chooser() as chooser:
        one.page.get_by_role("button", name="Take photos").click()
    assert chooser.value.element.get_attribute("capture") == "environment"
    chooser.value.set_files([{"name": "IMG_1.png", "mimeType": "image/png", "buffer": photo(RED)}])
    one.sees(1)


def test_a_camera_that_is_refused_is_told_in_words(api: FakeApi, user: Callable[..., User]) -> None:
    one = user()
    refuse = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError') }"
    one.page.add_init_script(refuse)
    one.comes()
    one.page.get_by_role("button", name="Take photos").click()
    one.page.get_by_text("may not use the camera here").wait_for()
    assert one.page.locator("#shutter").is_disabled()


def test_photos_over_the_limits_are_sent_smaller_and_upright(api: FakeApi, user: Callable[..., User]) -> None:
    heavy = noise((900, 600))
    sideways = Image.Exif()
    sideways[0x0112] = 6  # to be turned by a quarter
    large = photo(RED, (3000, 2000), "JPEG", exif=sideways)
    small = photo(BLUE, (80, 40), "JPEG", exif=sideways)
    assert len(heavy) > PRODUCT["limits"]["max_bytes"] > len(large)
    one = user().comes()
    one.brings(("heavy.png", heavy))
    one.sees(1)
    one.brings(("large.jpg", large), ("small.jpg", small), kind="image/jpeg")
    one.sees(3)
    assert api.weights[0] <= PRODUCT["limits"]["max_bytes"]
    assert sorted(api.sizes[1:]) == [(40, 80), (round(2048 * 2 / 3), 2048)], "2,048 pixels at most, upright; what is small is sent as it is"
    assert "sent smaller" in one.card("heavy.png").inner_text()
    assert "sent smaller" not in one.card("small.jpg").inner_text()
    shown = one.card("large.jpg").locator("img")
    assert shown.evaluate("async (one) => { await one.decode(); return one.naturalHeight > one.naturalWidth }")


def test_a_hundred_photos_are_asked_four_at_a_time_and_let_go(api: FakeApi, user: Callable[..., User]) -> None:
    one = user()
    one.page.add_init_script("""
      window.urls = 0;
      const [make, end] = [URL.createObjectURL, URL.revokeObjectURL];
      URL.createObjectURL = (one) => { window.urls += 1; return make.call(URL, one) };
      URL.revokeObjectURL = (one) => { window.urls -= 1; return end.call(URL, one) };
    """)
    one.comes()
    api.held.set()
    one.brings(*[(f"{number}.png", photo((200, 30, number))) for number in range(100)])
    one.page.locator("article img").nth(99).wait_for(state="attached")  # all are prepared, and shown, while the server thinks
    one.sees(4, "asked")
    assert api.now == 4
    assert one.page.locator("#counts").inner_text() == "100 photos: 0 answered, 100 under way"
    api.held.clear()
    one.sees(100)
    assert api.most == 4
    assert one.page.evaluate("window.urls") == 100, "one a card"
    assert one.page.locator("h3").first.inner_text() == "0.png"
    one.page.get_by_role("button", name="Remove all 100").click()
    assert one.page.get_by_role("article").count() == 0
    assert one.page.evaluate("window.urls") == 0
    assert one.page.locator("#bar").is_hidden()
    one.fault_free()


# ---- corrections


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
    assert card.get_by_label("Title").count() == 0
    assert "You corrected it" not in card.inner_text()


@pytest.mark.parametrize(
    ("typed", "value"),
    [("1290", "1290"), ("1,290.50", "1290.50"), ("+7", "7"), ("12 usd", "12"), ("0.001", "0.001"), ("123456789012345", "123456789012345"),
     ("1290,50", None), ("12,34", None), ("1e5", None), ("", None), ("0", None), ("-3", None), ("1234567890123456", None), ("n/a", None), ("٣", None), ("1.", None)],
)  # fmt: skip
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


# ---- on request


def test_what_else_it_could_be_and_similar_photos_are_shown_on_request(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.sees(1)
    card = one.card("coat.png")
    assert not {"/v1/similar", "/v1/occlusion"} & set(api.asked), "nothing is asked before it is wished"
    card.get_by_text("What else it could be").click()
    card.locator(".shares").first.wait_for()
    assert "RED COATS\n98.7 %" in card.inner_text()
    assert "1,290 USD is in the middle" in card.inner_text()
    card.get_by_text("Similar training photos").click()
    card.locator(".alike li").first.wait_for()
    assert "A true red coats" in card.inner_text()
    assert "97 % alike" in card.inner_text()
    assert card.locator(".alike img").first.evaluate("async (one) => { await one.decode(); return one.naturalWidth }") == 48
    one.fault_free()


def test_what_moved_the_price_is_a_map_with_words_and_a_table(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.sees(1)
    card = one.card("coat.png")
    card.get_by_text("What moved the answer").click()
    card.locator("svg.heat").wait_for()
    assert "without them it falls, by 32.2 % at most" in card.inner_text()
    assert "without them it rises" in card.inner_text()
    assert card.locator("svg.heat rect").count() == 36
    assert card.locator("svg.heat rect.unknown").count() == 1, "where no number was read, none is made up"
    card.get_by_text("In numbers").click()
    rows = card.get_by_role("row").all_inner_texts()
    assert len(rows) == 7
    assert "no answer" in rows[-1]
    over, map_ = card.locator(".over img").bounding_box(), card.locator("svg.heat").bounding_box()
    assert over == pytest.approx(map_, abs=1), "the map lies on the photo"
    card.get_by_label("What moved the").select_option("category3_code")
    assert "Blue parts speak for it: without them it is less likely, by 50 points at most." in card.inner_text()
    one.fault_free()


def test_a_view_that_fails_can_be_asked_again(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.sees(1)
    refuse = {"status": 500, "json": {"error": {"code": "failed", "message": "it failed inside"}}}
    one.page.route("**/v1/similar*", lambda route: route.fulfill(**refuse), times=1)
    card = one.card("coat.png")
    card.get_by_text("Similar training photos").click()
    card.get_by_text("it failed inside").wait_for()
    card.get_by_role("button", name="Try again").click()
    card.locator(".alike li").first.wait_for()


# ---- troubles


def test_a_bad_photo_says_why_on_its_card_and_the_others_are_answered(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("broken.png", b"no photo at all"), ("good.png", photo(RED)), ("none.png", b""))
    one.sees(1)
    one.sees(2, "failed")
    assert "its bytes are no photo" in one.card("broken.png").inner_text()
    assert "The file is empty" in one.card("none.png").inner_text()
    one.brings(("film.mp4", b"x" * 500_000), kind="video/mp4")
    one.sees(3, "failed")
    assert "no photo but video/mp4" in one.card("film.mp4").inner_text()
    one.brings(("scan.tif", b"x" * 500_000), kind="image/tiff")
    one.sees(4, "failed")
    assert "the server takes 0.38 MB" in one.card("scan.tif").inner_text()
    assert api.asked.count("/v1/predict") == 2, "what cannot be taken is not sent"
    one.page.get_by_label("Show").select_option("failed")
    assert one.page.locator("article:visible").count() == 4
    one.page.get_by_role("button", name="Remove these 4").click()
    assert one.page.locator("#counts").inner_text() == "1 photo: 1 answered"
    one.fault_free()


def test_a_busy_server_is_waited_for(api: FakeApi, user: Callable[..., User]) -> None:
    api.faults += [(429, {"Retry-After": "1"}, "busy", "the queue is full"), (503, {"Retry-After": "1"}, "not_yet", "the model is being loaded: come back later")]
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.page.get_by_text("The server is busy. Tried again in 1 s.").wait_for()
    one.page.get_by_text("The model is being loaded. Tried again in 1 s.").wait_for()
    one.sees(1)
    assert api.asked.count("/v1/predict") == 3


def test_a_server_that_failed_is_asked_again_by_hand(api: FakeApi, user: Callable[..., User]) -> None:
    api.faults += [(500, {}, "failed", "it failed inside")]
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.sees(1, "failed")
    assert "it failed inside" in one.card("coat.png").inner_text()
    one.card("coat.png").get_by_role("button", name="Try again").click()
    one.sees(1)


def test_a_server_that_is_gone_is_told_once_and_no_photo_is_lost(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    one.brings(*[(f"{number}.png", photo(RED)) for number in range(6)])
    one.page.locator("#trouble", has_text="The server does not answer. 6 photos wait here.").wait_for()
    one.page.get_by_role("button", name="Try again").click()
    one.page.locator("#trouble", has_text="6 photos wait here.").wait_for()
    assert one.page.get_by_role("alert").count() == 1
    one.page.unroute("**/v1/**")
    one.page.get_by_role("button", name="Try again").click()
    one.sees(6)
    assert one.page.locator("#trouble").is_hidden()
    one.fault_free()


def test_photos_brought_before_the_server_is_there_wait_for_it(api: FakeApi, user: Callable[..., User]) -> None:
    one = user()
    one.page.route("**/v1/task", lambda route: route.abort("connectionrefused"))
    one.page.goto(api.address)
    one.page.locator("#trouble", has_text="does not answer").wait_for()
    one.brings(("coat.png", photo(RED)))
    one.page.unroute("**/v1/task")
    one.page.get_by_role("button", name="Try again").click()
    one.sees(1)


def test_the_key_is_asked_for_once_and_kept_for_the_tab(api: FakeApi, user: Callable[..., User]) -> None:
    api.key = "s3cret"
    one = user()
    one.page.goto(api.address)
    one.page.get_by_label("API key").fill("wrong")
    one.page.keyboard.press("Enter")
    one.page.get_by_text("does not take this key").wait_for()
    assert one.window.serious() == []
    one.page.get_by_role("button", name="Not now").click()
    one.page.locator("#trouble", has_text="asks for its key").wait_for()
    one.page.get_by_role("button", name="Try again").click()
    one.page.get_by_label("API key").fill("s3cret")
    one.page.get_by_role("button", name="Use this key").click()
    one.brings(*[(f"{number}.png", photo(RED)) for number in range(5)])
    one.sees(5)
    one.page.reload()
    one.page.locator("#about", has_text="autumn-run").wait_for()
    assert one.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 1, ""]
    api.key = "changed"
    one.brings(*[(f"{number}.png", photo(RED)) for number in range(3)])
    one.page.get_by_label("API key").fill("changed")
    one.page.keyboard.press("Enter")
    one.sees(3)
    assert not one.page.locator("#key").is_visible(), "three requests that need it ask once"
    one.fault_free()


def test_nothing_from_data_becomes_html(api: FakeApi, user: Callable[..., User]) -> None:
    api.title = HOSTILE
    api.task |= {"model": HOSTILE, "question": HOSTILE}
    one = user().comes()
    one.brings((HOSTILE.replace("/", "_"), photo(RED)))
    one.sees(1)
    card = one.page.get_by_role("article")
    for view in ("What else it could be", "Similar training photos", "What moved the answer"):
        card.get_by_text(view).click()
    card.locator(".alike li").first.wait_for()
    card.locator("svg.heat").wait_for()
    card.get_by_role("button", name="Correct it").click()
    assert HOSTILE in card.inner_text()
    assert card.get_by_role("textbox", name="Title").input_value() == HOSTILE
    assert one.page.locator("body script, img[src=x]").count() == 0
    assert one.page.title().startswith("<img"), "as words"
    one.fault_free()


def test_no_source_of_the_page_parses_html_or_runs_words() -> None:
    banned = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|createContextualFragment|https?://(?!www\.w3\.org)")
    for path in PAGE.iterdir():
        assert not banned.search(path.read_text(encoding="utf-8")), path.name
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page), "a strict policy allows nothing in line"


# ---- who can use it


def test_another_task_is_asked_and_corrected_as_it_is(api: FakeApi, user: Callable[..., User], tmp_path: Path) -> None:
    weight = {"name": "weight", "kind": "number", "unit": "kg", "choices": None}
    fields = [{"name": "category3_code", "kind": "category", "unit": None, "choices": None}, weight]
    api.task |= {"fields": fields, "coverage": None, "abstain_below": None, "abstain_above": None, "views": {"similar": False, "occlusion": True}}
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
    one = user().comes()
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


@pytest.mark.parametrize("traits", [{}, {"dark": True}, {"width": 320, "height": 640}, {"width": 360, "height": 740, "dark": True, "has_touch": True, "is_mobile": True}])
def test_everyone_can_read_it(api: FakeApi, user: Callable[..., User], traits: dict[str, Any]) -> None:
    from axe_playwright_python.sync_playwright import Axe

    one = user(**traits).comes()
    assert one.window.serious() == []
    everything(api, one)
    found = Axe().run(one.page).response["violations"]
    assert [f"{rule['impact']} {rule['id']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]] == []
    assert one.page.evaluate("document.documentElement.scrollWidth") <= traits.get("width", 1280)
    one.fault_free()


def test_twice_the_size_of_a_laptop_needs_no_sideways_scroll(api: FakeApi, user: Callable[..., User]) -> None:
    one = user(width=640, height=400, device_scale_factor=2).comes()  # 1280 x 800 at 200 %
    everything(api, one)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 640


def test_print_leaves_out_what_can_only_be_pressed(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("coat.png", photo(RED)))
    one.sees(1)
    one.page.emulate_media(media="print")
    assert one.page.locator("button:visible, summary:visible").count() == 0
    assert one.card("coat.png").get_by_text("1,290 USD").is_visible()


def test_its_colours_are_those_of_the_report() -> None:
    def colours(path: Path) -> list[dict[str, str]]:
        return [dict(re.findall(r"(--[\w-]+): ([^;]+);", block)) for block in re.findall(r":root \{([^}]*)\}", path.read_text(encoding="utf-8"))]

    own, house = colours(PAGE / "page.css"), colours(Path(seeworth.page.__file__).parent / "page.css")
    assert len(own) == len(house) == 3  # light, dark, print
    for mine, theirs in zip(own, house, strict=True):
        shared = set(mine) & set(theirs)
        assert len(shared) >= 9
        assert {name: mine[name] for name in shared} == {name: theirs[name] for name in shared}
