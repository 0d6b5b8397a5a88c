"""Whatever is cut off, whole lines count and no other; the finished file has them all in the inputs' order."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.errors import DataError, ModelError, SettingsError
from seeworth.predict.inputs import Input
from seeworth.predict.journal import Journal, part_of
from seeworth.record import Record

ASKED = {"model": "a", "limit": 3}


def line(number: int, name: str | None = None) -> dict[str, Any]:
    return {"number": number, "record_id": name or f"r{number}", "photo": f"é{number}.png", "text": "x" * (number % 5)}


def item(number: int, name: str | None = None) -> Input:
    return Input(number, Record(name or f"r{number}", None, {}, ""), f"é{number}.png")


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@given(st.permutations(range(6)), st.floats(0, 1), st.integers(0, 6))
def test_cut_anywhere_it_goes_on_to_the_same_file(order: list[int], share: float, many: int) -> None:
    with TemporaryDirectory() as name:
        part, out = Path(name) / "out.jsonl.part", Path(name) / "out.jsonl"
        with Journal.open(part, ASKED) as journal:
            for number in order[:many]:
                journal.add(line(number))
        whole = part.read_bytes()
        cut = whole[: round(share * len(whole))]
        part.write_bytes(cut)
        with Journal.open(part, ASKED) as journal:
            there = [number for number in range(6) if journal.has(number)]
            assert journal.before == len(there) == max(cut.count(b"\n") - 1, 0)
            assert [one.done for one in journal.marked(map(item, range(6)))] == [number in there for number in range(6)]
            for number in order:
                if number not in there:
                    journal.add(line(number))
            journal.finish(out)
        found = [json.loads(row) for row in out.read_text().splitlines()]
        assert found == [{key: one for key, one in line(number).items() if key != "number"} for number in range(6)]
        assert not part.exists()


def begun(folder: Path) -> Path:
    part = folder / "out.jsonl.part"
    with Journal.open(part, ASKED) as journal:
        journal.add(line(0))
    return part


def test_other_settings_are_refused_by_name_and_overwrite_begins_anew(tmp_path: Path) -> None:
    part = begun(tmp_path)
    with pytest.raises(SettingsError, match=r"begun with other settings \(limit 3 -> 4\): give those, or begin anew with --overwrite"):
        Journal.open(part, {**ASKED, "limit": 4})
    with Journal.open(part, {**ASKED, "limit": 4}, overwrite=True) as journal:
        assert journal.before == 0
    with Journal.open(part, {**ASKED, "limit": 4}) as journal:
        assert not journal.has(0)


def test_an_input_that_changed_since_is_found(tmp_path: Path) -> None:
    part = begun(tmp_path)
    with Journal.open(part, ASKED) as journal, pytest.raises(DataError, match="input 1 is 'other' now"):
        list(journal.marked([item(0, "other")]))


def test_one_process_holds_it(tmp_path: Path) -> None:
    part = begun(tmp_path)
    with Journal.open(part, ASKED), pytest.raises(SettingsError, match="another predict writes it now"):
        Journal.open(part, ASKED)
    with Journal.open(part, ASKED) as journal:
        assert journal.has(0)


@pytest.mark.parametrize("content", ["no journal\n", "no journal", '{"record_id": "a"}\n', "[1]\n"])
def test_a_foreign_file_is_left_alone(tmp_path: Path, content: str) -> None:
    part = tmp_path / "out.jsonl.part"
    part.write_text(content)
    with pytest.raises(DataError, match="is not what an unfinished predict leaves"):
        Journal.open(part, ASKED)
    assert part.read_text() == content


def test_a_damaged_line_and_what_follows_it_is_answered_anew(tmp_path: Path) -> None:
    part = begun(tmp_path)
    with part.open("ab") as file:
        file.write(b"\0\0\0\n" + json.dumps(line(2)).encode() + b"\n")
    with Journal.open(part, ASKED) as journal:
        assert [journal.has(number) for number in range(3)] == [True, False, False]
    assert part.read_bytes().count(b"\n") == 2


def test_a_full_disk_keeps_what_is_done_and_says_so(tmp_path: Path) -> None:
    part = tmp_path / "out.jsonl.part"
    with Journal.open(part, ASKED) as journal:
        for number in range(3):
            journal.add(line(number))
        with full_disk(part.stat().st_size + 20), pytest.raises(DataError, match="the disk is full: 3 lines are kept in"):
            journal.add(line(3))
    with Journal.open(part, ASKED) as journal:
        assert journal.before == 3
        journal.add(line(3))
        assert len(list(journal.marked(map(item, range(4))))) == 4
        with full_disk(100), pytest.raises(DataError, match="the disk is full: 4 lines are kept"):
            journal.finish(tmp_path / "out.jsonl")
        assert [path.name for path in tmp_path.iterdir()] == [part.name]
        journal.finish(tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4


def test_it_is_not_finished_while_lines_lack_and_none_is_taken_twice(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "p", ASKED) as journal:
        journal.add(line(0))
        with pytest.raises(ValueError, match="input 0 has a line already"):
            journal.add(line(0))
        journal.add(line(2))
        with pytest.raises(DataError, match="2 lines for None inputs"):
            journal.finish(tmp_path / "out.jsonl")
        list(journal.marked(map(item, range(3))))
        with pytest.raises(DataError, match="2 lines for 3 inputs"):
            journal.finish(tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_number_that_is_none_is_told_and_not_written(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "p", ASKED) as journal:
        journal.add(line(0))
        with pytest.raises(ModelError, match="the answer to 'r1' holds NaN"):
            journal.add(line(1) | {"confidence": {"price": float("nan")}})
    assert (tmp_path / "p").read_bytes().count(b"\n") == 2


def test_nothing_is_left_behind_where_nothing_was_done(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Journal.open(tmp_path / "deep" / "p", ASKED):
        raise RuntimeError
    assert list((tmp_path / "deep").iterdir()) == []


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    with Journal.open(tmp_path / "p", ASKED) as journal:
        journal.add(line(0, name))
    with Journal.open(tmp_path / "p", ASKED) as journal:
        assert [one.done for one in journal.marked([item(0, name)])] == [True]
        journal.finish(tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_bytes())["record_id"] == name


def test_the_unfinished_file_lies_beside_the_finished_one() -> None:
    assert part_of(Path("a/out.jsonl")) == Path("a/out.jsonl.part")
