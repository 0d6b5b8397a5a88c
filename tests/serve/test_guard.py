"""Who may ask, what every answer carries, and what the log tells."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from seeworth.serve.guard import Guard, Rules
from seeworth.serve.metrics import Metrics
from serve.conftest import KEY
from serve.sending import uri

OPEN = ("/", "/healthz", "/readyz", "/page/page.css")
CLOSED = ("/v1/task", "/metrics", "/openapi.json", "/v1/models", "/v1/strange", "/page", "/healthz/")


def test_without_a_key_only_the_page_and_health_are_open(behind: Any) -> None:
    with behind(rules=Rules(api_key=KEY)) as client:
        for path in OPEN:
            assert client.get(path).status_code in (200, 404), path
        for path in CLOSED:
            said = client.get(path)
            assert said.status_code == 401, path
            assert said.headers["www-authenticate"] == "Bearer"
            assert said.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer \xe9"]
)
def test_a_key_that_is_not_the_key_opens_nothing(behind: Any, given: str) -> None:
    with behind(rules=Rules(api_key=KEY)) as client:
        assert client.get("/v1/task", headers={"Authorization": given.encode("latin-1")}).status_code == 401
        assert client.get("/v1/task", headers={"Authorization": f"bearer  {KEY}"}).status_code == 200


def test_no_body_is_read_before_the_key_is_right(behind: Any, photos: list[bytes]) -> None:
    with behind(rules=Rules(api_key=KEY)) as client:
        assert client.post("/v1/predict", json={"photo": uri(photos[0])}).status_code == 401
        assert "in=0 " not in client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
        assert client.guard.bodies == 0


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "", "[::1", "localhost@evil.example"]
)
def test_names_that_lead_here_from_elsewhere_are_refused(behind: Any, host: str) -> None:
    with behind() as client:
        said = client.get("/healthz", headers={"Host": host})
        assert (said.status_code, said.json()["error"]["code"]) == (400, "host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000"])
def test_this_machines_names_are_answered(behind: Any, host: str) -> None:
    with behind() as client:
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "", "http://localhost.evil.example"])
def test_pages_elsewhere_may_not_post_here(behind: Any, photos: list[bytes], form: Any, origin: str) -> None:
    with behind() as client:
        said = client.post("/v1/predict", files=form(photos[0]), headers={"Origin": origin})
        assert (said.status_code, said.json()["error"]["code"]) == (403, "origin")
        assert client.options("/v1/predict", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}).status_code == 403
        own = client.post("/v1/predict", files=form(photos[0]), headers={"Origin": "http://localhost:8000"})
        assert own.status_code == 200
        assert not any(name.startswith("access-control") for name in own.headers)


def test_with_any_host_allowed_a_page_must_still_be_of_the_host(behind: Any) -> None:
    with behind(rules=Rules(hosts=(), api_key=KEY)) as client:
        ask = {"Authorization": f"Bearer {KEY}", "Host": "photos.example"}
        assert client.get("/v1/task", headers=ask).status_code == 200
        assert client.get("/v1/task", headers={**ask, "Origin": "https://photos.example"}).status_code == 200
        assert client.get("/v1/task", headers={**ask, "Origin": "https://evil.example"}).status_code == 403


def test_every_answer_has_safe_headers(behind: Any) -> None:
    with behind() as client:
        for path in ("/", "/v1/task", "/v1/strange", "/healthz", "/metrics", "/page/page.css"):
            said = client.get(path).headers
            assert said["content-security-policy"].startswith("default-src 'self'; img-src 'self' blob: data:;"), path
            assert "unsafe" not in said["content-security-policy"]
            assert said["x-content-type-options"] == "nosniff"
            assert said["x-frame-options"] == "DENY"
            assert said["referrer-policy"] == "no-referrer"
            assert len(said["x-request-id"]) == 16
            assert "server" not in said


def test_the_web_page_is_served_and_nothing_beside_it(behind: Any) -> None:
    with behind() as client:
        page = client.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert client.get("/page/page.css").headers["content-type"] == "text/css; charset=utf-8"
        for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page/app.py", "/page/"):
            assert client.get(path).status_code == 404


def test_what_is_not_there_is_told_in_one_line(behind: Any) -> None:
    with behind() as client:
        assert client.get("/v1/strange").json()["error"]["code"] == "not_found"
        said = client.get("/v1/predict")
        assert (said.status_code, said.json()["error"]["code"], said.headers["allow"]) == (405, "method", "POST")
        assert client.get("/v1/chat/strange").json()["error"]["type"] == "invalid_request_error"


def test_a_failure_here_is_told_without_its_trace_and_logged_with_it(
    behind: Any, photos: list[bytes], form: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("secret inside")

    with behind() as client:
        monkeypatch.setattr(client.house.model, "answer_examples", broken, raising=False)
        with caplog.at_level(logging.INFO, "seeworth.serve"):
            said = client.post("/v1/predict", files=form(photos[0]))
    error = said.json()["error"]
    assert (said.status_code, error["code"]) == (500, "internal")
    assert said.headers["x-request-id"] in error["message"]
    assert "secret" not in said.text
    assert "Traceback" not in said.text
    assert said.headers["x-request-id"] in caplog.text
    assert "secret inside" in caplog.text


def test_the_log_has_one_line_a_request_without_photos_keys_or_line_ends(
    behind: Any, photos: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with behind(rules=Rules(api_key=KEY)) as client, caplog.at_level(logging.INFO, "seeworth.serve"):
        ask = {"Authorization": f"Bearer {KEY}"}
        client.post("/v1/predict?key=hidden", json={"photo": uri(photos[0])}, headers=ask)
        client.get("/v1/a%0Aforged%1b[31m" + "x" * 200)
    lines = [one.getMessage() for one in caplog.records if one.name == "seeworth.serve"]
    assert len(lines) == 2
    assert "POST /v1/predict 200" in lines[0]
    assert "photos=1 answered=1" in lines[0]
    assert "GET /v1/a\\nforged\\x1b[31m" in lines[1]
    assert all(len(one) < 300 and "\n" not in one for one in lines)
    assert not any(word in one for one in lines for word in (KEY, "base64", "hidden"))


def test_metrics_count_by_route_not_by_address(behind: Any, photos: list[bytes], form: Any) -> None:
    with behind() as client:
        client.post("/v1/predict", files=form(photos[0]))
        for number in range(20):
            client.get(f"/v1/strange{number}")
        said = client.get("/metrics")
    assert said.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'seeworth_requests_total{path="/v1/predict",status="200"} 1.0' in said.text
    assert 'seeworth_requests_total{path="other",status="404"} 20.0' in said.text
    assert "strange" not in said.text
    assert "seeworth_batch_rows_count 1.0" in said.text


def test_a_client_that_does_not_read_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"words", "more_body": True})

    async def stuck(message: Any) -> None:
        await asyncio.sleep(3600 if message["type"] == "http.response.body" else 0)

    scope = {"type": "http", "method": "GET", "path": "/v1/task", "headers": [(b"host", b"localhost")]}
    guard = Guard(app, Rules(seconds=0.01), Metrics())
    with caplog.at_level(logging.INFO, "seeworth.serve"):
        asyncio.run(guard(scope, None, stuck))
    assert " 499 " in caplog.text
    assert "Traceback" not in caplog.text
    assert guard.visits == 0
