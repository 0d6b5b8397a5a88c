"""Photos from the web: what comes in, what is refused, and that one host's trouble is its own."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from seeworth.cli import main
from seeworth.data.dataset import Dataset
from seeworth.data.download import fetch
from seeworth.data.download import request as download
from seeworth.data.download.guard import Guard
from seeworth.data.download.request import Body, Downloader, Failure, retry_after
from seeworth.data.download.url import same_url, web_url
from seeworth.data.run import run
from seeworth.errors import DataError, PhotoError
from seeworth.settings import ImportSettings


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of hundredths of a second."""
    monkeypatch.setattr(fetch, "_FIRST_WAIT", 0.02)
    monkeypatch.setattr(fetch, "_LONGEST_WAIT", 0.1)


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """take(*urls): import a table of these photos; return the code of each URL, "" when it is kept, and its reason."""

    def import_(*urls: str, name: str = "out", **changes: Any) -> dict[str, Any]:
        (tmp_path / "source").mkdir(exist_ok=True)
        table = tmp_path / "source" / f"{name}.csv"
        table.write_text("title,category3_code,full_price,photo\n" + "".join(f'Bag,BAGS,5,"{url}"\n' for url in urls), encoding="utf-8")
        usual = {"processes": 1, "allow_private_addresses": True, "timeout": 0.6, "retries": 2}
        try:
            run(ImportSettings(table, tmp_path / name, **(usual | changes)))
        except DataError as problem:
            if "none of" not in str(problem):
                raise
        lines = [json.loads(line) for line in (tmp_path / name / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
        refused = {urls[line["row"] - 1]: line for line in lines}
        reasons = {url: one["reason"] for url, one in refused.items()}
        return {url: refused.get(url, {"code": ""})["code"] for url in urls} | {"reasons": reasons}

    return import_


def stored(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (folder / "photos").rglob("*.*"))


def test_a_photo_comes_in_byte_for_byte(take: Callable[..., Any], server: Any, tmp_path: Path) -> None:
    urls = [server.url(f"/photo/{seed}") for seed in range(5)]
    told = take(*urls)
    assert {told[url] for url in urls} == {""}
    assert stored(tmp_path / "out") == sorted(server.photo(seed) for seed in range(5))
    assert [record.values["photo"] for record in Dataset.open(tmp_path / "out").records()] == urls


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("status=404", "not_found", "404"),
        ("status=410", "not_found", "410"),
        ("status=403", "forbidden", "403"),
        ("status=204", "bad_answer", "204"),
        ("status=304", "bad_answer", "304"),
        ("status=418", "bad_answer", "418"),
        ("html=1", "not_a_photo", "a web page"),
        ("empty=1", "empty", "no bytes"),
        ("encoding=br", "bad_answer", "identity"),
        ("encoding=gzip", "bad_answer", "compression"),
        ("to=file:///etc/passwd", "address_refused", "file:///etc/passwd"),
        ("to=gopher://127.0.0.1/", "address_refused", "gopher"),
        ("to=ftp://x.example/a.jpg", "address_refused", "ftp"),
        ("to=http://[", "bad_address", "redirects"),
    ],
)
def test_what_would_fail_again_is_refused_at_once(take: Callable[..., Any], server: Any, query: str, code: str, words: str) -> None:
    url = server.url(f"/photo/1?{query}")
    told = take(url)
    assert told[url] == code
    assert words in told["reasons"][url]
    assert sum(server.asked.values()) == 1


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("status=500", "server_error", "500 Internal Server Error (3 tries)"),
        ("status=408", "server_error", "408"),
        ("status=425", "server_error", "425"),
        ("status=502", "server_error", "502"),
        ("status=503", "server_error", "503"),
        ("cut=1", "cut_short", "ended before its end"),
        ("reset=1", "cut_short", "connection was closed"),
    ],
)
def test_what_may_pass_is_tried_again_and_told_when_it_does_not(
    take: Callable[..., Any], server: Any, query: str, code: str, words: str
) -> None:
    fails, passes = server.url(f"/photo/1?{query}"), server.url(f"/photo/2?{query}&times=2")
    told = take(fails, passes)
    assert (told[fails], told[passes]) == (code, "")
    assert words in told["reasons"][fails]
    assert server.asked[f"/photo/2?{query}&times=2"] >= 3
    assert server.served == {f"/photo/2?{query}&times=2": 1}


def test_a_stall_and_a_drip_end_with_their_timeouts(take: Callable[..., Any], server: Any) -> None:
    start = time.monotonic()
    stall, drip = server.url("/photo/1?stall=1"), server.url("/photo/2?drip=0.1")
    told = take(stall, drip, timeout=0.3, retries=0)
    assert (told[stall], told[drip]) == ("timed_out", "timed_out")
    assert time.monotonic() - start < 4


def test_redirects_are_followed_but_not_for_ever(take: Callable[..., Any], server: Any, photo_server: ModuleType) -> None:
    with photo_server.PhotoServer() as other:
        paths = ("/photo/1?hops=5", "/photo/2?hops=6", "/photo/3?loop=1", f"/photo/4?to={other.url('/photo/4')}")
        urls = [server.url(path) for path in paths]
        told = take(*urls)
    assert [told[url] for url in urls] == ["", "too_many_redirects", "too_many_redirects", ""]
    assert other.served == {"/photo/4": 1}


def test_a_redirect_to_loopback_is_refused(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first server counts as public here; where it leads does not."""
    with pytest.raises(Failure) as problem:
        fetch_one(server.url("/photo/1"), allow_private=False)
    assert (problem.value.kind, problem.value.code) == ("final", "address_refused")
    monkeypatch.setattr(Guard, "_need", staticmethod(lambda address, host: None))  # as if 127.0.0.1 were public
    target = fetch_one(server.url("/photo/1?to=http://localhost:1/"), allow_private=False)
    monkeypatch.undo()
    assert target == URL("http://localhost:1/")
    for hop in (str(target), "http://0x7f.1/", "http://2130706433/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest/meta-data"):
        with pytest.raises(Failure, match="only public addresses"):
            fetch_one(hop, allow_private=False)


def test_an_address_is_refused_with_its_code_and_never_asked(take: Callable[..., Any], server: Any) -> None:
    urls = [server.url("/photo/1", host) for host in ("127.0.0.1", "localhost", "0x7f000001", "127.1")]
    told = take(*urls, allow_private_addresses=False)
    assert [told[url] for url in urls] == ["address_refused"] * 4
    assert not server.asked


def test_https_is_never_left_for_http() -> None:
    with pytest.raises(Failure, match="from https to"):
        download._redirect(URL("https://x.example/a"), "http://x.example/a")
    assert download._redirect(URL("http://x.example/a/b"), "//y.example/c d") == URL("http://y.example/c%20d")


def test_a_body_is_bounded_whatever_it_claims(
    take: Callable[..., Any], server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 3 << 20)
    urls = [server.url(f"/photo/1?{query}") for query in ("size=9000000000", "claim=4000000", "gzip=50000000")]
    told = take(*urls, timeout=60)
    assert [told[url] for url in urls] == ["too_heavy"] * 3
    assert not list((tmp_path / "out").glob(".body.*"))


def test_a_large_body_waits_in_a_file_and_a_small_one_in_memory(server: Any, tmp_path: Path) -> None:
    small, large = fetch_one(server.url("/photo/1"), folder=tmp_path), fetch_one(server.url("/photo/1?size=3000000"), folder=tmp_path)
    assert isinstance(small, Body)
    assert isinstance(large, Body)
    assert small.data == server.photo(1)
    assert isinstance(large.data, Path)
    assert large.data.stat().st_size == large.size >= 3_000_000


def test_a_packed_photo_is_unpacked(server: Any, tmp_path: Path) -> None:
    body = fetch_one(server.url("/photo/1?gzip=1000"), folder=tmp_path)
    assert isinstance(body, Body)
    assert body.data == bytes(1000)


def test_retry_after_is_honoured_by_the_whole_host(take: Callable[..., Any], server: Any) -> None:
    busy = [server.url(f"/photo/{seed}?status=429&retry_after=1&times=1") for seed in range(3)]
    start = time.monotonic()
    told = take(*busy)
    assert {told[url] for url in busy} == {""}
    assert 1.0 <= time.monotonic() - start < 5


def test_a_rate_limit_loses_no_photo(take: Callable[..., Any], photo_server: ModuleType) -> None:
    """A server that grants 8 answers in each tenth of a second."""

    class Limited(photo_server.PhotoServer):  # type: ignore[name-defined, misc]
        granted: ClassVar[dict[int, int]] = {}

        async def _answer(self, request: Any, query: Any) -> Any:
            slot = int(time.monotonic() * 10)
            self.granted[slot] = self.granted.get(slot, 0) + 1
            return await super()._answer(request, query if self.granted[slot] <= 8 else {"status": "429"})

    with Limited() as server:
        urls = [server.url(f"/photo/{seed}") for seed in range(60)]
        told = take(*urls)
    assert [url for url in urls if told[url]] == []


def test_a_host_in_trouble_slows_nobody_else(take: Callable[..., Any], server: Any, photo_server: ModuleType) -> None:
    """60 photos of hosts that stall, refuse and fail stand before 60 of a sound one."""
    finished: list[float] = []

    class Timed(photo_server.PhotoServer):  # type: ignore[name-defined, misc]
        async def _send(self, *arguments: Any) -> Any:
            finished.append(time.monotonic())
            return await super()._send(*arguments)

    with Timed(delay=0.02) as sound, photo_server.PhotoServer() as failing, photo_server.PhotoServer() as busy:
        stalls = [server.url(f"/photo/{seed}?stall=1") for seed in range(20)]
        fails = [failing.url(f"/photo/{seed}?status=500") for seed in range(20)]
        limited = [busy.url(f"/photo/{seed}?status=429") for seed in range(20)]
        good = [sound.url(f"/photo/{seed}") for seed in range(60)]
        start = time.monotonic()
        told = take(*stalls, *fails, *limited, *good, connections=8, retries=1, timeout=0.5)
        end = time.monotonic()
    assert {told[url] for url in good} == {""}
    assert {told[url] for url in stalls} == {"timed_out"}
    assert {told[url] for url in fails} == {"server_error"}
    assert {told[url] for url in limited} == {"rate_limited"}
    assert max(finished) - start < (end - start) / 2  # measured: 0.5 of 3.4 s, and 0.25 s without the others


def test_a_dead_host_is_given_up_and_its_photos_are_told(take: Callable[..., Any]) -> None:
    urls = [f"http://127.0.0.1:1/{number}.jpg" for number in range(300)]
    start = time.monotonic()
    told = take(*urls)
    assert {told[url] for url in urls} == {"unreachable"}
    assert "was given up after 6" in told["reasons"][urls[-1]]
    assert time.monotonic() - start < 5


def test_connections_are_bounded_in_all_and_per_host(take: Callable[..., Any], photo_server: ModuleType) -> None:
    with photo_server.PhotoServer(delay=0.1) as one, photo_server.PhotoServer(delay=0.1) as two:
        urls = [server.url(f"/photo/{seed}") for seed in range(40) for server in (one, two)]
        take(*urls, connections=6, connections_per_host=4)
        assert one.peak <= 4
        assert two.peak <= 4
        assert one.peak + two.peak <= 8
        assert one.peak == 4  # it does grow to its bound


def test_a_url_is_fetched_once_however_it_is_spelled(take: Callable[..., Any], server: Any, tmp_path: Path) -> None:
    plain = server.url("/photo/1")
    urls = [plain, plain + "#top", plain.replace("http:", "HTTP:"), plain.replace("//", "//me:secret@"), f" {plain} "]
    told = take(*urls)
    assert {told[url] for url in urls} == {""}
    assert server.asked == {"/photo/1": 1}
    assert len(Dataset.open(tmp_path / "out").records()) == 5


def test_no_credentials_no_cookies_no_proxy_and_an_honest_name(
    take: Callable[..., Any], server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    assert take(server.url("/photo/1").replace("//", "//me:secret@"))
    (headers,) = server.headers
    assert re.fullmatch(r"seeworth/[\d.]+", headers["User-Agent"])
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Authorization", "Cookie", "Referer", "Proxy-Authorization"} & set(headers)


@pytest.mark.parametrize(
    "text",
    ["http://", "http:///a", "https://x.example:99999/a", "http://[::1", "http://x.example:abc/", "http://a b/", "http://" + 9000 * "a"],
)
def test_what_is_no_url_is_refused(take: Callable[..., Any], text: str) -> None:
    with pytest.raises(PhotoError) as problem:
        web_url(text)
    assert problem.value.code == "bad_address"
    told = take(text)
    assert told[text] == "bad_address"


def test_urls_are_made_ready_to_be_asked_for() -> None:
    assert str(web_url("https://Bücher.example/a b/ü.jpg?q=ä#top")) == "https://xn--bcher-kva.example/a%20b/%C3%BC.jpg?q=%C3%A4"
    signed = "https://x.example/a%2fb/~c?Policy=a+b%2F&Signature=x~y%7E&$BBY$"
    assert str(web_url(signed)) == signed  # its signature holds for these very characters
    assert str(web_url("HTTP://X.Example/%zz")) == "http://x.example/%25zz"
    assert str(web_url("http://me:pw@x.example:80/a")) == str(web_url("http://x.example/a"))
    assert same_url("http://[") == "http://["


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text_after_the_scheme_is_a_url_or_a_refusal(text: str) -> None:
    try:
        url = web_url(f"http://{text}")
    except PhotoError:
        return
    assert url.scheme == "http"
    assert url.raw_host
    assert not url.user
    assert same_url(str(url)) == str(url)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("0", 0), ("99999", 120), ("-3", 0), ("nan", 0), ("inf", 120), ("soon", 0), ("", 0), (None, 0), ("Mon, 99 Foo 2020", 0)],
)
def test_retry_after_in_seconds(text: str | None, seconds: float) -> None:
    assert retry_after(text, 0.0) == seconds


def test_retry_after_as_a_date() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after(format_datetime(now.replace(second=30), usegmt=True), now.timestamp()) == 30
    assert retry_after(format_datetime(now.replace(year=2020), usegmt=True), now.timestamp()) == 0
    assert retry_after(format_datetime(now.replace(year=2030), usegmt=True), now.timestamp()) == 120


def test_an_earlier_dataset_saves_the_fetching(take: Callable[..., Any], server: Any, tmp_path: Path) -> None:
    urls = [server.url(f"/photo/{seed}") for seed in range(9)] + [server.url("/photo/9?status=500&times=2")]
    assert take(*urls, name="first", retries=0)[urls[-1]] == "server_error"
    server.asked.clear()
    assert take(*urls, name="second", earlier=tmp_path / "first", retries=0)[urls[-1]] == "server_error"
    assert sum(server.asked.values()) == 1
    assert take(*urls, name="third", earlier=tmp_path / "second")[urls[-1]] == ""
    assert set(server.asked) == {"/photo/9?status=500&times=2"}
    assert stored(tmp_path / "third") == sorted(server.photo(seed) for seed in range(10))
    next((tmp_path / "third").rglob("*.jpg")).write_bytes(b"rotten")
    server.asked.clear()
    told = take(*urls, name="fourth", earlier=tmp_path / "third")
    assert {told[url] for url in urls} == {""}
    assert len(server.asked) == 1  # the rotten one is fetched


BURBERRY = (
    "website_name,competence_date,country_code,currency_code,brand,category1_code,category2_code,category3_code,product_code,title,"
    "itemurl,imageurl,full_price,price,full_price_eur,price_eur,flg_discount"
)


def test_a_table_of_17_columns_and_urls_comes_in_with_one_command(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the shape of DBQ/Burberry.Product.prices.United.States: no extension in the URLs, some of them "N.A."."""
    rows = [
        f'Burberry,2023-11-20,USA,USD,BURBERRY,WOMEN,CLOTHING,{kind},{80000 + seed // 2},"Cotton, {kind.title()} {seed}",https://us.example/p{seed},'
        f"{'N.A.' if seed % 10 == 9 else server.url(f'/photo/{seed}')},{1290 + seed}.0,{1290 + seed}.0,{1300 + seed}.0,{1300 + seed}.0,0"
        for seed in range(40)
        for kind in ["COATS" if seed % 3 else "BAGS"]
    ]
    (tmp_path / "burberry.csv").write_text("\n".join([BURBERRY, *rows]) + "\n")
    assert main(["import", str(tmp_path / "burberry.csv"), str(tmp_path / "burberry"), "--allow_private_addresses"]) == 0
    dataset = Dataset.open(tmp_path / "burberry")
    assert len(dataset.records()) == 36
    assert dataset.manifest["rejected"] == {"photo_missing": 4}
    assert "36 of 40 rows kept" in capsys.readouterr().out
    one = dataset.records()[0]
    assert one.values["imageurl"] == server.url("/photo/0")
    assert one.photo.read_bytes() == server.photo(0)
    splits: dict[str, set[Any]] = {}
    for record in dataset.records():
        splits.setdefault(str(record.values["product_code"]), set()).add(record.split)
    assert {len(found) for found in splits.values()} == {1}


def fetch_one(url: str, *, folder: Path = Path(), allow_private: bool = True) -> Body | URL:
    async def get() -> Body | URL:
        async with Downloader(folder, connections=2, timeout=2, allow_private=allow_private) as downloader:
            return await downloader.get(web_url(url))

    return asyncio.run(get())
