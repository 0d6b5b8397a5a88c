from __future__ import annotations

import pytest
from rich.console import Console

from seeworth.data import progress
from seeworth.data.progress import metered, watched


def test_items_pass_through_and_a_line_tells_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(watched(iter("abc"), 3, "photos")) == ["a", "b", "c"]
    assert list(watched([], 0, "photos")) == []
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "photos: 3 of 3 done, " in printed.err


def test_long_work_is_told_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    list(watched("ab", 2, "photos"))
    told = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert told == ["photos: 1 of 2", "photos: 2 of 2", "photos: 2 of 2 done"]


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=100))
    assert list(watched("abc", 3, "photos")) == ["a", "b", "c"]
    printed = capsys.readouterr().err
    assert "3/3" in printed
    assert "━" in printed


def test_bytes_their_rate_and_the_time_left_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(progress.time, "monotonic", iter([0.0, 10.0, 10.0, 10.0, 20.0]).__next__)
    with metered(722, "downloads") as meter:
        meter.step(2, 40_000_000)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "downloads: 2 of 722, 0.2/s, 40.0 MB, 4.0 MB/s, 1 h 0 min left"
    assert last == "downloads: 2 of 722 done, 0.1/s, 40.0 MB, 2.0 MB/s"
