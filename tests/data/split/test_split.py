"""Splits: shares in every category, groups whole, and nothing moves when rows are added."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeworth.data.photo.look import SIZE
from seeworth.data.split.deal import Deal, leaks, split_of, split_records
from seeworth.data.split.divide import Before, Division, Entry, divide
from seeworth.data.split.groups import Member, group_records
from seeworth.record import SPLITS, Split

ROWS = st.lists(
    st.tuples(st.sampled_from(["", "", *(f"P{n}" for n in range(30))]), st.integers(0, 60), st.sampled_from(["BAGS", "HATS", "鞄", ""])),
    max_size=80,
)
SEEDS = st.integers(0, 3)


def sha256(photo: int) -> str:
    return hashlib.sha256(str(photo).encode()).hexdigest()


def entry(cell: str, photo: int, stratum: str, name: str = "", split: Split | None = None) -> Entry:
    """A record whose photo is like no other but by its bytes."""
    return Entry(name, Member(cell, sha256(photo), "0" * 16, "00" * SIZE, 40, 30), stratum, split)


def divided(rows: list[tuple[str, int, str]], seed: int = 0, before: Before | None = None) -> Division:
    return divide((entry(*row, name=str(number)) for number, row in enumerate(rows)), column=None, strata="kind", seed=seed, before=before)


@settings(deadline=None)
@given(ROWS, ROWS, SEEDS)
def test_rows_added_at_the_end_move_no_record_but_of_groups_that_they_join(
    old: list[tuple[str, int, str]], new: list[tuple[str, int, str]], seed: int
) -> None:
    before, after = divided(old, seed), divided(old + new, seed)
    held = defaultdict(set)
    for name, split in zip(after.groups, before.splits, strict=False):
        held[name].add(split)
    for number, was in enumerate(before.splits):
        if before.groups[number] == after.groups[number]:
            assert after.splits[number] == was
        else:
            assert len({before.groups[n] for n in range(len(old)) if after.groups[n] == after.groups[number]}) > 1


@settings(deadline=None)
@given(ROWS, SEEDS)
def test_no_group_no_cell_and_no_photo_stands_in_two_splits(rows: list[tuple[str, int, str]], seed: int) -> None:
    found = divided(rows, seed)
    assert found.account["leaks"] == {"groups": 0, "records": 0, "examples": [], "cells": 0, "photos": 0}
    assert not leaks(found.groups, found.splits)
    assert not leaks([photo for _, photo, _ in rows], found.splits)
    assert not leaks([cell or number for number, (cell, _, _) in enumerate(rows)], found.splits)


@settings(deadline=None)
@given(st.lists(st.sampled_from("ABCDE"), max_size=120), SEEDS)
def test_the_shares_of_every_stratum_are_kept_within_one_group(strata: list[str], seed: int) -> None:
    """After k groups of a stratum, validation and test have each from floor(k / 10) to ceil(k / 10), train the rest."""
    deal = Deal(seed)
    counts: dict[str, Counter[Split]] = defaultdict(Counter)
    for stratum in strata:
        counts[stratum][deal.next(stratum)] += 1
    for held in counts.values():
        for split in ("validation", "test"):
            assert held.total() // 10 <= held[split] <= -(-held.total() // 10)
        assert held["train"] or held.total() == 1
        assert abs(held["train"] - 0.8 * held.total()) < 2


def test_a_category_that_is_tested_is_trained_on() -> None:
    rows = [(f"P{n}", n, f"kind {n % 150}") for n in range(600)]
    splits = divided(rows).splits
    trained = {kind for (_, _, kind), split in zip(rows, splits, strict=True) if split == "train"}
    assert {kind for _, _, kind in rows} == trained


def test_small_strata_spill_to_both_sides() -> None:
    splits = Counter(divided([(f"P{n}", n, f"kind {n // 5}") for n in range(1000)]).splits)
    assert 60 <= splits["validation"] <= 130
    assert 60 <= splits["test"] <= 130


def test_where_every_group_has_a_category_of_its_own_there_is_still_something_to_test() -> None:
    splits = Counter(divided([("", n, f"kind {n}") for n in range(1000)]).splits)
    assert splits["train"] == pytest.approx(900, abs=10)
    assert min(splits["validation"], splits["test"]) >= 40


def test_the_seed_decides_and_nothing_else_does() -> None:
    rows = [(f"P{n // 2}", n, "HATS") for n in range(100)]
    assert divided(rows, 0).splits == divided(rows, 0).splits
    assert len({tuple(divided(rows, seed).splits) for seed in range(4)}) == 4


def test_a_split_never_changes_from_one_version_to_the_next() -> None:
    """Data sets on people's disks depend on it."""
    splits = divided([("", n, "HATS") for n in range(40)]).splits
    assert [number for number, split in enumerate(splits) if split == "test"] == [3, 10, 28, 39]
    assert [number for number, split in enumerate(splits) if split == "validation"] == [7, 19, 24, 31]
    others = {name: split_of(name, 0) for number in range(30) if split_of(name := f"P{number}", 0) != "train"}
    assert others == {"P14": "test", "P23": "validation", "P24": "validation", "P25": "validation", "P28": "test"}


def test_a_group_keeps_the_split_that_is_kept_for_it() -> None:
    groups = group_records(entry(f"P{n}", n, "").member for n in range(20))
    dealt = split_records(groups.first, groups.founds, [""] * 20, 0, {})
    kept = split_records(groups.first, groups.founds, [""] * 20, 0, {3: "test", 7: "validation"})
    dealt[3], dealt[7] = "test", "validation"
    assert kept == dealt


class Earlier(Before):
    """An earlier folder, without the folder."""

    def __init__(self, ids: dict[str, Split], photos: dict[str, Split]) -> None:
        self._ids, self._photos = ids, photos


def test_an_earlier_folders_records_keep_their_split_whatever_the_order_now() -> None:
    rows = [(f"P{n // 3}", n, "HATS" if n % 2 else "BAGS") for n in range(90)]
    first = divided(rows, seed=5)
    photos = {sha256(photo): split for (_, photo, _), split in zip(rows, first.splits, strict=True)}
    shuffled = [("new", 1000, "HATS"), *reversed(rows), *((f"Q{n}", 500 + n, "BAGS") for n in range(30))]
    again = divided(shuffled, seed=6, before=Earlier({}, photos))
    assert again.splits[1:91] == first.splits[::-1]
    assert not any("earlier folder" in notice for notice in again.notices)


def test_groups_that_were_apart_in_the_earlier_folder_go_to_train_and_are_told() -> None:
    before = Earlier({"0": "test", "1": "train", "2": "validation", "3": "test"}, {})
    found = divided([("A", 0, ""), ("A", 1, ""), ("B", 2, ""), ("B", 3, ""), ("C", 4, "")], before=before)
    assert found.splits[:4] == ["train", "train", "validation", "validation"]
    [notice] = [one for one in found.notices if "earlier folder" in one]
    assert notice.startswith("2 groups hold records that stood in different splits of the earlier folder, e.g. 'A': 2 records moved")


def test_a_source_split_is_taken_as_it_is_and_audited() -> None:
    rows = [("A", 0, "train"), ("A", 1, "test"), ("", 2, "train"), ("", 2, "validation"), ("B", 3, None), ("", 4, "train")]
    found = divide((entry(cell, photo, "", split=split) for cell, photo, split in rows), column="part", strata=None, seed=0)
    assert found.splits == [split for _, _, split in rows]
    assert found.account["leaks"] == {"groups": 2, "records": 4, "examples": ["A", sha256(2)[:16]], "cells": 1, "photos": 1}
    assert any("leaky: 2 groups (4 records)" in notice for notice in found.notices)
    assert "1 records have no split: they are kept, and used by nothing until they are given one" in found.notices


def test_leaks_are_groups_in_two_splits_and_only_those() -> None:
    groups = ["A", "A", "B", "B", "C", "C", "D"]
    assert leaks(groups, ["train", "test", "train", "train", "train", None, None]) == {"A": 2}
    assert leaks(["A", "A", "A"], ["train", None, "validation"]) == {"A": 2}


def test_splits_of_a_sample_have_their_shares_and_depend_on_the_seed() -> None:
    names = [f"group {number}" for number in range(10_000)]
    counts = Counter(split_of(name, 0) for name in names)
    for split, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        assert abs(counts[split] / 10_000 - share) < 0.012  # 4 standard deviations of the largest, sqrt(0.8 x 0.2 / 10000)
    assert any(split_of(name, 0) != split_of(name, 1) for name in names[:50])


def test_an_earlier_folder_must_be_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="expected a dataset folder"):
        Before(tmp_path, named=True)
