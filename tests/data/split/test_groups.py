"""Near-identical photos and groups: what ties records together, and what must not."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from seeworth.data.photo.look import FAR, SIZE, Looks, seen
from seeworth.data.split import near
from seeworth.data.split.groups import Member, group_records
from seeworth.data.split.near import MOST, look_alikes, near_pairs

from ..scenes import jpeg, scene

FLAT = "00" * SIZE  # a look without contrast: like no other


def member(image: Image.Image, cell: str = "", sha256: str = "") -> Member:
    digest = sha256 or hashlib.sha256(image.tobytes()).hexdigest()
    return Member(cell, digest, *seen(image), image.width, image.height)


def plain(cell: str, photo: str) -> Member:
    """A record whose photo is like no other but by its bytes."""
    return Member(cell, hashlib.sha256(photo.encode()).hexdigest() if len(photo) < 64 else photo, "0" * 16, FLAT, 40, 30)


def marked(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).text((image.width * 0.75, image.height * 0.92), "(c) shop", fill=(110, 110, 110), font_size=12)
    return image


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved at quality 60": lambda one: jpeg(one, 60),
    "half the size": lambda one: one.resize((one.width // 2, one.height // 2)),
    "one and a half times the size": lambda one: one.resize((one.width * 3 // 2, one.height * 3 // 2)),
    "cropped by 3 %": lambda one: one.crop((9, 7, one.width - 9, one.height - 7)),
    "brighter by 10 %": lambda one: ImageEnhance.Brightness(one).enhance(1.1),
    "darker by 10 %": lambda one: ImageEnhance.Brightness(one).enhance(0.9),
    "contrast down by 10 %": lambda one: ImageEnhance.Contrast(one).enhance(0.9),
    "watermark": marked,
    "grey border": lambda one: ImageOps.expand(one, 6, (128, 128, 128)),
}


@pytest.mark.parametrize("change", ALTERED)
def test_an_altered_copy_is_in_the_group_of_its_photo_and_no_other_is(change: str) -> None:
    """Twenty scenes, each with its copy at the end; measured on real photos by benchmarks/near_identical.py."""
    scenes = [scene(seed) for seed in range(20)]
    groups = group_records([*map(member, scenes), *(member(ALTERED[change](one)) for one in scenes)])
    assert groups.first == [*range(20), *range(20)]
    assert groups.founds == [True] * 20 + [False] * 20


def test_the_same_shape_in_another_colour_is_another_photo() -> None:
    red, blue = (Image.new("RGB", (200, 200), "white") for _ in range(2))
    for image, colour in ((red, (200, 40, 40)), (blue, (40, 40, 200))):
        ImageDraw.Draw(image).ellipse((50, 30, 150, 180), fill=colour)
    assert group_records([member(red), member(blue)]).first == [0, 1]


def test_blank_photos_are_tied_by_their_bytes_alone() -> None:
    whites = [Image.new("RGB", (60, 60), (level, level, level)) for level in (255, 254, 250, 255)]
    speckled = Image.fromarray(np.random.default_rng(0).integers(253, 256, (60, 60, 3)).astype(np.uint8))
    members = [member(one, sha256=f"{number % 3:064x}") for number, one in enumerate(whites)] + [member(speckled)]
    groups = group_records(members)
    assert groups.first == [0, 1, 2, 0, 4]


def test_a_look_has_its_size_and_comes_back_from_its_digits() -> None:
    image = scene(3)
    phash, look = seen(image)
    looks = Looks.of([(phash, look, *image.size)])
    assert len(look) == 2 * SIZE
    assert int(looks.whole[0]) == int(phash, 16)
    assert looks.grey.shape == (1, 2, 64)
    assert abs(int(looks.grey[0, 0].mean()) - np.asarray(image.convert("L")).mean()) < 3


def test_no_photo_at_all_is_no_problem() -> None:
    assert look_alikes(Looks.of([]))[0].tolist() == []
    assert group_records([]).names == []


def hashes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random hashes, a third of them a few bits away from others, so that pairs at every distance exist."""
    rng = np.random.default_rng(seed)
    whole, inner = rng.integers(0, 2**64, (2, count), dtype=np.uint64)
    for target in (whole, inner):
        for place in rng.choice(count, count // 3, replace=False):
            bits = rng.choice(64, rng.integers(0, 12), replace=False)
            target[place] = whole[rng.integers(count)] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0))
    return whole, inner


def pairs(whole: np.ndarray, inner: np.ndarray) -> set[tuple[int, int]]:
    return {pair for later, earlier in near_pairs(whole, inner) for pair in zip(later.tolist(), earlier.tolist(), strict=True)}


def test_banding_finds_exactly_the_pairs_that_looking_at_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, inner = hashes(400, 1)
    found = pairs(whole, inner)
    near_ones = {
        (a, b)
        for a in range(400)
        for b in range(a)
        if min(int(x ^ y).bit_count() for x, y in ((whole[a], whole[b]), (inner[a], whole[b]), (whole[a], inner[b]))) <= FAR
    }
    assert found == near_ones
    assert len(near_ones) > 100
    monkeypatch.setattr(near, "CHUNK", 64)
    assert pairs(whole, inner) == near_ones


def test_few_photos_are_compared_without_bands_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, inner = hashes(MOST, 2)
    few = pairs(whole, inner)
    monkeypatch.setattr(near, "MOST", MOST - 1)
    assert pairs(whole, inner) == few


def test_pairs_of_old_photos_stay_when_photos_are_added_even_in_full_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST", 3)
    rng = np.random.default_rng(3)
    whole = np.uint64(0xABCD_0000_1111_FFFF) ^ (np.uint64(1) << rng.integers(0, 64, 60, dtype=np.uint64))
    inner = rng.integers(0, 2**64, 60, dtype=np.uint64)
    old = pairs(whole[:40], inner[:40])
    assert {pair for pair in pairs(whole, inner) if max(pair) < 40} == old


def test_thousands_of_copies_of_one_picture_are_one_group() -> None:
    rng = np.random.default_rng(4)
    image = scene(5)
    phash, look = seen(image)
    base = int(phash, 16)
    looks = Looks.of((f"{base ^ (1 << int(bit)):016x}", look, 300, 240) for bit in rng.integers(0, 64, 2_000))
    first, tied = look_alikes(looks)
    assert set(first.tolist()) == {0}
    assert tied.tolist() == [False] + [True] * 1_999


def test_which_old_photos_are_tied_stays_when_photos_are_added() -> None:
    """300 of 60 scenes, each cropped or brightened by chance; more photos than are compared without bands."""
    rng = np.random.default_rng(6)
    kept = [scene(seed, (96, 80)) for seed in range(60)]
    changes = list(ALTERED.values())
    members = [member(changes[rng.integers(len(changes))](kept[rng.integers(60)])) for _ in range(300)]
    looks = [(one.phash, one.look, one.width, one.height) for one in members]
    first, tied = look_alikes(Looks.of(looks))
    for count in (1, 50, 129, 200):
        before, was = look_alikes(Looks.of(looks[:count]))
        assert tied[:count].tolist() == was.tolist()
        joined = {(a, b) for a, b in zip(before.tolist(), first.tolist(), strict=False)}
        assert len({a for a, _ in joined}) == len(joined), "a cluster never comes apart"


CELLS = st.lists(st.tuples(st.sampled_from(["", "", *"ABCDEFGH"]), st.sampled_from([f"{n:x}" for n in range(12)])), max_size=40)


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


@settings(deadline=None)
@given(CELLS)
def test_records_are_one_group_exactly_when_cells_and_photos_connect_them(keys: list[tuple[str, str]]) -> None:
    groups = group_records(plain(*key) for key in keys)
    assert groups.first == connected(keys)
    for number, (cell, photo) in enumerate(keys):
        earlier = keys[:number]
        assert groups.founds[number] == all((not cell or cell != one) and photo != other for one, other in earlier)


@settings(deadline=None)
@given(CELLS, CELLS)
def test_rows_added_at_the_end_rename_only_groups_that_they_join(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> None:
    before = group_records(plain(*key) for key in old)
    after = group_records(plain(*key) for key in old + new)
    assert after.founds[: len(old)] == before.founds
    joined = defaultdict(list)
    for was, name in zip(before.names, after.names, strict=False):
        joined[name].append(was)
    for name, names in joined.items():
        assert name == names[0], "the group keeps the name of its first record"


def test_a_group_is_named_by_its_first_record() -> None:
    keys = [("", "a" * 64), ("P1", "b" * 64), ("P1", "a" * 64), ("P2", "c" * 64)]
    assert group_records(plain(*key) for key in keys).names == ["a" * 16, "a" * 16, "a" * 16, "P2"]


def test_two_groups_never_have_one_name() -> None:
    keys = [("", "a" * 64), ("a" * 16, "b" * 64), ("a" * 16, "c" * 64), ("", "a" * 64)]
    names = group_records(plain(*key) for key in keys).names
    assert names == ["a" * 16, "a" * 16 + "#2", "a" * 16 + "#2", "a" * 16]


def test_a_chain_of_codes_and_photos_is_one_group() -> None:
    keys = [("P1", "1"), ("P2", "2"), ("P2", "3"), ("P3", "3"), ("P3", "1"), ("P4", "4")]
    assert group_records(plain(*key) for key in keys).names == ["P1"] * 5 + ["P4"]


def test_a_giant_group_is_told_and_an_ordinary_one_is_not() -> None:
    keys = [("N/A <b>", f"{n:x}") for n in range(30)] + [(f"P{n // 4}", f"x{n}") for n in range(200)]
    [notice] = group_records(plain(*key) for key in keys).largest
    assert "'N/A <b>' holds 30 of 230 records" in notice
    assert "30 of them share the group cell" in notice
    assert "1 the very same photo" in notice
    keys = [("", "abc")] * 30 + [("", f"x{n}") for n in range(100)]
    [notice] = group_records(plain(*key) for key in keys).largest
    assert "all stand in one split: 30 the very same photo" in notice
    assert not group_records(plain(f"P{n % 20}", f"{n:x}") for n in range(400)).largest


def test_buckets_are_found_alike_by_search_and_by_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 2**63, 600, dtype=np.uint64)
    whole[300:340] = whole[:40] ^ np.uint64(0b1001000001)
    whole[340:560] = whole[0]  # a bucket of more than are compared
    inner = whole ^ np.uint64(1 << 40)

    def pairs(searched: int) -> set[tuple[int, int]]:
        monkeypatch.setattr(near, "SEARCHED", searched)
        return {(int(a), int(b)) for later, earlier in near.near_pairs(whole, inner) for a, b in zip(later, earlier, strict=True)}

    assert pairs(0) == pairs(1 << 12)
    assert {(300 + n, n) for n in range(40)} <= pairs(0)
