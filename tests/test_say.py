"""Sentences for people: whole in a file, broken between words on a terminal."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.say import many, say


def test_a_pipe_gets_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    say("word " * 30)
    say("word " * 30, error=True)
    told = capsys.readouterr()
    assert told.out.count("\n") == told.err.count("\n") == 1


@pytest.mark.parametrize("error", [False, True])
def test_a_terminal_breaks_between_words_and_leaves_paths_and_short_lines(
    error: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stderr if error else sys.stdout, "isatty", lambda: True)
    path = "/a/folder-with/a-name/that-is/longer-than-the-line"
    say(f"ok  one\n    two\nthis is written to {path} and nowhere else", error=error)
    told = capsys.readouterr()
    lines = (told.err if error else told.out).splitlines()
    assert lines[:2] == ["ok  one", "    two"]
    assert path in lines
    assert all(len(line) <= 30 for line in lines if line != path)


@given(st.integers(0, 10**7))
def test_one_is_one_and_all_else_are_many(count: int) -> None:
    words = many(count, "photo")
    assert words.endswith("photo") == (count == 1)
    assert int(words.split()[0].replace(",", "")) == count
