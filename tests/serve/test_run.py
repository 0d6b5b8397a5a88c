"""The verb: a real process that answers, stops as it should, and refuses what is not safe."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from seeworth.cli import main
from seeworth.run_folder import write_run
from seeworth.settings import ServeSettings
from serve.sending import Wire, uri


@pytest.fixture(scope="module")
def run(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's model as a run folder."""
    folder = tmp_path_factory.mktemp("runs") / "shop"
    shop.model.save_pretrained(folder)
    shop.encoder.processor.save_pretrained(folder)
    about = {"task": shop.task.to_dict(), "data": str(folder / "nowhere"), "model": "tiny", "method": "full"}
    write_run(folder, {**about, "dtype": "float32", "attn_implementation": "auto"})
    return folder


@contextmanager
def process(run: Path, *words: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`seeworth serve`, and the port that it says."""
    command = [sys.executable, "-m", "seeworth.cli", "serve", str(run), "--port", "0", "--max_new_tokens", "24", *words]
    inside = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=inside) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            found = re.fullmatch(r"serving shop on http://127\.0\.0\.1:(\d+) \(Ctrl\+C stops\)\n", said)
            assert found, said + (server.stderr.read() if server.stderr else "")
            yield server, int(found[1])
        finally:
            server.kill()


def ask(port: int, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json", **headers})
    with urlopen(request, timeout=60) as found:
        return json.load(found)


def test_a_server_that_is_told_to_stop_finishes_what_it_took_and_ends_with_status_0(
    run: Path, vlm: Any, shop: Any, photos: list[bytes]
) -> None:
    body = json.dumps({"photos": [uri(one) for one in photos]}).encode()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with process(run) as (server, port):
        assert ask(port, "/v1/task")["views"] == {"similar": False, "occlusion": True}
        with Wire(port) as wire, Wire(port) as health:
            wire.send(head, body[:-1])  # taken, and not yet whole: it is under way when the signal comes
            while True:
                health.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if f"seeworth_body_bytes {len(body) - 1}" in health.answer().decode():
                    break
            server.send_signal(signal.SIGTERM)
            while True:
                health.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if health.answer().startswith(b"HTTP/1.1 503"):
                    break
            wire.send(body[-1:])
            said = wire.answer()
        assert server.wait(60) == 0
    assert said.startswith(b"HTTP/1.1 503")  # not taken yet: another server may answer it


def test_answers_under_way_are_finished_after_the_signal(run: Path, shop: Any, vlm: Any, photos: list[bytes]) -> None:
    body = json.dumps({"photos": [uri(one) for one in photos]}).encode()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with process(run, "--batch_size", "1") as (server, port):
        with Wire(port) as wire, Wire(port) as health:
            wire.send(head, body)
            while True:
                health.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if "seeworth_waiting 16.0" in health.answer().decode():
                    break
            server.send_signal(signal.SIGINT)
            said = wire.answer()
        assert server.wait(60) == 0
        assert server.stderr is not None
        log = server.stderr.read()
    assert said.startswith(b"HTTP/1.1 200")
    told = json.loads(said.partition(b"\r\n\r\n")[2])["predictions"]
    assert [one["text"] for one in told] == [one.text for one in vlm(shop.records)]
    assert "told to stop: 1 request under way is finished first" in log
    assert "Traceback" not in log


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_threads_of_a_server_share_one_heap(run: Path, photos: list[bytes]) -> None:
    with process(run, "--photo_threads", "4") as (server, port):
        found = ask(port, "/v1/predict", {"photos": [uri(one) for one in photos]})
        assert all("text" in one for one in found["predictions"])
        maps = Path(f"/proc/{server.pid}/maps").read_text().splitlines()
    spans = [(int(start, 16), int(end, 16), line.split()[1]) for line in maps for start, end in [line.split()[0].split("-")]]
    heap = 64 << 20  # glibc reserves as much for each heap but the first, at a multiple of it
    others = [one for one, rest in pairwise(spans) if one[2] == "rw-p" and one[0] % heap == 0 and rest[1] - one[0] == heap]
    assert not others


def test_a_key_from_a_file_is_asked_for(run: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("0123456789abcdef0123\nsecond line\n")
    with process(run, "--api_key_file", str(tmp_path / "key")) as (server, port):
        assert ask(port, "/healthz") == {"status": "ok"}
        assert ask(port, "/v1/task", Authorization="Bearer 0123456789abcdef0123")["model"] == "shop"
        with pytest.raises(OSError, match="401"):
            ask(port, "/v1/task")
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_no_other_machine_is_let_in_without_a_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.delenv("SEEWORTH_API_KEY", raising=False)
    assert main(["serve", "nowhere", f"--host={host}"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "there is no API key: give --api_key_file or set SEEWORTH_API_KEY" in said


def test_a_key_that_can_be_guessed_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key in ("", "short", "a key with spaces in it", "ключ-ключ-ключ-ключ"):
        monkeypatch.setenv("SEEWORTH_API_KEY", key)
        assert main(["serve", "nowhere"]) == 1
        said = capsys.readouterr().err
        assert "expected an API key of at least 16 letters" in said
        assert not key or key not in said
    assert main(["serve", "nowhere", "--api_key_file", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err


def test_libraries_that_are_not_installed_are_told_in_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from seeworth.serve import start

    monkeypatch.setattr(start, "find_spec", lambda name: None if name == "uvicorn" else name)
    assert main(["serve", "nowhere"]) == 1
    assert "serve needs uvicorn, which is not installed: pip install 'seeworth[serve]'" in capsys.readouterr().err


def test_the_key_stands_in_no_setting() -> None:
    assert not [name for name in ServeSettings.__dataclass_fields__ if "key" in name and name != "api_key_file"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--batch_size 0", "batch_size is 0, expected at least 1"),
        ("--timeout 0", "timeout is 0.0, expected seconds above 0"),
        ("--shutdown_timeout -1", "shutdown_timeout is -1.0, expected seconds above 0"),
        ("--port 70000", "port is 70000, expected 0 to 65535"),
        ("--queue_size 3", "queue_size is 3, expected at least max_photos, 16"),
        ("--max_memory 1", "max_memory is 1 MB, expected at least max_bytes"),
    ],
)
def test_settings_that_cannot_be_are_told_in_one_line(capsys: pytest.CaptureFixture[str], words: str, expected: str) -> None:
    assert main(["serve", "nowhere", *words.split()]) == 1
    assert expected in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded(capsys: pytest.CaptureFixture[str], live: int) -> None:
    assert main(["serve", "nowhere", f"--port={live}"]) == 1
    said = capsys.readouterr().err
    assert f"port {live} cannot be listened on" in said
    assert said.count("\n") == 1


def test_a_folder_that_is_no_run_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["serve", str(tmp_path), "--port=0"]) == 1
    assert "is no finished run" in capsys.readouterr().err
