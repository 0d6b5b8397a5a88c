from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from seeworth.data.split import group_records, leaks, split_of

KEYS = st.lists(st.tuples(st.sampled_from(["", "", *"ABCDEFGH"]), st.sampled_from([f"{n:064x}"[::-1] for n in range(12)])), max_size=40)


def connected(keys: list[tuple[str, str]]) -> list[int]:
    """The plain way: spread the smallest number over all records that share a cell or a photo until nothing changes."""
    labels = list(range(len(keys)))
    changed = True
    while changed:
        changed = False
        for i, (cell, photo) in enumerate(keys):
            for j, (cell2, photo2) in enumerate(keys):
                if ((cell and cell == cell2) or photo == photo2) and labels[j] > labels[i]:
                    labels[j], changed = labels[i], True
    return labels


@given(KEYS)
def test_records_are_one_group_exactly_when_cells_and_photos_connect_them(keys: list[tuple[str, str]]) -> None:
    groups, expected = group_records(keys), connected(keys)
    for i in range(len(keys)):
        for j in range(i):
            assert (groups[i] == groups[j]) == (expected[i] == expected[j])


@given(KEYS, KEYS)
def test_rows_added_at_the_end_rename_only_groups_that_they_join(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> None:
    before, after = group_records(old), group_records(old + new)[: len(old)]
    joined = defaultdict(list)
    for was, name in zip(before, after, strict=True):
        joined[name].append(was)
    for name, names in joined.items():
        assert name == names[0], "the group keeps the name of its first record"
        if len(set(names)) == 1:
            assert set(names) == {name}


def test_a_group_is_named_by_its_first_record() -> None:
    keys = [("", "a" * 64), ("P1", "b" * 64), ("P1", "a" * 64), ("P2", "c" * 64)]
    assert group_records(keys) == ["a" * 16, "a" * 16, "a" * 16, "P2"]


def test_a_chain_of_colour_variants_and_shared_photos_is_one_group() -> None:
    keys = [("P1", "1"), ("P2", "2"), ("P2", "3"), ("P3", "3"), ("P3", "1"), ("P4", "4")]
    assert group_records(keys) == ["P1"] * 5 + ["P4"]


def test_splits_have_their_shares_and_depend_on_the_seed() -> None:
    names = [f"group {number}" for number in range(10_000)]
    counts = Counter(split_of(name, 0) for name in names)
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert abs(counts[split] / 10_000 - share) < 0.012  # 4 standard deviations of the largest, sqrt(0.8 x 0.2 / 10000)
    assert any(split_of(name, 0) != split_of(name, 1) for name in names[:50])


def test_a_split_never_changes_from_one_version_to_the_next() -> None:
    """Data sets on people's disks depend on it."""
    others = {name: split_of(name, 0) for number in range(30) if split_of(name := f"P{number}", 0) != "train"}
    assert others == {"P14": "test", "P23": "validation", "P24": "validation", "P25": "validation", "P28": "test"}


def test_leaks_are_groups_in_two_splits_and_only_those() -> None:
    groups = ["A", "A", "B", "B", "C", "C", "D"]
    assert leaks(groups, ["train", "test", "train", "train", "train", None, None]) == {"A": 2}
    assert leaks(["A", "A", "A"], ["train", None, "validation"]) == {"A": 2}
