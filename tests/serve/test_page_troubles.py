"""What the web page says and does when something is wrong; and that nothing from data becomes HTML."""

from __future__ import annotations

import re
from collections.abc import Callable

from serve.fake_api import PAGE, FakeApi
from serve.visitor import RED, User, photo

pytest_plugins = ["serve.at_page"]

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>"\'&amp;'


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
    api.faults += [(429, {"Retry-After": "1"}, "busy", "the queue is full")]
    api.faults += [(503, {"Retry-After": "1"}, "not_yet", "the model is being loaded: come back later")]
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
