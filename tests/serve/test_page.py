"""The web page in a browser, against an API that is played: photos in by every way, and what is shown of their answers."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from serve.fake_api import COLOURS, PRODUCT, FakeApi
from serve.visitor import BLUE, GREY, RED, YELLOW, User, noise, photo

pytest_plugins = ["serve.at_page"]


def test_each_photo_becomes_a_card_with_all_that_was_answered(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("coat.png", photo(RED)), ("fog.png", photo(GREY)), ("sun.png", photo(YELLOW)))
    one.sees(3)
    coat, fog, sun = one.card("coat.png"), one.card("fog.png"), one.card("sun.png")
    words = coat.inner_text()
    interval = "in 90 % of cases 800 to 2,190 USD"
    for expected in ("Sure", "Fine Red Coat, Regular", "RED COATS", "98.7 % confident", "1,290 USD", interval, "0.3 s"):
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
    one.page.get_by_role("button", name="Remove all").click()
    assert one.page.get_by_role("article").count() == 0
    assert one.page.evaluate("window.urls") == 0
    assert one.page.locator("#bar").is_hidden()
    one.fault_free()


def test_what_the_browser_cannot_show_is_answered_and_what_the_server_cannot_read_is_jpeg(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.brings(("scan.tif", photo(RED, kind="TIFF")), kind="image/tiff")
    one.sees(1)
    scan = one.card("scan.tif")
    assert "This browser cannot show this photo" in scan.inner_text()
    scan.get_by_text("What moved the answer").click()
    assert scan.locator(".over").bounding_box()["height"] == pytest.approx(scan.locator(".over").bounding_box()["width"] * 80 / 60, abs=1)
    one.brings(("icon.ico", photo(BLUE, (48, 48), "ICO")), kind="image/x-icon")
    one.sees(2)
    assert api.kinds == ["TIFF", "JPEG"]
    assert "sent as JPEG" in one.card("icon.ico").inner_text()


def test_a_drop_without_a_photo_says_so(api: FakeApi, user: Callable[..., User]) -> None:
    one = user().comes()
    one.page.evaluate("""() => {
      const held = new DataTransfer();
      held.setData("text/uri-list", "http://elsewhere.example/a.jpg");
      document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: held, bubbles: true, cancelable: true}));
    }""")
    one.page.get_by_text("There was no photo file in that").wait_for()
    one.fault_free()


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
    assert "Grey parts: without them no full price could be read." in card.inner_text()
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
