"""Photos taken away or exchanged: what must hold for any records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seeworth.data.ablate import blank, blur, swap, swap_within, without
from seeworth.errors import DataError, PhotoError
from seeworth.record import Record, Turn


def _records(groups: list[str], categories: list[str] | None = None) -> list[Record]:
    kinds = categories or ["one"] * len(groups)
    return [Record(str(n), Path(f"{n}.png"), {"kind": kind}, group) for n, (group, kind) in enumerate(zip(groups, kinds, strict=True))]


def _owners(records: list[Record], swapped: list[Record]) -> list[Record]:
    by_photo = {record.photo: record for record in records}
    return [by_photo[record.photo] for record in swapped]


def test_a_blank_photo_has_the_size_of_its_photo_is_grey_and_is_stored_once_a_size(tmp_path: Path) -> None:
    for name, size in (("a", (40, 30)), ("b", (40, 30)), ("c", (20, 50))):
        Image.new("RGB", size, "red").save(tmp_path / f"{name}.png")
    records = [Record(name, tmp_path / f"{name}.png", {"title": name}, name) for name in "abc"]
    blanks = blank(records, tmp_path / "grey")
    assert [record.id for record in blanks] == list("abc")
    assert [record.values for record in blanks] == [record.values for record in records]
    for record, size in zip(blanks, [(40, 30), (40, 30), (20, 50)], strict=True):
        with Image.open(record.photo) as image:
            assert image.size == size
            assert np.unique(np.asarray(image)).tolist() == [128]
    assert len(list((tmp_path / "grey").iterdir())) == 2


def test_a_photo_that_is_not_there_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no file"):
        blank([Record("a", tmp_path / "gone.png", {}, "a")], tmp_path)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.integers(0, 5), st.data())
def test_swapping_gives_every_photo_once_and_none_to_its_own_group(numbers: list[int], seed: int, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from("xyz"), min_size=len(numbers), max_size=len(numbers)))
    records = _records([f"g{n}" for n in numbers], kinds)
    if 2 * Counter(numbers).most_common(1)[0][1] > len(numbers):
        with pytest.raises(DataError, match="expected at most half"):
            swap(records, seed, "kind")
        return
    swapped = swap(records, seed, "kind")
    assert Counter(record.photo for record in swapped) == Counter(record.photo for record in records)
    for record, owner in zip(records, _owners(records, swapped), strict=True):
        assert record.group != owner.group
    assert [record.id for record in swapped] == [record.id for record in records]


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=40), st.integers(0, 5))
def test_of_one_record_a_group_as_few_as_possible_keep_their_category(kinds: list[str], seed: int) -> None:
    records = _records([f"g{n}" for n in range(len(kinds))], kinds)
    owners = _owners(records, swap(records, seed, "kind"))
    kept = sum(record.values["kind"] == owner.values["kind"] for record, owner in zip(records, owners, strict=True))
    assert kept == max(0, 2 * Counter(kinds).most_common(1)[0][1] - len(kinds))


def test_same_seed_same_photos_and_another_seed_others() -> None:
    records = _records([f"g{n}" for n in range(50)])
    photos = [[record.photo for record in swap(records, seed)] for seed in (1, 1, 2)]
    assert photos[0] == photos[1] != photos[2]


def test_five_thousand_records_in_groups_of_three_are_swapped() -> None:
    rng = np.random.default_rng(0)
    records = _records([f"g{n // 3}" for n in range(5000)], [f"k{n}" for n in rng.integers(0, 26, 5000)])
    owners = _owners(records, swap(records, 0, "kind"))
    assert not any(record.values["kind"] == owner.values["kind"] for record, owner in zip(records, owners, strict=True))


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("xyz")), min_size=1, max_size=30), st.integers(0, 5))
def test_a_swap_within_takes_a_photo_of_the_same_category_and_another_group(pairs: list[tuple[int, str]], seed: int) -> None:
    records = _records([f"g{n}" for n, _ in pairs], [kind for _, kind in pairs])
    swapped = swap_within(records, seed, "kind")
    assert swapped == swap_within(records, seed, "kind")
    partners = {one.id for one in records if any(one.values == o.values and one.group != o.group for o in records)}
    assert {one.id for one in swapped} == partners
    for record, owner in zip(swapped, _owners(records, swapped), strict=True):
        assert record.group != owner.group
        assert record.values["kind"] == owner.values["kind"]


def test_a_blur_keeps_size_and_light_and_takes_detail_the_more_the_stronger(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.uint8)
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "a.png")
    record = Record("a", tmp_path / "a.png", {}, "a")
    detail = []
    for percent in (2, 6, 18):
        (blurred,) = blur([record], tmp_path / str(percent), percent)
        with Image.open(blurred.photo) as image:
            assert image.size == (80, 60)
            seen = np.asarray(image).astype(float)
        assert abs(seen.mean() - pixels.mean()) < 8
        detail.append(seen.std())
    assert pixels.std() > detail[0] > detail[1] > detail[2]


def test_without_leaves_the_words_and_no_place_for_a_photo() -> None:
    turns = (Turn("user", (0, "what is it")), Turn("assistant", ("a bag",)), Turn("user", (1,)), Turn("assistant", ("a hat",)))
    record = Record("a", Path("a.png"), {"kind": "x"}, "g", photos=(Path("b.png"),), turns=turns)
    (bare,) = without([record])
    assert bare.all_photos == ()
    assert bare.turns == (Turn("user", ("what is it",)), turns[1], Turn("user", ("(no photo)",)), turns[3])
    assert (bare.id, bare.values, bare.group) == (record.id, record.values, record.group)
