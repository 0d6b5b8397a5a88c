"""Windows of inputs: what goes into the file comes out of it, and photos travel with it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeworth.errors import PhotoError
from seeworth.predict.inputs import Input
from seeworth.predict.windows import Carried, carried, packed, read_window, unpacked, write_windows
from seeworth.record import SPLITS, Record, Turn

words = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates too: names of files that are no text
paths = words.map(lambda word: Path("/photos") / word.replace("\0", "_").replace("/", "_"))
values = st.dictionaries(words, words | st.decimals(allow_nan=False, allow_infinity=False), max_size=3)
sizes = st.tuples(st.integers(1, 9999), st.integers(1, 9999))
refusals = st.none() | st.tuples(st.sampled_from(["missing", "damaged"]), words)


@st.composite
def items(draw: st.DrawFn) -> Input:
    """An input of any kind, with or without bytes."""
    photos = draw(st.lists(paths, max_size=3))
    asked = ("What is it?", *range(len(photos)))
    turns = draw(st.sampled_from([None, (Turn("user", asked), Turn("assistant", ("A coat.",)))]))
    told = draw(st.lists(sizes, min_size=len(photos), max_size=len(photos)))
    split = draw(st.sampled_from([None, *SPLITS]))
    record = Record(draw(words), photos[0] if photos else None, draw(values), draw(words), split, tuple(photos[1:]), turns, tuple(told))
    known = (draw(st.integers(0, 10**9)), record, draw(st.none() | words))
    flags = {"inside": draw(st.booleans()), "refused": draw(refusals), "done": draw(st.booleans())}
    if draw(st.booleans()):
        lost = draw(refusals)
        return Carried(*known, **flags, carried=() if lost else tuple(draw(st.binary(max_size=5)) for _ in photos), lost=lost)
    data = draw(st.sampled_from(["none", "some"]))
    return Input(*known, tuple(draw(st.none() | st.binary(max_size=5)) for _ in photos) if data == "some" else (), **flags)


@given(st.lists(items(), max_size=4))
def test_what_is_packed_is_unpacked_the_same(window: list[Input]) -> None:
    again = unpacked(packed(window).to_pylist()[0])
    assert again == window
    assert [type(one) for one in again] == [type(one) for one in window]
    assert [one.record.sizes for one in again] == [one.record.sizes for one in window]  # Record compares without them
    kinds = [[type(value) for value in one.record.values.values()] for one in window]
    assert [[type(value) for value in one.record.values.values()] for one in again] == kinds


def test_windows_are_read_one_by_one_and_those_that_are_done_are_left_out(tmp_path: Path) -> None:
    every = [Input(number, Record(f"r{number}", None, {}, ""), None) for number in range(9)]
    done = [replace(one, done=one.number in (3, 4, 5, 7)) for one in every]
    count = write_windows(tmp_path / "spool", [done[0:3], done[3:6], done[6:9]])
    assert count == 2
    assert [read_window(tmp_path / "spool", number) for number in range(count)] == [done[0:3], done[6:9]]


def test_photos_travel_as_bytes_and_one_that_is_not_there_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"first")
    record = Record("1", tmp_path / "a.png", {"n": Decimal("1.50")}, "", photos=(Path("<row 1, photo 2>"),))
    sent = carried(Input(0, record, "a.png", (None, b"second")))
    (tmp_path / "a.png").unlink()
    (arrived,) = unpacked(packed([sent]).to_pylist()[0])
    assert arrived.photo_bytes() == [b"first", b"second"]
    assert arrived.data == ()
    (lost,) = unpacked(packed([carried(Input(1, record, "a.png", (None, b"second")))]).to_pylist()[0])
    with pytest.raises(PhotoError, match=r"there is no file .*a\.png") as problem:
        lost.photo_bytes()
    assert problem.value.code == "missing"
    assert lost.refused is None  # a file that is away is found out when it is read, here as there


def test_an_input_that_is_refused_already_keeps_its_reason(tmp_path: Path) -> None:
    item = Input(0, Record("1", tmp_path / "gone.png", {}, ""), None, refused=("remote", "is on the web"))
    assert carried(item).refused == item.refused
    assert carried(item).lost is None


def test_a_number_keeps_its_digits() -> None:
    item = Input(0, Record("1", None, {"price": Decimal("10.50"), "words": "10.50"}, ""), None)
    (again,) = unpacked(packed([item]).to_pylist()[0])
    assert str(again.record.values["price"]) == "10.50"
    assert again.record.values["words"] == "10.50"
    assert not isinstance(again.record.values["words"], Decimal)
