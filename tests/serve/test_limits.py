"""Nothing that is sent takes more than its share: of bytes, photos, pixels, parts, depth, memory or time."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from seeworth.serve.guard import Rules
from serve.sending import Wire, png, uri

HEAD = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def error(said: Any) -> tuple[int, str]:
    return said.status_code, said.json()["error"]["code"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "bad_json")),
        (b"{", (400, "bad_json")),
        (b"\xff\xfe{}", (400, "bad_json")),
        (b'{"photo": "\xed\xa0\x80"}', (400, "bad_json")),
        (b'{"photo": "\\ud800"}', (400, "bad_json")),
        (b"[" * 100_000, (400, "bad_json")),
        (b'{"photo":' * 100_000, (400, "bad_json")),
        (b"NaN", (422, "bad_request")),
        (b'{"values": {"a": NaN}, "photo": ""}', (422, "bad_request")),
        (b"{}", (422, "bad_request")),
        (b'{"photo": 1}', (422, "bad_request")),
        (b'{"photo": null, "photos": null}', (422, "bad_request")),
        (b'{"photos": []}', (422, "no_photo")),
        (b'{"photo": "data:,", "photos": ["data:,"]}', (422, "bad_request")),
        (b'{"photo": "data:,", "extra": 1}', (422, "bad_request")),
        (b'{"photo": "https://example.org/a.jpg"}', (400, "remote_url")),
        (b'{"photo": "file:///etc/passwd"}', (400, "remote_url")),
        (b'{"photo": "/etc/passwd"}', (400, "remote_url")),
        (b'{"photos": ["data:,"' + b',"data:,"' * 99 + b"]}", (413, "too_many_photos")),
    ],
)
def test_json_that_cannot_be_is_refused_in_one_line(behind: Any, body: bytes, expected: tuple[int, str]) -> None:
    with behind() as client:
        said = client.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
    assert error(said) == expected
    assert "\n" not in said.json()["error"]["message"]
    assert len(said.content) < 1000


@pytest.mark.parametrize(
    "address", ["data:", "data:,", "data:image/png,abc", "data:image/png;base64,=", "data:;base64,a b", "data:;base64,é"]
)
def test_a_data_uri_that_holds_no_photo_is_told_for_its_photo(behind: Any, address: str) -> None:
    with behind() as client:
        said = client.post("/v1/predict", json={"photo": address})
    assert said.status_code == 422
    assert said.json()["predictions"][0]["error"]["code"] in ("bad_data_uri", "empty")


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("", b"x", (415, "content_type")),
        ("text/plain", b"x", (415, "content_type")),
        ("application/x-www-form-urlencoded", b"photo=x", (415, "content_type")),
        ("multipart/form-data", b"x", (400, "bad_form")),
        ("multipart/form-data; boundary=" + "x" * 300, b"x", (400, "bad_form")),
        ("multipart/form-data; boundary=x", b"", (400, "bad_form")),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nwords", (400, "bad_form")),
        ("multipart/form-data; boundary=x", b"--x--\r\n", (422, "no_photo")),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 100 + b"\r\n\r\n--x--", (400, "bad_form")),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n" * 5000 + b"--x--\r\n", (413, "too_many_parts")),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--', (422, "no_photo")),
    ],
)
def test_forms_that_cannot_be_are_refused(behind: Any, kind: str, body: bytes, expected: tuple[int, str]) -> None:
    with behind() as client:
        assert error(client.post("/v1/predict", content=body, headers={"Content-Type": kind})) == expected


def test_more_photos_than_allowed_are_refused(behind: Any, form: Any, photos: list[bytes]) -> None:
    with behind(max_photos=2) as client:
        assert client.post("/v1/predict", files=form(*photos[:2])).status_code == 200
        assert error(client.post("/v1/predict", files=form(*photos[:3]))) == (413, "too_many_photos")


def test_pixels_are_counted_before_they_are_decoded(behind: Any, form: Any) -> None:
    bomb = png(8, 8)
    size = (60_000).to_bytes(4, "big")
    head = b"IHDR" + size + size + bomb[24:29]
    bomb = bomb[:12] + head + zlib.crc32(head).to_bytes(4, "big") + bomb[33:]  # a header that promises 3.6 billion pixels
    with behind(max_pixels=100) as client:
        said = client.post("/v1/predict", files=form(png(10, 10), png(10, 11), bomb)).json()["predictions"]
    assert [one.get("error", {}).get("code") for one in said] == [None, "too_large", "too_large"]


def test_a_body_that_says_it_is_too_long_is_not_read(live: int) -> None:
    with Wire(live) as wire:
        wire.send(HEAD, "Content-Length: 300001\r\n\r\n")
        assert wire.answer().startswith(b"HTTP/1.1 413")
    for strange in ("-1", "1e3", "9" * 30):
        with Wire(live) as wire:
            wire.send(HEAD, f"Content-Length: {strange}\r\n\r\n")
            assert wire.rest()[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 413")


def test_a_body_without_a_length_is_cut_while_it_comes(live: int) -> None:
    with Wire(live) as wire:
        wire.send(HEAD, "Transfer-Encoding: chunked\r\n\r\n")
        wire.send(*(b"8000\r\n" + b"x" * 0x8000 + b"\r\n" for _ in range(12)))  # and no end
        assert wire.answer().startswith(b"HTTP/1.1 413")


def test_a_slow_body_is_given_up(live: int) -> None:
    with Wire(live) as wire:
        wire.send(HEAD, "Content-Length: 1000\r\n\r\n", "{")
        said = wire.rest()
    assert said.startswith(b"HTTP/1.1 408")
    assert b'"slow"' in said


def test_slow_headers_are_given_up(live: int) -> None:
    for begun in ("", "GET", "GET /healthz HTTP/1.1\r\nHost: localh"):
        with Wire(live) as wire:
            wire.send(begun)
            assert wire.rest() == b""  # closed, though nothing was said


def test_a_connection_that_is_kept_is_answered_again_and_closed_at_rest(live: int) -> None:
    with Wire(live) as wire:
        for _ in range(3):
            wire.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wire.answer().startswith(b"HTTP/1.1 200")
        assert wire.rest() == b""


def test_headers_without_an_end_are_refused(live: int) -> None:
    with Wire(live) as wire:
        wire.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n", *(f"X-{number}: {'y' * 1000}\r\n" for number in range(200)))
        assert wire.rest()[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"")


def test_all_bodies_together_have_a_bound(behind: Any, photos: list[bytes], form: Any) -> None:
    with behind(rules=Rules(max_bytes=1000, max_total=100)) as client:
        said = client.post("/v1/predict", content=json.dumps({"photo": "data:," + "x" * 200}), headers={"Content-Type": "application/json"})
        assert error(said) == (429, "busy")
        assert int(said.headers["retry-after"]) >= 1
        assert client.guard.bodies == 0


def test_bodies_are_let_go_of_after_the_answer(behind: Any, photos: list[bytes], form: Any) -> None:
    with behind() as client:
        client.post("/v1/predict", files=form(*photos))
        client.post("/v1/predict", content=b"{")
        assert (client.guard.bodies, client.guard.visits, client.house.queue.waiting) == (0, 0, 0)


def test_a_prompt_that_is_longer_than_a_batch_is_refused(behind: Any, photos: list[bytes]) -> None:
    with behind(max_tokens_per_batch=10) as client:
        said = client.post("/v1/predict", json={"photo": uri(photos[0])})
        assert error(said) == (422, "context_length_exceeded")
